"""Files in a cache root that no compiler wrote: they are reported, and never touched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from b10_store import RECORD_FOLDER
from b10_transfer.paths import is_below

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from b10_transfer.caches.roots import CacheRoot

OF_FILESYSTEMS = frozenset({"lost+found", ".snapshot"})
"""Folders that filesystems create at the top of a mount."""

_NAMED = 3


def find_foreign(root: CacheRoot, others: Iterable[CacheRoot] = ()) -> tuple[str, ...]:
    """Return the names at the top of a cache root that no compiler gives; folders end in a slash.

    Args:
        root: the cache root. A root that a program shares with its models has no foreign names.
        others: further roots; their folders, inside this one, are not foreign.
    """
    if root.kind.is_shared or root.kind.is_users:
        return ()
    nested = [other.folder for other in others if other.folder != root.folder]
    try:
        with os.scandir(root.folder) as found:
            return tuple(sorted(name for item in found if (name := _foreign(root, item, nested))))
    except OSError:
        return ()


def _foreign(root: CacheRoot, item: os.DirEntry[str], nested: Collection[str]) -> str:
    name, layout = item.name, root.kind.layout
    if name == RECORD_FOLDER or name in OF_FILESYSTEMS:
        return ""
    if not item.is_dir():
        return "" if layout.has_file(name) else name
    if layout.has_folder(name) or any(is_below(folder, item.path) for folder in nested):
        return ""
    return name + "/"


def foreign_lines(roots: Sequence[CacheRoot]) -> list[str]:
    """Return a line for each cache root that also holds other things."""
    lines = [foreign_line(root, find_foreign(root, roots)) for root in roots]
    return [line for line in lines if line]


def foreign_line(root: CacheRoot, names: Collection[str]) -> str:
    """Return a line about what is foreign in a cache root; "" when nothing is."""
    if not names:
        return ""
    return (
        f"{root.folder} holds things that are not part of the cache {root.name} ({few(names)}): "
        "they are neither saved nor cleared; give the cache a folder of its own"
    )


def few(names: Collection[str]) -> str:
    """Return the first of some names, and how many more there are."""
    first = sorted(names)[:_NAMED]
    more = len(names) - len(first)
    return ", ".join(first) + (f", and {more} more" if more else "")
