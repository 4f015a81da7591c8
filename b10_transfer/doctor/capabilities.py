"""Findings about the store's mount: its filesystem, its abilities, and its clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store import OUT_OF_SPACE
from b10_transfer.doctor.findings import note, problem
from b10_transfer.doctor.patience import no_answer
from b10_transfer.doctor.store import REFUSED
from b10_transfer.machine.filesystems import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from b10_transfer.doctor.findings import Finding
    from b10_transfer.doctor.mount import Answers
    from b10_transfer.machine.filesystems import Filesystem

_STORE, _MOUNT = "store", "mount"
_GRAVE_SKEW_SECONDS = 86400.0
_ANOTHER_MOUNT = "use a mount that can do this (NFS, CephFS, Lustre), and set B10FS_CACHE_DIR to it"

# The step that was tried, the meaning of its failure, and what to do.
_NEEDED: Mapping[str, tuple[str, str]] = {
    "fsync": (
        "a written file cannot be synced",
        "every save fails at this: check the mount's log and its options",
    ),
    "exclusive": (
        "an exclusive create (O_EXCL) succeeds although the file exists",
        _ANOTHER_MOUNT,
    ),
    "visible": (
        "a new file does not show in a fresh open or listing",
        "shorten the mount's caches: a host may miss what another has just saved",
    ),
    "touch": (
        "touching a file does not change its time",
        "let the mount keep times: without them a running save looks dead to the garbage "
        "collection, and artifacts expire although they are loaded",
    ),
    "rename": (
        "a rename does not replace a file at once, or leaves it under its old name",
        f"do not save here, since everything depends on renames; {_ANOTHER_MOUNT}",
    ),
    "descriptor": (
        "an open file is no longer the same file after a rename",
        f"do not save here, since the garbage collection depends on this; {_ANOTHER_MOUNT}",
    ),
    "rename_folder": (
        "a folder cannot be renamed",
        f"the garbage collection cannot work here: set B10_AUTO_GC=0, or {_ANOTHER_MOUNT}",
    ),
    "delete": (
        "a removed file still shows in a fresh open or listing",
        "shorten the mount's caches",
    ),
}


def mount_findings(look: Answers) -> Iterator[Finding]:
    """Check on what kind of filesystem the store is."""
    mounted = filesystem_of(str(look.facts("path").get("path", "")))
    if mounted is None:
        return
    if mounted.is_object_store:
        yield problem(
            "mount.object_store",
            _MOUNT,
            f"the store is on {mounted}: an object store, where a rename copies and deletes",
            f"nothing guarantees that a save can be loaded; {_ANOTHER_MOUNT}",
            **_told(mounted),
        )
    elif mounted.is_local:
        yield note(
            "mount.local",
            _MOUNT,
            f"the store is on {mounted}: a local filesystem, which other hosts do not see",
            "mount the shared folder there, or set B10FS_CACHE_DIR to where it is mounted, "
            "unless only this host is meant to use it",
            **_told(mounted),
        )


def trial_findings(trial: Answers) -> Iterator[Finding]:
    """Check what the mount can do."""
    created = trial.steps.get("create")
    if trial.pending:
        yield problem(
            "store.no_answer",
            _MOUNT,
            f"{_in_words(trial.pending)} {no_answer()}",
            "remount it; until then saves wait as long as the mount does",
            step=trial.pending,
        )
        return
    if created is None or created.error:
        yield _not_created(created.errno if created else 0, created.error if created else "")
        return
    full = next((step for step in trial.steps.values() if step.errno in OUT_OF_SPACE), None)
    if full is not None:
        yield _not_created(full.errno, full.error)
    for name in _NEEDED:
        step = trial.steps.get(name)
        if step is None or step.errno in OUT_OF_SPACE:
            continue
        if not step.holds:
            fact, advice = _NEEDED[name]
            why = f": {step.error}" if step.error else ""
            number = step.errno or None
            yield problem("mount.unfit", _MOUNT, fact + why, advice, step=name, errno=number)
    yield from _clock_findings(trial)


def _not_created(number: int, error: str) -> Finding:
    if number in REFUSED:
        return note(
            "store.read_only",
            _STORE,
            f"no file can be created in the store ({error}): loads work, saves do not",
            "nothing, if this host is not meant to save; else let this user write there",
        )
    if number in OUT_OF_SPACE:
        return problem(
            "space.little",
            _STORE,
            f"the store is full: {error}",
            "run `b10-transfer gc` and set B10_STORE_MAX_SIZE_MB, or enlarge the filesystem",
        )
    fact = f"no file can be created: {error}"
    return problem("mount.unfit", _MOUNT, fact, "remount it", step="create", errno=number)


def _clock_findings(trial: Answers) -> Iterator[Finding]:
    facts = trial.facts("create")
    written, before, after = (float(facts[name]) for name in ("mtime", "before", "after"))
    skew = max(0.0, written - after) - max(0.0, before - written)
    if abs(skew) < _GRAVE_SKEW_SECONDS:
        return
    yield problem(
        "clock.skew",
        "clock",
        f"this host's clock is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the clock "
        "of the store's filesystem",
        "set the clocks (NTP): if the filesystem's clock is wrong, artifacts expire at the wrong "
        "time after it is corrected; if this host's is wrong, each load notes its use again",
        skew=skew,
    )


def _in_words(step: str) -> str:
    words = {
        "create": "a new file",
        "fsync": "the sync of a file",
        "visible": "a new file",
        "rename": "a rename",
        "delete": "the removal of a file",
        "rename_folder": "the rename of a folder",
        "touch": "the time of a touched file",
        "descriptor": "a rename of an open file",
        "exclusive": "an exclusive create",
    }
    return words.get(step, step)


def _told(mounted: Filesystem) -> dict[str, object]:
    return {"filesystem": mounted.kind, "source": mounted.source, "mounted_at": mounted.folder}
