"""Loads of bytes that a test holds, without a store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from b10_store.digest import digest_of
from b10_store.folders import Bounds, open_folder
from b10_store.paths import RECORD_FOLDER
from b10_store.tree.placement import OpenRoot, RestoreTarget
from b10_store.tree.staging import Staging
from tests.support.values import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from b10_store.format.manifest import Entry
    from b10_store.tree.placement import Placed


def unwatched(folder: str, size: int) -> None:
    """There is always room."""
    assert os.path.isdir(folder)
    assert size >= 0


def entry_of(
    path: str, data: bytes, *, executable: bool = False, mtime_ns: int | None = None
) -> Entry:
    """An entry whose digest is that of `data`."""
    return entry(path, size=len(data))._replace(
        digest=digest_of(data),
        executable=executable,
        mtime_ns=mtime_ns,
    )


def placement_of(
    root: Path,
    path: str,
    data: bytes,
    *,
    order: int = 0,
    bundle: str = "",
    restore: Callable[[bytes], bytes] | None = None,
) -> RestoreTarget:
    """An artifact that is to come to `root`."""
    return RestoreTarget(entry_of(path, data), str(root), order, restore, bundle)


def make_root(root: Path) -> Path:
    """A cache root as a load finds it: its folder for records is there."""
    (root / RECORD_FOLDER).mkdir(parents=True)
    return root


def staged(
    placements: Iterable[RestoreTarget],
    contents: Iterable[bytes],
    watch: Callable[[str, int], None] = unwatched,
    roots: Mapping[str, OpenRoot] | None = None,
) -> Staging:
    """A staging into which the contents came."""
    staging = Staging(watch, roots)
    staging.expect(placements)
    for data in contents:
        staging.put([(digest_of(data), data)])
    return staging


def bring_all(
    root: Path,
    tree: Mapping[str, bytes],
    order: Mapping[str, int] | None = None,
    bounds: Bounds | None = None,
) -> Placed:
    """Stage and place a whole tree."""
    orders = order or {}
    placements = [
        placement_of(root, path, data, order=orders.get(path, 0)) for path, data in tree.items()
    ]
    with open_folder(str(root)) as opened:
        target = OpenRoot(opened, bounds or Bounds())
        staging = staged(placements, dict.fromkeys(tree.values()), roots={str(root): target})
        try:
            return staging.place()
        finally:
            staging.close()


def files_of(root: Path) -> dict[str, bytes]:
    """The artifacts in a cache root, and whatever else is there but for the records."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and RECORD_FOLDER not in path.relative_to(root).parts
    }


def leftovers(root: Path) -> list[str]:
    """What a load left in the folder for records."""
    return sorted(os.listdir(root / RECORD_FOLDER))


def paths(placements: Iterable[RestoreTarget]) -> set[str]:
    """The paths of placements."""
    return {placement.entry.identity.path for placement in placements}


def placed_paths(result: Placed) -> set[str]:
    """The paths of what was placed."""
    return paths(placement for placement, _ in result.placed)
