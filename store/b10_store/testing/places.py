"""Stores of every kind, each with a way to its files without the `Remote`.

A test that wrote and read through the same remote would pass if the remote were wrong in the same
way both times. So tests look at the results of a remote, and prepare files for it, without it.
"""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from b10_store.remote.folder import FolderRemote
from b10_store.remote.memory import MemoryRemote

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.remote.protocol import Remote


class Place(Protocol):
    """A store that can be looked at without its remote."""

    @property
    def remote(self) -> Remote:
        """The remote under test."""
        ...

    def put(self, name: str, data: bytes, *, mtime: float | None = None) -> None:
        """Write a file."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return a file's content; None when there is none."""
        ...

    def mtime(self, name: str) -> float:
        """Return a file's mtime."""
        ...

    def names(self) -> set[str]:
        """Return the names of all files, including temporary ones."""
        ...


class FolderPlace:
    """A folder, looked at with pathlib."""

    def __init__(self, folder: Path) -> None:
        """Use a store at `folder`, which need not exist."""
        self.folder = folder
        self.remote: Remote = FolderRemote(str(folder))

    def put(self, name: str, data: bytes, *, mtime: float | None = None) -> None:
        """See `Place.put`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if mtime is not None:
            os.utime(path, (mtime, mtime))

    def get(self, name: str) -> bytes | None:
        """See `Place.get`."""
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def mtime(self, name: str) -> float:
        """See `Place.mtime`."""
        return (self.folder / name).stat().st_mtime

    def names(self) -> set[str]:
        """See `Place.names`."""
        found = (path for path in self.folder.rglob("*") if not path.is_dir())
        return {path.relative_to(self.folder).as_posix() for path in found}


class MemoryPlace:
    """A store in memory, looked at through its table of files."""

    def __init__(self) -> None:
        """Begin with an empty store that uses this host's clock."""
        remote = MemoryRemote(time.time)
        self.remote: Remote = remote
        self._nodes: dict[str, Any] = vars(remote)["_nodes"]

    def put(self, name: str, data: bytes, *, mtime: float | None = None) -> None:
        """See `Place.put`."""
        now = time.time() if mtime is None else mtime
        self._nodes[name] = SimpleNamespace(data=data, mtime=now, renamed=now)

    def get(self, name: str) -> bytes | None:
        """See `Place.get`."""
        node = self._nodes.get(name)
        return None if node is None else bytes(node.data)

    def mtime(self, name: str) -> float:
        """See `Place.mtime`."""
        return float(self._nodes[name].mtime)

    def names(self) -> set[str]:
        """See `Place.names`."""
        return set(self._nodes)
