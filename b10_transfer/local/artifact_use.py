"""Find which artifacts are in use: made here, or opened since they were loaded.

The sign is a file's access time. On most filesystems (relatime, the default) it shows the first
reading of a file after it was placed, and then about one a day. A filesystem without access times
(noatime, some network mounts) shows nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import defaultdict
from functools import cache, partial
from typing import TYPE_CHECKING

from b10_store import Identity, Use, folder_of
from b10_transfer.caches.artifacts import Bundles, variant_group_length
from b10_transfer.caches.kinds import HEADERS
from b10_transfer.local.lock import make_own_folder
from b10_transfer.local.record import TEMPORARY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from b10_store import FoundFile, Scanned
    from b10_transfer.caches.kinds import RootKind
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.local.record import Loaded

_DAY_NS = 86_400 * 10**9
_LONG_AGO_NS = 3 * _DAY_NS
"""With relatime, too, the next access renews an access time that is older than a day."""

_PROFILE = re.compile(r"((?:.*/)?dynamo)/code_state_[^/]*", re.DOTALL)
_UNRELATED = re.compile(r"(?:.*/)?[a-z0-9]{2}", re.DOTALL)
"""Inductor's folders for the first characters of a hash: their files have nothing in common."""


def artifact_use(
    artifacts: Sequence[Scanned],
    roots: Mapping[str, CacheRoot],
    records: Mapping[str, Loaded],
    max_age_days: int,
) -> Use:
    """Find out which artifacts are in use.

    Args:
        artifacts: of all roots.
        roots: by name.
        records: the record of the loads into each root.
        max_age_days: artifacts that were neither made nor opened for longer are not in use; 0: no
            limit.
    """
    unit_of = cache(partial(_unit_of, {name: root.kind for name, root in roots.items()}))
    since_ns = time.time_ns() - max_age_days * _DAY_NS if max_age_days else 0
    used: set[Identity] = set()
    for item in artifacts:
        identity = item.file.identity
        # Inductor looks only whether its headers are there.
        if identity.root == HEADERS.name or _last_use(item, records[identity.root]) > since_ns:
            used.add(identity)
    dormant = _outside(used, [item.file.identity for item in artifacts], unit_of)
    telling = {name for name in dormant if keeps_access_times(roots[name].folder)}
    return Use(
        idle=_all_of(dormant[name] for name in telling),
        unsure=_all_of(dormant[name] for name in dormant.keys() - telling),
        max_age_ms=max_age_days * _DAY_NS // 1_000_000,
        unit_of=unit_of,
        crowd_of=_crowd_of,
    )


def keeps_access_times(folder: str) -> bool:
    """Find out whether a cache root shows that a file was read, by reading one of our own."""
    try:
        own = make_own_folder(folder)
        path = os.path.join(own, f"access.{os.urandom(8).hex()}{TEMPORARY_SUFFIX}")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return False
    try:
        os.write(handle, b"?")
        before = time.time_ns() - _LONG_AGO_NS
        os.utime(path, ns=(before, before + _LONG_AGO_NS))
        before = os.stat(path).st_atime_ns
        os.pread(handle, 1, 0)
        return os.stat(path).st_atime_ns != before
    except (OSError, AttributeError):
        return False
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):
            os.unlink(path)


def older_profiles(found: Sequence[FoundFile], limit: int) -> set[str]:
    """Return the paths of all but the newest profiles: each job leaves one, and removes none."""
    profiles = [
        item for item in found if "/code_state_" in item.path and _PROFILE.fullmatch(item.path)
    ]
    profiles.sort(key=lambda item: (item.fingerprint.mtime_ns, item.path))
    return {item.path for item in profiles[:-limit]}


def _outside(
    used: set[Identity], here: Sequence[Identity], unit_of: Callable[[Identity], str]
) -> Mapping[str, set[Identity]]:
    """Return the artifacts of units without any use, by root."""
    dormant: defaultdict[str, set[Identity]] = defaultdict(set)
    if len(used) == len(here):
        return dormant
    units = {(identity.root, unit_of(identity)) for identity in used}
    for identity in here:
        if (identity.root, unit_of(identity)) not in units:
            dormant[identity.root].add(identity)
    return dormant


def _last_use(item: Scanned, record: Loaded) -> int:
    """Return when an artifact was made or opened here, in ns since the epoch; 0: never."""
    path, found = item.file.identity.path, item.file.found
    changed_ns = found.fingerprint.ctime_ns
    opened_ns = found.accessed_ns if found.accessed_ns > changed_ns else 0
    is_common = record.digests.get(path) == item.digest and changed_ns <= record.finished_ns
    return opened_ns if is_common else max(opened_ns, changed_ns)


def _unit_of(kinds: Mapping[str, RootKind], identity: Identity) -> str:
    """Return the unit of an artifact, by its path; a unit is used and expires as a whole."""
    kind, path, folder = kinds.get(identity.root), identity.path, folder_of(identity)
    named = Bundles(kind, ()).named(path) if kind is not None else ""
    group = path[: variant_group_length(path)]
    if named or group:
        return named or group
    # ninja compares the times of files all over its root, but opens few of them.
    if kind is not None and kind.keeps_times and not kind.is_users and not _is_kernel(folder):
        return ""
    if _UNRELATED.fullmatch(folder):
        # A source, and the files made from it.
        return f"{folder}/{path[len(folder) + 1 :].partition('.')[0]}"
    return path if _PROFILE.fullmatch(path) else folder


def _is_kernel(folder: str) -> bool:
    """Return whether a folder has the name of a Triton kernel."""
    return len(folder.rpartition("/")[2]) >= 32  # see TRITON.layout


def _crowd_of(identity: Identity) -> str:
    # Most are of none, which is found out sooner than that a path does not match.
    match = _PROFILE.fullmatch(identity.path) if "/code_state_" in identity.path else None
    return "" if match is None else match[1]


def _all_of(sets: Iterable[set[Identity]]) -> frozenset[Identity]:
    return frozenset[Identity]().union(*sets)
