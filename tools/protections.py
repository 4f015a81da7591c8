"""What keeps the store safe, each with what takes it out of the code and where its tests are.

`tools/mutations.py` takes them out, one by one, and sees whether a test fails.
"""

from __future__ import annotations

from typing import NamedTuple


class Edit(NamedTuple):
    """A change of one file: `before` must be in it, once."""

    file: str
    before: str
    after: str


class Protection(NamedTuple):
    """What is taken out by some edits, and where its tests are."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def _simple(name: str, file: str, before: str, after: str, *tests: str) -> Protection:
    return Protection(name, (Edit(file, before, after),), tests)


_STORE = "store/b10_store/"
_LOADS = ("tests/unit/store/test_fetch.py", "tests/unit/store/test_store_load.py")
_GC = (
    "tests/unit/store/test_trash.py",
    "tests/unit/store/test_gc_plan.py",
    "tests/integration/gc/test_gc.py",
    "tests/integration/gc/test_gc_sessions.py",
    "tests/integration/gc/test_gc_refusals.py",
    "tests/integration/gc/test_gc_interleavings.py",
)
_FORGED = ("tests/unit/store/test_envelope.py", "tests/unit/store/test_manifest_file.py")
_FRAMES = ("tests/unit/store/test_frame.py", "tests/hostile/test_forged_stores.py")

PROTECTIONS = (
    # What is read is what was saved.
    _simple(
        "the digest of an artifact that is read",
        _STORE + "fetch.py",
        "    if digest_of(data) == item.digest:",
        "    if digest_of(data):",
        *_LOADS,
    ),
    _simple(
        "the digest of an artifact of several frames",
        _STORE + "fetch.py",
        "if self._hasher.hexdigest() == self._item.digest:",
        "if self._hasher.hexdigest():",
        *_LOADS,
        "tests/unit/store/test_large_blob.py",
    ),
    _simple(
        "the digest of an artifact that is uploaded",
        _STORE + "pack.py",
        "return data if digest_of(data) == upload.digest else None",
        "return data if digest_of(data) else None",
        "tests/unit/store/test_pack.py",
        "tests/unit/store/test_store_save.py",
    ),
    _simple(
        "the digest of a manifest's database",
        _STORE + "envelope.py",
        "len(body) != prefix.body_length or digest_of(body) != prefix.body_digest",
        "len(body) != prefix.body_length",
        *_FORGED,
    ),
    _simple(
        "the pages of a database, before LMDB opens it",
        _STORE + "manifest_database.py",
        "    check_pages(raw, max(ENTRY_LIMIT, FRAME_LIMIT))",
        "    check_pages",
        "tests/unit/store/test_manifest_file_forged.py",
        "tests/hostile/test_fuzzed_databases.py",
        "tests/hostile/test_forged_stores.py",
    ),
    # Who may say what is stored.
    _simple(
        "the seal of a manifest",
        _STORE + "envelope.py",
        "if kind != _MAC and mark[:MAC_SIZE] != bytes.fromhex(digest_of(fields)):",
        "if kind != _MAC and len(mark) < MAC_SIZE:",
        *_FORGED,
    ),
    _simple(
        "the seal of a signed manifest, a MAC",
        _STORE + "keys.py",
        "        return hmac.compare_digest(seal, self.seal(data))",
        "        return len(seal) == len(self.seal(data))",
        *_FORGED,
    ),
    _simple(
        "the seal of a signed manifest, a signature",
        _STORE + "keys.py",
        "        except InvalidSignature:\n            return False",
        "        except InvalidSignature:\n            return True",
        "tests/unit/store/test_envelope.py",
    ),
    _simple(
        "the public key beside a signature is one of this host's",
        _STORE + "keys.py",
        "if public != self.data or digest",
        "if digest",
        "tests/unit/store/test_envelope.py",
    ),
    _simple(
        "a host that has public keys only publishes nothing",
        _STORE + "keys.py",
        "    if not keys[0].signs:",
        "    if keys[0].signs is None:",
        "tests/integration/test_key_pairs.py",
    ),
    _simple(
        "what a manifest references leaves trash before the manifest goes there",
        _STORE + "gc.py",
        "        if not departures.names:\n            return frozenset()",
        "        if departures is not None:\n            return frozenset()",
        "tests/integration/gc/test_gc_carried.py",
    ),
    _simple(
        "of two copies a saver keeps the one that is there",
        _STORE + "save.py",
        "    stored = with_good_packs(stored, parents, packs.good)\n",
        "",
        "tests/integration/gc/test_gc_carried.py",
    ),
    _simple(
        "a store that was put back in time is noticed",
        "b10_transfer/newest_seen.py",
        "    if newest >= seen:",
        "    if newest:",
        "tests/integration/test_rollback.py",
    ),
    _simple(
        "manifests without a seal by a key are refused where one is set",
        _STORE + "envelope.py",
        "    if kind == _PLAIN:",
        "    if kind == _MAC + _SIGNATURE:",
        *_FORGED,
        "tests/integration/test_signing.py",
    ),
    _simple(
        "a manifest counts under the name alone that it was written for",
        _STORE + "manifest_file.py",
        "    if header.name != name:",
        "    if header.name is None:",
        *_FORGED,
        "tests/integration/test_signing_forged.py",
    ),
    # Bounds.
    _simple(
        "the size that a frame declares, before room is made for it",
        _STORE + "frame.py",
        "if declared.content_size != raw_size or declared.dict_id:",
        "if declared.dict_id:",
        *_FRAMES,
    ),
    _simple(
        "the number of frames of a pack",
        _STORE + "frame.py",
        "if len(data) > FRAME_ROW_SIZE * FRAME_LIMIT:",
        "if len(data) < 0:",
        *_FRAMES,
    ),
    _simple(
        "blobs of a pack do not overlap",
        _STORE + "fetch.py",
        "            room -= item.size\n",
        "",
        "tests/hostile/test_overlapping_blobs.py",
        "tests/unit/store/test_fetch.py",
    ),
    _simple(
        "no `..` in the path of an artifact",
        _STORE + "paths.py",
        'if component in ("", ".", ".."):',
        'if component in ("", "."):',
        "tests/unit/store/test_paths.py",
        "tests/hostile/test_forged_stores.py",
    ),
    _simple(
        "no NUL and no backslash in the path of an artifact",
        _STORE + "paths.py",
        'if "\\0" in path or "\\\\" in path:',
        'if "\\0\\\\" in path:',
        "tests/unit/store/test_paths.py",
    ),
    _simple(
        "what is no regular file is not read",
        _STORE + "folder_remote.py",
        "    if not stat.S_ISREG(found.st_mode):",
        "    if not found.st_mode:",
        "tests/contract",
        "tests/hostile/test_forged_stores.py",
    ),
    _simple(
        "no link in the place of a store's folder is followed",
        _STORE + "held_folders.py",
        "os.open(name, _FLAGS | _NO_LINK, dir_fd=above.handle)",
        "os.open(name, _FLAGS, dir_fd=above.handle)",
        "tests/contract/test_folder_remote.py",
    ),
    _simple(
        "names in a store are looked up in its open folders",
        _STORE + "held_folders.py",
        "_BY_DESCRIPTOR = os.open in os.supports_dir_fd",
        "_BY_DESCRIPTOR = False",
        "tests/contract/test_folder_remote.py",
    ),
    _simple(
        "a store with a link in the place of a folder is not changed",
        _STORE + "folder_remote.py",
        "if stat.S_ISLNK(self._at(name, _stat).st_mode):",
        "if not name:",
        "tests/contract/test_folder_remote.py",
    ),
    _simple(
        "a link in the place of a file is not touched through",
        _STORE + "folder_remote.py",
        "os.utime(path, dir_fd=folder.handle, follow_symlinks=False)",
        "os.utime(path, dir_fd=folder.handle)",
        "tests/contract/test_folder_remote.py",
    ),
    _simple(
        "a store made below a sticky folder is its maker's own",
        _STORE + "folder_remote.py",
        "if not os.stat(parent).st_mode & stat.S_ISVTX:",
        "if os.stat(parent).st_mode:",
        "tests/contract/test_folder_remote.py",
    ),
    _simple(
        "nothing is swept but what has a name that the store gives",
        _STORE + "gc.py",
        '            if not is_own(name.rstrip("/")):',
        "            if not name:",
        "tests/integration/gc/test_gc_others.py",
    ),
    _simple(
        "of what no key signed only the seal is read",
        _STORE + "sealed_file.py",
        "        return parts[0]\n",
        '        return b"".join([*parts, *steps])\n',
        "tests/unit/store/test_sealed_file.py",
    ),
    _simple(
        "a sealed file is not read beyond what its seal says",
        _STORE + "sealed_file.py",
        "while length <= wanted and (part",
        "while (part",
        "tests/unit/store/test_sealed_file.py",
    ),
    _simple(
        "the bytes of manifests that an operation reads",
        _STORE + "sealed_file.py",
        '        budget.take("bytes", wanted)',
        '        budget.take("bytes", 0)',
        "tests/unit/store/test_sealed_file.py",
    ),
    _simple(
        "the bytes that the manifests of an operation are unpacked to",
        _STORE + "manifest_file.py",
        '        budget.take("bytes", header.raw_length)',
        '        budget.take("bytes", 0)',
        "tests/unit/store/test_heads.py",
    ),
    _simple(
        "the artifacts in the manifests that an operation reads",
        _STORE + "manifest_database.py",
        '        budget.take("artifacts", count)',
        '        budget.take("artifacts", 0)',
        "tests/unit/store/test_heads.py",
    ),
    _simple(
        "a manifest holds no more artifacts than it says",
        _STORE + "manifest_database.py",
        "        if row == count:",
        "        if row < 0:",
        "tests/unit/store/test_manifest_file_forged.py",
    ),
    _simple(
        "the files that an operation takes for manifests",
        _STORE + "heads.py",
        '            self._budget.take("files", 1)',
        '            self._budget.take("files", 0)',
        "tests/unit/store/test_heads.py",
    ),
    _simple(
        "the lines about manifests that cannot be used",
        "b10_transfer/reports.py",
        "for item in [*problems][:_NAMED_PROBLEMS]",
        "for item in problems",
        "tests/unit/test_reports.py",
    ),
    _simple(
        "MAX_CACHE_SIZE_MB",
        _STORE + "pack.py",
        "if self._before + self.size > self._limit:",
        "if self._before > self._limit:",
        "tests/unit/store/test_pack.py",
        "tests/unit/store/test_save_limits.py",
        "tests/integration/test_space.py",
    ),
    _simple(
        "MAX_CONCURRENT_SAVES",
        _STORE + "session.py",
        "if not rivals and len(ahead) < slots:",
        "if not rivals:",
        "tests/unit/store/session/test_session.py",
        "tests/integration/test_savers.py",
    ),
    _simple(
        "free space is asked for before a load writes",
        "b10_transfer/local_space.py",
        "        if free < needed:",
        "        if free < 0:",
        "tests/unit/test_local_space.py",
        "tests/integration/test_space.py",
    ),
    # Nothing half-made, nothing overwritten.
    Protection(
        "the staging of a load: files come to their names when they are whole",
        (
            Edit(
                _STORE + "materialize.py",
                "staging = os.path.join(root, RECORD_FOLDER, "
                "STAGING_PREFIX + secrets.token_hex(8))\n        os.mkdir(staging, 0o700)\n",
                "staging = root\n",
            ),
            Edit(_STORE + "materialize.py", "shutil.rmtree(staging, ignore_errors=True)", "pass"),
        ),
        ("tests/unit/store/test_materialize.py", "tests/crash/test_stopped_loads.py"),
    ),
    _simple(
        "a compiler's own file is never replaced",
        _STORE + "placement.py",
        "        os.link(source, target, follow_symlinks=False)\n",
        "        os.replace(source, target)\n        os.link(target, source)\n",
        "tests/unit/store/test_placement.py",
    ),
    _simple(
        "a kernel is placed whole or not at all",
        _STORE + "materialize.py",
        "        torn = self._torn_bundles()\n",
        "        torn: set[tuple[str, str]] = set()\n",
        "tests/unit/store/test_materialize.py",
        "tests/integration/test_bundles.py",
    ),
    _simple(
        "artifacts come after the parts that they refer to",
        "b10_transfer/artifacts.py",
        '    return _PLACING_ORDERS["models" if _MODEL.fullmatch(path) else "sources"]',
        '    return _PLACING_ORDERS["lists"]',
        "tests/unit/test_artifacts.py",
    ),
    _simple(
        "the bytes of a new file are on the disk before its name",
        _STORE + "folder_remote.py",
        "                    _write_fully(handle, chunk)\n                os.fsync(handle)\n",
        "                    _write_fully(handle, chunk)\n",
        "tests/crash/test_stopped_saves.py",
    ),
    _simple(
        "native code that is cut short is not saved",
        "b10_transfer/whole_files.py",
        "    return bool(sections) and max(ends) <= size",
        "    return bool(sections)",
        "tests/unit/test_artifacts.py",
    ),
    # Saves and garbage collections at once.
    Protection(
        "everything is believed only after the token was made",
        (
            Edit(
                _STORE + "save.py",
                "_save_in_session(remote, reader, request, session, view.packs.suspects)",
                "_save_in_session(remote, reader, request, session, view)",
            ),
            Edit(
                _STORE + "save.py",
                "    suspects: Collection[PackId],\n) -> SaveOutcome:\n",
                "    first: _View,\n) -> SaveOutcome:\n    suspects = ()\n",
            ),
            Edit(
                _STORE + "save.py",
                "        view = _look(remote, reader, request, suspects)\n    elif",
                "        view = first\n    elif",
            ),
        ),
        (
            "tests/unit/store/test_store_protocol.py",
            "tests/integration/gc/test_gc_interleavings.py",
        ),
    ),
    _simple(
        "the manifest is written into the token in place",
        _STORE + "session.py",
        "        self._token.write(chunks)\n",
        '        self._remote.create("sessions", self.name.session_path[9:], chunks)\n',
        "tests/unit/store/session/test_publish.py",
        "tests/unit/store/test_store_protocol.py",
        "tests/integration/gc/test_gc_interleavings.py",
    ),
    _simple(
        "a save whose token is gone does not publish",
        _STORE + "session.py",
        'raise FencedError(f"the token of {self.name} was moved away") from error',
        "return",
        "tests/unit/store/session/test_publish.py",
        "tests/unit/store/test_store_protocol.py",
    ),
    _simple(
        "the fence: silent sessions are moved away before anything is deleted",
        _STORE + "gc_stages.py",
        "if witnessed.isdisjoint(str(name) for name in self._sessions()):",
        "if witnessed is not None:",
        *_GC,
    ),
    _simple(
        "the witness: the sessions that exist are written down",
        _STORE + "gc_stages.py",
        "        names = sorted(str(name) for name in self._sessions())\n",
        "        names: list[str] = []\n",
        *_GC,
    ),
    _simple(
        "twenty minutes between moving away and the witness",
        _STORE + "trash.py",
        "        if self.stage is Stage.CONDEMNED:\n            ripe += STAGE_DISTANCE_SECONDS\n",
        "",
        *_GC,
    ),
    _simple(
        "a day in trash",
        _STORE + "trash.py",
        "            ripe = max(ripe, condemned + TRASH_SECONDS)\n",
        "            ripe = max(ripe, condemned)\n",
        *_GC,
    ),
    _simple(
        "the manifests are read again before anything is deleted",
        _STORE + "gc.py",
        "self._stages.empty(folder, referenced_packs(found))",
        "self._stages.empty(folder, frozenset())",
        *_GC,
    ),
    _simple(
        "a folder of trash is adopted before it is emptied",
        _STORE + "gc_stages.py",
        '            self._remote.rename(folder.path, f"{TRASH}/{name}")\n',
        "            name = folder.name\n",
        "tests/integration/gc/test_gc.py",
    ),
    _simple(
        "nothing is deleted when a manifest cannot be read",
        _STORE + "gc.py",
        'refused += [f"{problem.name}: {problem.reason}" for problem in found.problems]',
        "refused += []",
        *_GC,
    ),
    _simple(
        "nothing is deleted when there is no manifest",
        _STORE + "gc.py",
        "        if not found.referrers:\n",
        "        if found.referrers is None:\n",
        *_GC,
    ),
    _simple(
        "nothing is deleted on a mount that does not rename as it should",
        _STORE + "gc.py",
        "        if not self._renames_are_atomic():\n",
        "        if self._remote is None:\n",
        *_GC,
    ),
    _simple(
        "packs that a save may just have written stay",
        _STORE + "gc_plan.py",
        "if now - known.mtime > UNREFERENCED_SECONDS",
        "if now - known.mtime > 0",
        *_GC,
    ),
    _simple(
        "what is superseded stays for an hour after its successor was published",
        _STORE + "gc_plan.py",
        "in _superseded(referrers, now - SUPERSEDE_AGE_SECONDS)",
        "in _superseded(referrers, now)",
        *_GC,
    ),
    _simple(
        "a pack that gc moved away is looked for in trash",
        _STORE + "bring.py",
        "            for folder in self._trash_folders():\n",
        "            for folder in self._trash_folders()[:0]:\n",
        *_LOADS,
    ),
    # The process that uses it.
    _simple(
        "a fork waits until what an operation needs is imported",
        "b10_transfer/imports.py",
        "    with _lock:\n",
        "    with contextlib.nullcontext():\n",
        "tests/unit/test_imports.py",
    ),
    _simple(
        "what a load beside the caller needs is imported in the caller's thread",
        "b10_transfer/api.py",
        "    with contextlib.suppress(Exception):\n        import_all()\n",
        "    with contextlib.suppress(Exception):\n        pass\n",
        "tests/unit/test_imports.py",
    ),
    _simple(
        "no thread is started while the interpreter ends",
        "b10_transfer/background.py",
        "        if sys.is_finalizing():\n",
        "        if not sys:\n",
        "tests/unit/test_imports.py",
    ),
    _simple(
        "processes of other users are not believed",
        "b10_transfer/servers/processes.py",
        "    return bool(users) and users <= {",
        "    return True or users <= {",
        "tests/unit/servers/test_processes.py",
    ),
    _simple(
        "a program that is set-user-id is its caller's",
        "b10_transfer/servers/processes.py",
        "        return set(process.uids()) if",
        "        return {process.uids().effective} if",
        "tests/unit/servers/test_processes.py",
    ),
    _simple(
        "store, scratch, namespace and keys are never a server's",
        "b10_transfer/servers/options.py",
        "for name, value in seen.items() if not _is_ours(name)}",
        "for name, value in seen.items()}",
        "tests/unit/servers/test_options.py",
    ),
    _simple(
        "where sockets cannot be seen, another user's server is asked on this host alone",
        "b10_transfer/servers/endpoints.py",
        'arguments.host if server.is_same_users else "127.0.0.1"',
        "arguments.host",
        "tests/unit/servers/test_endpoints.py",
    ),
    _simple(
        "the signing secret leaves the environment of this process",
        "b10_transfer/held_secret.py",
        "    os.environ[KEY] = TAKEN\n",
        "    os.environ[KEY] += ''\n",
        "tests/unit/test_held_secret.py",
    ),
    _simple(
        "the signing secret is overwritten where /proc shows it",
        "b10_transfer/held_secret.py",
        "    _overwrite()\n",
        "",
        "tests/unit/test_held_secret.py",
    ),
    _simple(
        "a process from which the secret is kept does not go on unsigned",
        "b10_transfer/held_secret.py",
        "    if not _held:\n",
        "    if not _held:\n        return ()\n    if not _held:\n",
        "tests/unit/test_held_secret.py",
    ),
    _simple(
        "a command is started without the signing secret",
        "b10_transfer/supervised/command.py",
        "        take_secret()\n        variables = variables_of_caller()\n",
        "        variables = variables_of_caller()\n        take_secret()\n",
        "tests/unit/test_held_secret.py",
    ),
    _simple(
        "a key file belongs to root or to this user",
        "b10_transfer/signing.py",
        "owner not in {0, os.geteuid()}",
        "owner not in {owner}",
        "tests/unit/test_signing_settings.py",
    ),
    _simple(
        "what is left of a proven server is saved",
        "b10_transfer/supervised/tasks.py",
        "            if self._is_ready and self._settings is not None:\n",
        "            if not self.stop and self._settings is not None:\n",
        "tests/integration/servers/test_run_saving.py",
    ),
    _simple(
        "another server proves itself anew",
        "b10_transfer/supervised/tasks.py",
        "        self._is_ready = False\n        _logger",
        "        _logger",
        "tests/integration/servers/test_run_saving.py",
    ),
    _simple(
        "no environment key is computed without descriptors",
        "b10_transfer/environment.py",
        "        probes.require_descriptors()\n",
        "",
        "tests/integration/machines/test_scarce_resources.py",
    ),
    _simple(
        "with hardly any address space nothing is begun",
        "b10_transfer/context.py",
        "    require_some()\n",
        "",
        "tests/integration/machines/test_scarce_resources.py",
    ),
    _simple(
        "Ctrl-C does not wait for reads",
        "store/b10_store/bring.py",
        "        pool.shutdown(wait=False)\n",
        "        pool.shutdown()\n",
        "tests/integration/test_interrupted_loads.py",
    ),
    # Which machines may share.
    _simple(
        "the vector instructions are part of the environment key",
        "b10_transfer/environment.py",
        '        Field("vector_isa", *vector_isa(cpu, variables)),\n',
        "",
        "tests/unit/test_environment.py",
    ),
    _simple(
        "native code is only placed on hosts that are like its maker",
        "b10_transfer/host_placements.py",
        'if root is None or needed not in ("", requirement):',
        "if root is None:",
        "tests/integration/test_host_requirements.py",
    ),
    _simple(
        "a kernel is not completed with what belongs to another compilation",
        "b10_transfer/host_placements.py",
        "    return _refusing_strange_bundles(wanted, here)",
        "    return wanted if wanted else _refusing_strange_bundles(wanted, here)",
        "tests/integration/test_bundles.py",
    ),
    _simple(
        "a local record that others could have written is not believed",
        "b10_transfer/local_record.py",
        "    if not (_is_private(own) and _is_private(location)):",
        "    if not (own and location):",
        "tests/unit/test_local_record.py",
    ),
    _simple(
        "a graph for another width of vectors is no longer found after a load",
        "b10_transfer/loading.py",
        "            lines += move_aside(root.folder, origin.harmful)\n",
        "",
        "tests/integration/test_baked_caches.py",
    ),
    _simple(
        "code for another width of vectors is not published",
        "b10_transfer/root_origin.py",
        "    left_out = {**reasons, **bad, **harmful}",
        "    left_out = reasons",
        "tests/integration/test_baked_caches.py",
    ),
    _simple(
        "a library that needs instructions which this CPU lacks is not used",
        "b10_transfer/code_verdicts.py",
        "return Verdict.LACKING if lacking else Verdict.FITS",
        "return Verdict.FITS",
        "tests/integration/test_baked_caches.py",
    ),
    _simple(
        "what was made for another machine is not published when its root comes here",
        "b10_transfer/root_origin.py",
        "    if other.machine.key != here.key:",
        "    if not other.machine.key:",
        "tests/integration/test_baked_caches.py",
        "tests/integration/test_moved_volumes.py",
    ),
    _simple(
        "no link that another user made leads to a cache root",
        "store/b10_store/open_folder.py",
        "    if is_same and not _is_planted(before, os.fstat(handle)):",
        "    if is_same:",
        "tests/unit/store/test_open_folder.py",
        "tests/unit/test_local_clear.py",
    ),
    _simple(
        "a clear of another user's root is refused",
        "b10_transfer/local_clear.py",
        "        if owner is not None:",
        "        if owner == -1:",
        "tests/unit/test_local_clear.py",
    ),
    _simple(
        "a clear removes only what a compiler wrote",
        "b10_transfer/local_clear.py",
        "    return Scope(kind.layout.has_folder, kind.layout.has_file, refuses)",
        "    return Scope(_anything, _anything, refuses)",
        "tests/unit/test_local_clear.py",
    ),
    _simple(
        "a clear removes from a user's folder only what the store has too",
        "b10_transfer/local_clear.py",
        "        return Scope(kind.enters, common_with_store(root).__contains__, refuses)",
        "        return Scope(kind.enters, kind.takes, refuses)",
        "tests/unit/test_local_clear.py",
    ),
    _simple(
        "a clear follows no link of a compiler's own",
        "b10_transfer/clear_survey.py",
        "        return not folder.path and item.is_symlink() and item.is_dir()",
        "        return item.is_symlink() and item.is_dir()",
        "tests/unit/test_local_clear.py",
    ),
    _simple(
        "a save takes only what a compiler wrote",
        "b10_transfer/root_kinds.py",
        "        return self.layout.has_file(path) and not self.left_out.fullmatch(path)",
        "        return not self.left_out.fullmatch(path)",
        "tests/unit/test_root_kinds.py",
    ),
)
