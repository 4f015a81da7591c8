"""What of the stored artifacts belongs on this host, where, and what of it is not there yet."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from b10_store.digest import digest_of
from b10_store.placement import LocalNames, Placement
from b10_store.scan import CANONICAL_LIMIT
from b10_transfer.artifacts import bundle_folders, bundle_of, placing_order, restorer
from b10_transfer.local_record import read_loaded
from b10_transfer.relocation import canonical_group, is_group
from b10_transfer.tuning import is_timings, unite_timings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store.manifest import Entry
    from b10_transfer.cache_roots import CacheRoot


class Chosen(NamedTuple):
    """The stored artifacts, from the view of one host.

    Attributes:
        placements: what this host can use, and where it belongs.
        left_aside: how many artifacts are of a cache root that is not used here, or are native code
            for other machines alone.
    """

    placements: list[Placement]
    left_aside: int


def choose_placements(
    roots: Mapping[str, CacheRoot], requirement: str, entries: Iterable[Entry]
) -> Chosen:
    """Choose what of the stored artifacts this host can use.

    Args:
        roots: the cache roots of this host, by name.
        requirement: what native code may need to run here; see `Environment.requirement`.
        entries: what is stored.
    """
    chosen: dict[tuple[str, str], Entry] = {}
    aside: set[tuple[str, str]] = set()
    for entry in entries:
        name, path, needed = entry.identity
        root = roots.get(name)
        if root is None or needed not in ("", requirement):
            aside.add((name, path))
        elif not root.kind.takes(path):
            continue  # what this host would not save, it does not place
        elif needed or (name, path) not in chosen:
            chosen[name, path] = entry
    bundles = {
        name: bundle_folders(root.kind, (path for other, path in chosen if other == name))
        for name, root in roots.items()
    }
    names: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for name, path in chosen:
        folder, _, base = path.rpartition("/")
        names[name, folder].add(base)
    placements = [
        Placement(
            entry=entry,
            folder=roots[name].folder,
            order=placing_order(path),
            restore=restorer(path, roots[name].folder, names[name, path.rpartition("/")[0]]),
            bundle=bundle_of(path, bundles[name]),
        )
        for (name, path), entry in chosen.items()
    ]
    return Chosen(placements, len(aside - chosen.keys()))


def not_here(placements: Sequence[Placement]) -> list[Placement]:
    """Those of which nothing is here, or of which the store knows more than this host."""
    folders = {item.folder for item in placements}
    names = {folder: LocalNames(folder) for folder in folders}
    with_timings = {item.folder for item in placements if is_timings(item.entry.identity.path)}
    digests = {folder: read_loaded(folder).digests for folder in with_timings}
    wanted: list[Placement] = []
    here: list[Placement] = []
    for item in placements:
        path = item.entry.identity.path
        if not names[item.folder].has(path):
            wanted.append(item)
            continue
        here.append(item)
        if is_timings(path) and digests[item.folder].get(path) != item.entry.digest:
            wanted.append(replace(item, unite=unite_timings))
    return _refusing_strange_kernels(wanted, here)


def _refusing_strange_kernels(
    wanted: list[Placement], here: Sequence[Placement]
) -> list[Placement]:
    """`wanted`, but those fail that would complete a Triton kernel of which other bytes are here.

    A kernel that lacks its group or its notes Triton compiles again. Completed, it is used with all
    that is in its folder: also with a file that a crash of this machine cut short.
    """
    incomplete = {(item.folder, item.bundle) for item in wanted if item.bundle}
    parts: defaultdict[tuple[str, str], list[Placement]] = defaultdict(list)
    for item in here:
        if (item.folder, item.bundle) in incomplete:
            parts[item.folder, item.bundle].append(item)
    if not parts:
        return wanted
    kernels = {
        (item.folder, item.bundle)
        for item in chain(wanted, here)
        if is_group(item.entry.identity.path)
    }
    strange = {
        key for key, items in parts.items() if key in kernels and not all(map(_is_as_stored, items))
    }
    return [
        replace(item, restore=_refuse) if (item.folder, item.bundle) in strange else item
        for item in wanted
    ]


def _refuse(_: bytes) -> NoReturn:
    raise ValueError("a part of the Triton kernel is here, with other bytes than the stored ones")


def _is_as_stored(item: Placement) -> bool:
    is_list = is_group(item.entry.identity.path)
    try:
        status = os.lstat(item.location)
        if not stat.S_ISREG(status.st_mode):
            return False
        if status.st_size > CANONICAL_LIMIT if is_list else status.st_size != item.entry.size:
            return False
        with open(item.location, "rb") as file:
            data = file.read()
        return digest_of(canonical_group(data) if is_list else data) == item.entry.digest
    except (OSError, ValueError):
        return False
