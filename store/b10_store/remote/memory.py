"""A store in memory: the reference model of `Remote`."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from b10_store.remote.protocol import FileStat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from b10_store.remote.protocol import Range


class _Node:
    """A file without its name, like an inode."""

    __slots__ = ("data", "mtime", "renamed")

    def __init__(self, data: bytes, mtime: float) -> None:
        self.data = data
        self.mtime = mtime
        self.renamed = mtime


class MemoryRemote:
    """A `Remote` in which every effect is one atomic step. Safe to use from many threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with an empty store.

        Args:
            clock: returns the time of its filesystem, in seconds since the epoch.
        """
        self._clock = clock
        self._nodes: dict[str, _Node] = {}
        self._lock = threading.Lock()

    def list(self, folder: str) -> list[str]:
        """See `Remote.list`."""
        prefix = f"{folder}/" if folder else ""
        with self._lock:
            rests = [name[len(prefix) :] for name in self._nodes if name.startswith(prefix)]
        return list({first + slash for first, slash, _ in (rest.partition("/") for rest in rests)})

    def stat(self, name: str) -> FileStat:
        """See `Remote.stat`."""
        with self._lock:
            node = self._node(name)
            return FileStat(len(node.data), node.mtime, max(node.mtime, node.renamed))

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """See `Remote.read`."""
        with self._lock:
            data = self._node(name).data
        for wanted in ranges:
            start = wanted.start if wanted.start >= 0 else max(0, len(data) + wanted.start)
            yield data[start : start + wanted.length]

    def create(self, folder: str, name: str | Callable[[], str], chunks: Iterable[bytes]) -> None:
        """See `Remote.create`."""
        data = b"".join(chunks)
        final = name if isinstance(name, str) else name()
        with self._lock:
            self._nodes[f"{folder}/{final}" if folder else final] = _Node(data, self._clock())

    def open_token(self, name: str) -> MemoryToken:
        """See `Remote.open_token`."""
        with self._lock:
            if name in self._nodes:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
            node = self._nodes[name] = _Node(b"", self._clock())
        return MemoryToken(node, self._clock)

    def rename(self, source: str, target: str) -> None:
        """See `Remote.rename`."""
        with self._lock:
            inside = [name for name in self._nodes if name.startswith(f"{source}/")]
            if not inside:
                self._node(source)
            for name in inside or [source]:
                node = self._nodes[target + name[len(source) :]] = self._nodes.pop(name)
                if not inside:
                    node.renamed = self._clock()

    def touch(self, name: str) -> None:
        """See `Remote.touch`."""
        with self._lock:
            self._node(name).mtime = self._clock()

    def delete(self, name: str) -> None:
        """See `Remote.delete`."""
        with self._lock:
            self._node(name)
            del self._nodes[name]

    def remove_folder(self, name: str) -> None:
        """See `Remote.remove_folder`; here, folders are only parts of names."""

    def now(self) -> float:
        """See `Remote.now`."""
        return self._clock()

    def _node(self, name: str) -> _Node:
        node = self._nodes.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return node


class MemoryToken:
    """A `Token` that keeps its node, whatever that is renamed to."""

    def __init__(self, node: _Node, clock: Callable[[], float]) -> None:
        """Take over an empty node."""
        self._node: _Node | None = node
        self._clock = clock

    def write(self, chunks: Iterable[bytes]) -> None:
        """See `Token.write`."""
        node = self._open_node()
        node.data = b"".join(chunks)
        node.mtime = self._clock()

    def touch(self) -> None:
        """See `Token.touch`."""
        self._open_node().mtime = self._clock()

    def close(self) -> None:
        """See `Token.close`."""
        self._node = None

    def _open_node(self) -> _Node:
        if self._node is None:
            raise OSError(errno.EBADF, "the session's token is closed")
        return self._node
