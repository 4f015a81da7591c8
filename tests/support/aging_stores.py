"""Stores whose time passes when a test says so."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any, Protocol

from b10_store.remote.folder import FolderRemote
from b10_store.remote.memory import MemoryRemote
from b10_store.remote.protocol import FileStat
from tests.support.clocks import TickingClock
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b10_store.remote.protocol import Remote


class AgingStore(Protocol):
    """A store, and its time."""

    @property
    def remote(self) -> Remote:
        """The store."""
        ...

    def advance(self, seconds: float) -> None:
        """Let that much time pass; also less than none."""
        ...


class AgingMemory:
    """One in memory."""

    def __init__(self) -> None:
        """An empty store."""
        self.clock = TickingClock()
        self.remote: Remote = MemoryRemote(self.clock.time)

    def advance(self, seconds: float) -> None:
        """See `AgingStore.advance`."""
        self.clock.seconds += seconds

    def names(self) -> frozenset[str]:
        """Every file."""
        return frozenset(vars(self.remote)["_nodes"])

    def keep(self) -> Callable[[], None]:
        """Returns what puts the present state back."""
        nodes: dict[str, Any] = vars(self.remote)["_nodes"]
        kept = {name: copy.copy(node) for name, node in nodes.items()}
        seconds = self.clock.time()

        def reset() -> None:
            self.clock.seconds = seconds
            nodes.clear()
            nodes.update({name: copy.copy(node) for name, node in kept.items()})

        return reset


class AgingFolder:
    """One in a real folder: time passes by making every file older."""

    def __init__(self, folder: Path) -> None:
        """A store at `folder`, which need not exist."""
        self._folder = folder
        self._ahead = _Ahead(FolderRemote(str(folder)))
        self.remote: Remote = self._ahead

    def advance(self, seconds: float) -> None:
        """See `AgingStore.advance`."""
        for path in self._folder.rglob("*"):
            if path.is_file():
                found = path.stat()
                os.utime(path, (found.st_atime, found.st_mtime - seconds))
        self._ahead.seconds += seconds


class _Ahead(WrappedRemote):
    """Tells every time so much later that files keep theirs when they are made older."""

    seconds = 0.0

    def stat(self, name: str) -> FileStat:
        found = super().stat(name)
        # When it was changed is when it was made older.
        return FileStat(found.size, found.mtime + self.seconds)

    def now(self) -> float:
        return super().now() + self.seconds
