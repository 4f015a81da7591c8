"""Triton groups with a missing file: Triton fails on them, so they are not saved."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store import CANONICAL_LIMIT, Skipped, read_file
from b10_transfer.caches.relocation import GROUP_PREFIX, group_children, is_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from b10_store import FoundFile


def find_incomplete(found: Sequence[FoundFile]) -> tuple[frozenset[str], list[Skipped]]:
    """Return the paths of incomplete groups and their files, and the reason for each group.

    A broken file is found later, when it is hashed, and then its group is left out as well.
    """
    skipped: list[Skipped] = []
    return frozenset(_incomplete_groups(found, skipped)), skipped


def _incomplete_groups(found: Sequence[FoundFile], skipped: list[Skipped]) -> Iterator[str]:
    groups = [item for item in found if GROUP_PREFIX in item.path and is_group(item.path)]
    if not groups:
        return
    sizes: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for item in found:
        folder, _, name = item.path.rpartition("/")
        sizes[folder][name] = item.fingerprint.size
    for item in groups:
        folder = item.path.rpartition("/")[0]
        try:
            children = group_children(_read_small(item))
        except (OSError, ValueError):
            skipped.append(Skipped(item.location, "an incomplete Triton group"))
            yield item.path
            continue
        if not all(sizes[folder].get(name) for name in children):
            skipped.append(Skipped(item.location, "a Triton group with a missing file"))
            yield item.path
            yield from (f"{folder}/{child}" if folder else child for child in children)


def _read_small(item: FoundFile) -> bytes:
    return read_file(item.location, CANONICAL_LIMIT)
