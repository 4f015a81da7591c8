"""Choose the stored artifacts that this host can use, and where each goes."""

from __future__ import annotations

import functools
import os
import stat
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from b10_store import (
    CANONICAL_LIMIT,
    UNITED_LIMIT,
    LocalNames,
    RestoreTarget,
    digest_of,
    paused_collector,
    read_file,
)
from b10_transfer.caches.artifacts import Bundles, placing_order, restorer
from b10_transfer.caches.code_verdicts import check_for_host
from b10_transfer.caches.native_needs import split_requirement
from b10_transfer.caches.relocation import canonical_group, is_group
from b10_transfer.caches.takers import Taker
from b10_transfer.caches.timings import unite_timings
from b10_transfer.local.record import read_loaded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from b10_store import Digest, Entry
    from b10_transfer.caches.native_needs import HostLibraries
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.machine.environment import Environment

STRANGE_BUNDLE = "a part of the same kernel is here, with other bytes than the stored ones"
"""Why a part of a bundle is not placed that is here in part."""

_LARGEST_PART = 1 << 30
"""A part of a bundle that is larger than this is not compared with the stored one."""


class Chosen(NamedTuple):
    """The stored artifacts, from the view of one host.

    Attributes:
        targets: the artifacts that this host can use, and their places.
        not_for_host: how many artifacts are of a cache root that is not used here, or native code
            for other machines alone.
        lacking: libraries that native code needs and this host lacks, with the number of artifacts.
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
    """Choose the stored artifacts that this host can use.

    Args:
        roots: the cache roots of this host, by name.
        environment: of this host.
        libraries: of this host.
        entries: the stored artifacts.
    """
    own: dict[str, dict[str, Entry]] = {name: {} for name in roots}
    aside: dict[tuple[str, str], str] = {}
    takes = {name: Taker(root.kind, is_pure=True).takes for name, root in roots.items()}
    split, lacks = functools.cache(split_requirement), functools.cache(libraries.lacks)
    for entry in entries:
        name, path, needed = entry.identity
        chosen = own.get(name)
        host, needs = split(needed) if needed else ("", "")
        if chosen is None or host not in ("", environment.requirement):
            aside.setdefault((name, path), "")
        elif not takes[name](path):
            continue  # this host does not place what it would not save
        elif needs and (lack := lacks(needs)):
            aside[name, path] = lack
        elif path not in chosen or needed > chosen[path].identity.requirement:
            # If several fit, choose the same one for all files of a bundle.
            chosen[path] = entry
    targets = [
        target
        for name, chosen in own.items()
        for target in _targets_in(roots[name], environment, chosen)
    ]
    left = [lack for (name, path), lack in aside.items() if path not in own.get(name, ())]
    return Chosen(targets, len(left), Counter(lack for lack in left if lack))


def _targets_in(
    root: CacheRoot, environment: Environment, chosen: Mapping[str, Entry]
) -> Iterator[RestoreTarget]:
    """Say of each artifact chosen for a cache root, by its path, where and how it goes there."""
    groups = [path for path in chosen if is_group(path)]
    names: dict[str, set[str]] = {path.rpartition("/")[0]: set() for path in groups}
    for path in chosen if groups else ():
        folder, _, name = path.rpartition("/")
        if folder in names:
            names[folder].add(name)
    restorers = {
        path: restorer(path, root.folder, names[path.rpartition("/")[0]]) for path in groups
    }
    bundles = Bundles(root.kind, groups)
    check = functools.partial(check_for_host, root.kind, environment)
    for path, entry in chosen.items():
        yield RestoreTarget(
            entry,
            root.folder,
            placing_order(path),
            restorers.get(path),
            bundles.of(path),
            unite_timings if _is_united(root, entry) else None,
            check,
        )


def _is_united(root: CacheRoot, entry: Entry) -> bool:
    path = entry.identity.path
    return bool(root.kind.timings.fullmatch(path)) and entry.size <= UNITED_LIMIT


@paused_collector()
def not_here(targets: Sequence[RestoreTarget]) -> list[RestoreTarget]:
    """Return artifacts that are not here, and timings of which the store has more."""
    names = {folder: LocalNames(folder) for folder in {item.folder for item in targets}}
    digests: dict[str, dict[str, Digest]] = {}
    wanted: list[RestoreTarget] = []
    for item in targets:
        folder, path = item.folder, item.entry.identity.path
        if not names[folder].has(path):
            wanted.append(item)
        elif item.unite is not None:
            if folder not in digests:
                digests[folder] = read_loaded(folder).digests
            if digests[folder].get(path) != item.entry.digest:
                wanted.append(item)
    return wanted


def part_strange(
    wanted: Sequence[RestoreTarget], targets: Iterable[RestoreTarget]
) -> tuple[list[RestoreTarget], list[RestoreTarget]]:
    """Part those of `wanted` that may be placed from those of bundles that are strange here.

    A compiler makes a bundle again that lacks a part. Completed, it is used with all that is in its
    folder: also with files of another compilation, or that were cut short by a crash.

    Args:
        wanted: what is to be loaded.
        targets: everything that belongs on this host.

    Returns:
        Those that may be placed, and those whose bundle is partly here with other bytes.
    """
    missing = {
        id(item) for item in wanted if item.unite is None or not os.path.lexists(item.location)
    }
    here = [item for item in targets if item.bundle and id(item) not in missing]
    if not here:
        return list(wanted), []
    incomplete = {(item.folder, item.bundle) for item in wanted if item.bundle}
    strange = {
        (item.folder, item.bundle)
        for item in here
        if (item.folder, item.bundle) in incomplete and not _is_as_stored(item)
    }
    fit: list[RestoreTarget] = []
    unfit: list[RestoreTarget] = []
    for item in wanted:
        (unfit if (item.folder, item.bundle) in strange else fit).append(item)
    return fit, unfit


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
