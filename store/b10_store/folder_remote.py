"""A store in a folder of a mounted filesystem: the only module that changes files there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING

from b10_store.layout import SESSIONS, TEMPORARY_MARK
from b10_store.remote import FileStat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from b10_store.remote import Range

_OPEN_FLAGS = (
    getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
)

_STALE_LOOKUPS = 20
_STALE_PAUSE_SECONDS = 0.1


class FolderRemote:
    """A `Remote` over a local path, usually a network mount. Safe to use from many threads."""

    def __init__(self, root: str) -> None:
        """Nothing is touched before the first call.

        Args:
            root: absolute path of the store; made, with its parents, by the first write.
        """
        self._root = root
        self._mode: int | None = None

    def list(self, folder: str) -> list[str]:
        """See `Remote.list`."""
        try:
            with os.scandir(self._path(folder)) as found:
                return [
                    item.name + "/" if item.is_dir(follow_symlinks=False) else item.name
                    for item in found
                ]
        except FileNotFoundError:
            return []

    def stat(self, name: str) -> FileStat:
        """See `Remote.stat`."""
        found = os.stat(self._path(name), follow_symlinks=False)
        # On Windows st_ctime is when the file was created.
        changed = found.st_ctime if os.name == "posix" else found.st_mtime
        return FileStat(found.st_size, found.st_mtime, changed)

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """See `Remote.read`."""
        handle = os.open(self._path(name), os.O_RDONLY | _OPEN_FLAGS | getattr(os, "O_NONBLOCK", 0))
        try:
            # Before a file object is made: it refuses a folder, and leaves the descriptor open.
            found = _require_file(os.fstat(handle), self._path(name))
        except OSError:
            os.close(handle)
            raise
        with os.fdopen(handle, "rb", buffering=0) as file:
            for wanted in ranges:
                start = wanted.start if wanted.start >= 0 else max(0, found.st_size + wanted.start)
                file.seek(start)
                yield _read_fully(file.read, min(wanted.length, max(0, found.st_size - start)))

    def create(self, folder: str, name: str | Callable[[], str], chunks: Iterable[bytes]) -> None:
        """See `Remote.create`."""
        hint = name if isinstance(name, str) else "new"
        temporary = self._path(f"{folder}/{hint}{TEMPORARY_MARK}{secrets.token_hex(8)}")
        handle = self._open_new(temporary)
        try:
            try:
                for chunk in chunks:
                    _write_fully(handle, chunk)
                os.fsync(handle)
            finally:
                os.close(handle)
            final = name if isinstance(name, str) else name()
            _replace(temporary, self._path(f"{folder}/{final}"))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._sync_folder(folder)

    def open_token(self, name: str) -> FolderToken:
        """See `Remote.open_token`."""
        return FolderToken(self._open_new(self._path(name)))

    def rename(self, source: str, target: str) -> None:
        """See `Remote.rename`."""
        try:
            os.rename(self._path(source), self._path(target))
        except FileNotFoundError:
            # Either the source is gone or the target's folder is missing: the second try tells.
            self._make_folders(os.path.dirname(self._path(target)))
            os.rename(self._path(source), self._path(target))
        self._sync_folder(os.path.dirname(target))

    def touch(self, name: str) -> None:
        """See `Remote.touch`."""
        os.utime(self._path(name))

    def delete(self, name: str) -> None:
        """See `Remote.delete`."""
        os.unlink(self._path(name))

    def remove_folder(self, name: str) -> None:
        """See `Remote.remove_folder`."""
        try:
            os.rmdir(self._path(name))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise

    def now(self) -> float:
        """See `Remote.now`."""
        probe = self._path(f"{SESSIONS}/probe{TEMPORARY_MARK}{secrets.token_hex(8)}")
        handle = self._open_new(probe)
        try:
            # The written byte makes a network filesystem ask its server for the time. On one that
            # is full the time of the file's creation has to do.
            with contextlib.suppress(OSError):
                _write_fully(handle, b"?")
                os.fsync(handle)
            return os.fstat(handle).st_mtime
        finally:
            try:
                os.close(handle)
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(probe)

    def _path(self, name: str) -> str:
        return os.path.join(self._root, *name.split("/"))

    def _open_new(self, path: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS
        try:
            handle = os.open(path, flags, 0o600)
        except FileNotFoundError:
            self._make_folders(os.path.dirname(path))
            handle = _open_patiently(path, flags)
        if hasattr(os, "fchmod"):
            # Replicas of other users must be able to read what this one saves, so the mode follows
            # the store's folder and not this process' umask. Some mounts refuse: their own fixed
            # modes hold then.
            with contextlib.suppress(OSError):
                os.fchmod(handle, self._file_mode())
        return handle

    def _make_folders(self, path: str) -> None:
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        if len(path) < len(self._root):
            os.makedirs(path, exist_ok=True)
            return
        self._make_folders(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
            # The store itself takes after the folder that it is made in.
            like = parent if path == self._root else self._root
            with contextlib.suppress(OSError):
                os.chmod(path, (os.stat(like).st_mode & 0o2777) | 0o700)

    def _file_mode(self) -> int:
        """The store's own permissions; the owner must keep what the protocol needs."""
        if self._mode is None:
            self._mode = (os.stat(self._root).st_mode & 0o666) | 0o600
        return self._mode

    def _sync_folder(self, folder: str) -> None:
        """Make a rename durable; filesystems that cannot sync a folder make it so by themselves."""
        if os.name != "posix":
            return
        with contextlib.suppress(OSError):
            handle = os.open(self._path(folder), os.O_RDONLY | _OPEN_FLAGS)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


class FolderToken:
    """A `Token` held by its file descriptor."""

    def __init__(self, handle: int) -> None:
        """Take over an open, empty file."""
        self._handle: int | None = handle

    def write(self, chunks: Iterable[bytes]) -> None:
        """See `Token.write`."""
        handle = self._open_handle()
        os.lseek(handle, 0, os.SEEK_SET)
        os.ftruncate(handle, 0)
        for chunk in chunks:
            _write_fully(handle, chunk)
        os.fsync(handle)

    def touch(self) -> None:
        """See `Token.touch`."""
        handle = self._open_handle()
        if os.utime in os.supports_fd:
            os.utime(handle)
        else:
            # Windows: a change of the content changes the time. Nothing reads a token's content.
            os.write(handle, b".")
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)

    def close(self) -> None:
        """See `Token.close`."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _open_handle(self) -> int:
        if self._handle is None:
            raise OSError(errno.EBADF, "the session's token is closed")
        return self._handle


def _open_patiently(path: str, flags: int) -> int:
    """Open a new file in a folder that was just made: a client may take it for absent a while."""
    for _ in range(_STALE_LOOKUPS):
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            time.sleep(_STALE_PAUSE_SECONDS)
    return os.open(path, flags, 0o600)


def _require_file(found: os.stat_result, path: str) -> os.stat_result:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return found


def _write_fully(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        written = os.write(handle, left)
        if written == 0:
            raise OSError(errno.EIO, "nothing was written")
        left = left[written:]


def _read_fully(read: Callable[[int], bytes | None], length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0:
        part = read(length)
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _replace(source: str, target: str) -> None:
    """Rename; an error is believed only when the target does not show that it was done."""
    length = os.stat(source).st_size
    try:
        os.replace(source, target)
    except OSError:
        if os.path.exists(source) or os.stat(target).st_size != length:
            raise
