"""The effects on the shared folder: one small protocol.

Everything that the engine does to a store goes through `Remote`, so that each effect can be
counted, delayed, failed or stopped half-way in a test. Names are relative to the store, with
forward slashes.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

# The errors of a `Remote` for a link, and for anything else that is not a regular file.
_NO_FILE = frozenset({errno.ELOOP, errno.EINVAL})


class Range(NamedTuple):
    """A part of a file, in bytes. A negative start counts from the end of the file."""

    start: int
    length: int


class FileStat(NamedTuple):
    """The size, times and owner of a file, as the filesystem reports them.

    Attributes:
        size: bytes.
        mtime: when its content was changed or it was touched, in seconds since the epoch, by the
            clock of the store's filesystem.
        changed: the same, or when it was renamed, if the filesystem records that.
        owner: the id of the user that owns it; -1 when it is not known.
    """

    size: int
    mtime: float
    changed: float = 0.0
    owner: int = -1


class Token(Protocol):
    """The open file of a session. It stays the same file when it is renamed."""

    def write(self, chunks: Iterable[bytes]) -> None:
        """Replace the file's content, in place, and flush it to the server.

        It may be called again after an error. It never reaches the file by its name: a token that
        gc moved to fenced/ must stay fenced.

        Raises:
            OSError: not everything was written.
        """
        ...

    def touch(self) -> None:
        """Set the file's mtime to the filesystem's present time."""
        ...

    def close(self) -> None:
        """Close the file. Raises OSError: on network mounts a failed write shows only here."""
        ...


class Remote(Protocol):
    """A store's folder. Every method raises OSError when the filesystem refuses."""

    def list(self, folder: str) -> list[str]:
        """Return the names in `folder`, in any order; the name of a folder ends in a slash.

        The result is empty when the folder does not exist.
        """
        ...

    def stat(self, name: str) -> FileStat:
        """Return size and times of a file. Raises FileNotFoundError when there is none."""
        ...

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """Open the file once and yield the bytes of each range, in the order asked for.

        A range beyond the end of the file yields the existing bytes, possibly none. Each call opens
        the file again.
        """
        ...

    def create(self, folder: str, name: str | Callable[[], str], chunks: Iterable[bytes]) -> None:
        """Write a file under a temporary name, flush it, close it, and give it its name.

        On return the file is complete and durable. After an error or a crash, no new file has that
        name. An existing file of that name is replaced. If the name is only known when everything
        is written (a pack is named by the hash of its bytes), `name` is a function, which is called
        once after the last chunk.
        """
        ...

    def open_token(self, name: str) -> Token:
        """Create an empty file that must not exist yet. Raises FileExistsError when it does."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Rename a file or a folder, atomically; missing folders on the way are created.

        Raises FileNotFoundError when `source` does not exist. Another error does not mean that
        nothing happened.
        """
        ...

    def touch(self, name: str) -> None:
        """Set a file's mtime to the filesystem's present time."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file. Raises FileNotFoundError when there is none."""
        ...

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder. Do nothing if it is not empty or does not exist."""
        ...

    def now(self) -> float:
        """Return the filesystem's own time, in seconds since the epoch: a new probe's mtime."""
        ...


def is_no_file(error: OSError) -> bool:
    """Return whether an error means a link, a folder or a pipe, which is permanent."""
    return error.errno in _NO_FILE


def read_bounded(remote: Remote, name: str, limit: int) -> bytes:
    """Return the first `limit` bytes of a file, or all of it when it is shorter."""
    return next(remote.read(name, [Range(0, limit)]))


def exists(remote: Remote, name: str) -> bool:
    """Return whether a file exists. Raises OSError when that cannot be found out."""
    try:
        remote.stat(name)
    except FileNotFoundError:
        return False
    return True
