"""Where the shared folder and the local tree lie while they are measured."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.seeds import cache_folder
from bench.slow_mount import mounted

if TYPE_CHECKING:
    from collections.abc import Generator

_MEMORY = Path("/dev/shm")  # noqa: S108 - a mount in memory, and folders in it are made by mkdtemp


@dataclass(frozen=True, slots=True)
class Place:
    """Folders to measure in.

    Attributes:
        name: in tables.
        local: where replicas have their cache roots.
        shared: where the store lies, as replicas see it.
        behind: the same folder past any delay, to prepare and to clean.
    """

    name: str
    local: Path
    shared: Path
    behind: Path


_DELAYS = {"1ms": 0.001, "5ms": 0.005}
"""Mounts in memory that take so many seconds for each operation, and 1 ns a byte besides."""

NAMES = ("tmpfs", "disk", *_DELAYS)


@contextmanager
def open_place(name: str) -> Generator[Place]:
    """Make a place of that name, and remove all that is in it at the end.

    Args:
        name: one of `NAMES`.

    Raises:
        OSError: a mount is needed, and this process may not make one.
    """
    base = cache_folder() if name == "disk" or not _MEMORY.is_dir() else _MEMORY
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=base, prefix="b10-bench-"))
    try:
        local, shared = folder / "local", folder / "shared"
        local.mkdir()
        shared.mkdir()
        if name not in _DELAYS:
            yield Place(name, local, shared, shared)
            return
        mount = folder / "mount"
        mount.mkdir()
        with mounted(shared, mount, _DELAYS[name]):
            yield Place(name, local, mount, shared)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
