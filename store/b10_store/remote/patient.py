"""A `Remote` that asks a second time when a network filesystem failed for a moment."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from b10_store.remote.protocol import FileStat, Range, Remote, Token

_Answer = TypeVar("_Answer")

_PASSING = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.ECONNRESET,
    getattr(errno, "EREMOTEIO", errno.EIO),
}
"""The errors of a mount while its server restarts, or while its client's cache is stale."""

_PAUSE_SECONDS = 0.1


def is_passing(error: OSError) -> bool:
    """Return whether the same call may have another result a moment later."""
    return error.errno in _PASSING


class PatientRemote:
    """Repeats, once, calls that failed in passing and change nothing. Safe to use from threads.

    It repeats only calls that look, and the creation of a file while none of its bytes were
    requested. A rename, touch or deletion that reports an error may have been done, so its caller
    must look.
    """

    def __init__(self, inner: Remote) -> None:
        """Wrap a remote."""
        self._inner = inner

    def list(self, folder: str) -> list[str]:
        """See `Remote.list`."""
        return _twice(lambda: self._inner.list(folder))

    def stat(self, name: str) -> FileStat:
        """See `Remote.stat`."""
        return _twice(lambda: self._inner.stat(name))

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """See `Remote.read`; goes on after the last range that was read, through a fresh open."""
        done = 0
        try:
            for data in self._inner.read(name, ranges):
                yield data
                done += 1
        except OSError as error:
            _pause_after(error)
        else:
            return
        yield from self._inner.read(name, ranges[done:])

    def create(self, folder: str, name: str | Callable[[], str], chunks: Iterable[bytes]) -> None:
        """See `Remote.create`."""
        source = _Source(chunks)
        try:
            self._inner.create(folder, name, source)
        except OSError as error:
            if source.is_begun:
                raise
            _pause_after(error)
        else:
            return
        self._inner.create(folder, name, source)

    def open_token(self, name: str) -> Token:
        """See `Remote.open_token`."""
        return self._inner.open_token(name)

    def rename(self, source: str, target: str) -> None:
        """See `Remote.rename`."""
        self._inner.rename(source, target)

    def touch(self, name: str) -> None:
        """See `Remote.touch`."""
        self._inner.touch(name)

    def delete(self, name: str) -> None:
        """See `Remote.delete`."""
        self._inner.delete(name)

    def remove_folder(self, name: str) -> None:
        """See `Remote.remove_folder`."""
        self._inner.remove_folder(name)

    def now(self) -> float:
        """See `Remote.now`."""
        return _twice(self._inner.now)


class _Source:
    """Chunks, and whether the first of them was requested."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.is_begun = False

    def __iter__(self) -> Iterator[bytes]:
        self.is_begun = True
        return iter(self._chunks)


def _twice(ask: Callable[[], _Answer]) -> _Answer:
    try:
        return ask()
    except OSError as error:
        _pause_after(error)
    return ask()


def _pause_after(error: OSError) -> None:
    """Wait for a moment. Raises the error if it is not a passing failure."""
    if not is_passing(error):
        raise error
    time.sleep(_PAUSE_SECONDS)
