"""Choose the stored artifacts that this host can use, and where each goes."""

from __future__ import annotations

import functools
import os
import stat
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from b10_store import CANONICAL_LIMIT, UNITED_LIMIT, LocalNames, RestoreTarget, digest_of, read_file
from b10_transfer.caches.artifacts import Bundles, placing_order, restorer
from b10_transfer.caches.code_verdicts import check_for_host
from b10_transfer.caches.native_needs import split_requirement
from b10_transfer.caches.relocation import canonical_group, is_group
from b10_transfer.caches.timings import unite_timings
from b10_transfer.local.record import read_loaded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store import Entry
    from b10_transfer.caches.native_needs import HostLibraries
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.machine.environment import Environment

_LARGEST_PART = 1 << 30
"""No part of a bundle that is larger is compared with the stored one."""


class Chosen(NamedTuple):
    """The stored artifacts, from the view of one host.

    Attributes:
        targets: what this host can use, and where it belongs.
        not_for_host: how many artifacts are of a cache root that is not used here, or native code
            for other machines alone.
        lacking: what this host lacks of what native code needs, and of how many artifacts.
    """

    targets: list[RestoreTarget]
    not_for_host: int
    lacking: Mapping[str, int]


def choose_targets(
    roots: Mapping[str, CacheRoot],
    environment: Environment,
    libraries: HostLibraries,
    entries: Iterable[Entry],
) -> Chosen:
    """Choose what of the stored artifacts this host can use.

    Args:
        roots: the cache roots of this host, by name.
        environment: of this host.
        libraries: of this host.
        entries: what is stored.
    """
    chosen: dict[tuple[str, str], Entry] = {}
    aside: dict[tuple[str, str], str] = {}
    lacks = functools.cache(libraries.lacks)
    for entry in entries:
        name, path, needed = entry.identity
        root = roots.get(name)
        host, needs = split_requirement(needed)
        if root is None or host not in ("", environment.requirement):
            aside.setdefault((name, path), "")
        elif not root.kind.may_take(path):
            continue  # what this host would not save, it does not place
        elif needs and (lack := lacks(needs)):
            aside[name, path] = lack
        elif (name, path) not in chosen or needed > chosen[name, path].identity.requirement:
            # Where several would do, the same one for all files of a bundle.
            chosen[name, path] = entry
    paths: defaultdict[str, list[str]] = defaultdict(list)
    names: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for name, path in chosen:
        folder, _, base = path.rpartition("/")
        paths[name].append(path)
        names[name, folder].add(base)
    bundles = {name: Bundles(root.kind, paths[name]) for name, root in roots.items()}
    targets = [
        RestoreTarget(
            entry=entry,
            folder=roots[name].folder,
            order=placing_order(path),
            restore=restorer(path, roots[name].folder, names[name, path.rpartition("/")[0]]),
            unite=unite_timings if _is_united(roots[name], entry) else None,
            bundle=bundles[name].of(path),
            check=functools.partial(check_for_host, roots[name].kind, path, environment),
        )
        for (name, path), entry in chosen.items()
    ]
    left = {key: lack for key, lack in aside.items() if key not in chosen}
    return Chosen(targets, len(left), Counter(lack for lack in left.values() if lack))


def _is_united(root: CacheRoot, entry: Entry) -> bool:
    path = entry.identity.path
    return bool(root.kind.timings.fullmatch(path)) and entry.size <= UNITED_LIMIT


def not_here(targets: Sequence[RestoreTarget]) -> list[RestoreTarget]:
    """Return those that are not here, and timings where the store has more than this host."""
    folders = {item.folder for item in targets}
    names = {folder: LocalNames(folder) for folder in folders}
    united = {item.folder for item in targets if item.unite is not None}
    digests = {folder: read_loaded(folder).digests for folder in united}
    wanted: list[RestoreTarget] = []
    here: list[RestoreTarget] = []
    for item in targets:
        path = item.entry.identity.path
        if not names[item.folder].has(path):
            wanted.append(item)
            continue
        here.append(item)
        if item.unite is not None and digests[item.folder].get(path) != item.entry.digest:
            wanted.append(item)
    return _refusing_strange_bundles(wanted, here)


def _refusing_strange_bundles(
    wanted: list[RestoreTarget], here: Sequence[RestoreTarget]
) -> list[RestoreTarget]:
    """Let those fail that would complete a bundle that is here with other bytes.

    A compiler makes a bundle again that lacks a part. Completed, it is used with all that is in its
    folder: also with files of another compilation, or that were cut short by a crash.
    """
    incomplete = {(item.folder, item.bundle) for item in wanted if item.bundle}
    strange = {
        (item.folder, item.bundle)
        for item in here
        if (item.folder, item.bundle) in incomplete and not _is_as_stored(item)
    }
    return [
        replace(item, restore=_refuse) if (item.folder, item.bundle) in strange else item
        for item in wanted
    ]


def _refuse(_: bytes) -> NoReturn:
    raise ValueError("a part of the same kernel is here, with other bytes than the stored ones")


def _is_as_stored(item: RestoreTarget) -> bool:
    is_list = is_group(item.entry.identity.path)
    try:
        status = os.lstat(item.location)
        if not stat.S_ISREG(status.st_mode):
            return False
        if status.st_size > CANONICAL_LIMIT if is_list else status.st_size != item.entry.size:
            return False
        data = read_file(item.location, _LARGEST_PART)
        return digest_of(canonical_group(data) if is_list else data) == item.entry.digest
    except (OSError, ValueError):
        return False
