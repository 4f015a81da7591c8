"""The effects on the shared folder, as one small protocol.

Everything that the engine does to a store goes through `Remote`, so that each effect can be
counted, delayed, failed or cut short in a test. Names are relative to the store, with forward
slashes.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

# The errors of a `Remote` for a link, and for anything else that is no regular file.
_NO_FILE = frozenset({errno.ELOOP, errno.EINVAL})


class Range(NamedTuple):
    """A part of a file, in bytes. A negative start counts back from the end of the file."""

    start: int
    length: int


class FileStat(NamedTuple):
    """Size, times and owner of a file, as the filesystem has them.

    Attributes:
        size: bytes.
        mtime: when its content was changed or it was touched, in seconds since the epoch, by the
            clock of the store's filesystem.
        changed: the same, or when it was renamed, where the filesystem notes that.
        owner: the number of the user that it belongs to; -1 when that is not known.
    """

    size: int
    mtime: float
    changed: float = 0.0
    owner: int = -1


class Token(Protocol):
    """The open file of a session. It stays the same file when somebody renames it."""

    def write(self, chunks: Iterable[bytes]) -> None:
        """Replace the file's content, in place, and flush it to the server.

        May be called again after an error. Never reaches the file by its name: a token that gc
        moved to fenced/ must stay fenced.

        Raises:
            OSError: not everything was written.
        """
        ...

    def touch(self) -> None:
        """Set the file's mtime to the filesystem's present time."""
        ...

    def close(self) -> None:
        """Close the file. Raises: on network mounts this is where a failed write shows."""
        ...


class Remote(Protocol):
    """A store's folder. Every method raises OSError for what the filesystem refuses."""

    def list(self, folder: str) -> list[str]:
        """Return the names in `folder`, in any order; a folder's ends in a slash.

        Empty when there is no such folder.
        """
        ...

    def stat(self, name: str) -> FileStat:
        """Return size and times of a file. FileNotFoundError when there is none."""
        ...

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """Open the file once and yield the bytes of each range, in the order asked for.

        A range beyond the end of the file yields what is there, possibly nothing. Each call opens
        the file afresh.
        """
        ...

    def create(self, folder: str, name: str | Callable[[], str], chunks: Iterable[bytes]) -> None:
        """Write a file under a temporary name, flush it, close it, and give it its name.

        On return the file is whole and durable; after an error or a crash there is no file of that
        name that was not there before. A file of that name is replaced. A `name` that is not known
        before all is written (a pack is named by the hash of its bytes) is given as a function,
        called once after the last chunk.
        """
        ...

    def open_token(self, name: str) -> Token:
        """Create an empty file that must not exist yet. FileExistsError when it does."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Give a file or a folder another name, atomically; folders on the way are made.

        FileNotFoundError when `source` is not there. An error does not tell that nothing happened.
        """
        ...

    def touch(self, name: str) -> None:
        """Set a file's mtime to the filesystem's present time."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file. FileNotFoundError when there is none."""
        ...

    def remove_folder(self, name: str) -> None:
        """Remove a folder that is empty. One that is not, or is not there, is left as it is."""
        ...

    def now(self) -> float:
        """The filesystem's own time, seconds since the epoch: the mtime of a probe just written."""
        ...


def is_no_file(error: OSError) -> bool:
    """Whether what has a file's name is a link, a folder or a pipe: that does not pass."""
    return error.errno in _NO_FILE


def read_bounded(remote: Remote, name: str, limit: int) -> bytes:
    """The first `limit` bytes of a file, or all of it when it is shorter."""
    return next(remote.read(name, [Range(0, limit)]))


def exists(remote: Remote, name: str) -> bool:
    """Whether a file is there. Raises OSError when that cannot be told."""
    try:
        remote.stat(name)
    except FileNotFoundError:
        return False
    return True
