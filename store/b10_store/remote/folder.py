"""A store in a folder of a mounted filesystem: the only module that changes files there."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import TYPE_CHECKING, TypeVar

from b10_store.remote.folder_names import FOLDERS, NO_FOLDER, SESSIONS, TEMPORARY_MARK
from b10_store.remote.held_folders import HeldFolders, hold_folder
from b10_store.remote.protocol import FileStat

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from b10_store.remote.held_folders import HeldFolder
    from b10_store.remote.protocol import Range

_Result = TypeVar("_Result")

_OPEN_FLAGS = (
    getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
)
_NEW_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS
_MAY_TOUCH_LINKS = os.utime in os.supports_follow_symlinks

_STALE_LOOKUPS = 20
_STALE_PAUSE_SECONDS = 0.1


class FolderRemote:
    """A `Remote` over a local path, usually a network mount. Safe to use from many threads.

    Names are looked up folder by folder from an open descriptor (see
    `b10_store.remote.held_folders`), and a link as the last part is never followed either, so
    nothing outside the store can be reached. A store with a link in place of one of its folders is
    not changed at all.
    """

    def __init__(self, root: str) -> None:
        """Touch nothing before the first call.

        Args:
            root: the absolute path of the store; the first write creates it, with its parents.
        """
        self._root = root
        self._folders = HeldFolders(root)
        self._mode: int | None = None
        self._may_change = False

    # It stands above `list`, because below that method no annotation can name the type.
    def _scan(self, folder: str) -> list[str]:
        with self._named(folder):
            return _scan(self._folders.open_again(folder))

    def list(self, folder: str) -> list[str]:
        """See `Remote.list`."""
        try:
            return self._scan(folder)
        except FileNotFoundError:
            above, _, base = folder.rpartition("/")
            if not folder or f"{base}/" not in self.list(above):
                return []
        # The folder above shows it, so the first answer was stale. An empty listing would be
        # believed, for example by a collection that lists sessions.
        return self._scan(folder)

    def stat(self, name: str) -> FileStat:
        """See `Remote.stat`."""
        found = self._at(name, _stat)
        # On Windows st_ctime is when the file was created.
        changed = found.st_ctime if os.name == "posix" else found.st_mtime
        return FileStat(found.st_size, found.st_mtime, changed, found.st_uid)

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """See `Remote.read`."""
        flags = os.O_RDONLY | _OPEN_FLAGS | getattr(os, "O_NONBLOCK", 0)
        handle = self._at(
            name, lambda folder, base: os.open(folder.entry(base), flags, dir_fd=folder.handle)
        )
        try:
            # This comes before a file object is made, which would refuse a folder and leave the
            # descriptor open.
            found = _require_file(os.fstat(handle), self._folders.path(name))
        except OSError:
            os.close(handle)
            raise
        with os.fdopen(handle, "rb", buffering=0) as file:
            for wanted in ranges:
                start = wanted.start if wanted.start >= 0 else max(0, found.st_size + wanted.start)
                file.seek(start)
                yield _read_fully(file.read, min(wanted.length, max(0, found.st_size - start)))

    def create(self, folder: str, name: str | Callable[[], str], chunks: Iterable[bytes]) -> None:
        """See `Remote.create`; this order keeps I3."""
        hint = name if isinstance(name, str) else "new"
        temporary = f"{hint}{TEMPORARY_MARK}{os.urandom(8).hex()}"
        parent, handle = self._open_new(folder, temporary)
        try:
            try:
                for chunk in chunks:
                    _write_fully(handle, chunk)
                os.fsync(handle)
            finally:
                os.close(handle)
            _replace(parent, temporary, name if isinstance(name, str) else name())
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(parent.entry(temporary), dir_fd=parent.handle)
            raise
        _sync_folder(parent)

    def open_token(self, name: str) -> FolderToken:
        """See `Remote.open_token`."""
        folder, _, base = name.rpartition("/")
        return FolderToken(self._open_new(folder, base)[1])

    def rename(self, source: str, target: str) -> None:
        """See `Remote.rename`."""
        self._require_own_folders()
        try:
            self._rename(source, target)
        except FileNotFoundError:
            # Either the source is gone or the target's folder is missing: the second try tells.
            self._make_folders(target.rpartition("/")[0])
            self._rename(source, target)

    def touch(self, name: str) -> None:
        """See `Remote.touch`."""

        def touch(folder: HeldFolder, base: str) -> None:
            path = folder.entry(base)
            if _MAY_TOUCH_LINKS:
                os.utime(path, dir_fd=folder.handle, follow_symlinks=False)
            else:
                os.utime(path)

        self._require_own_folders()
        self._at(name, touch)

    def delete(self, name: str) -> None:
        """See `Remote.delete`."""
        self._require_own_folders()
        self._at(name, lambda folder, base: os.unlink(folder.entry(base), dir_fd=folder.handle))

    def remove_folder(self, name: str) -> None:
        """See `Remote.remove_folder`."""
        self._require_own_folders()
        try:
            self._at(name, lambda folder, base: os.rmdir(folder.entry(base), dir_fd=folder.handle))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise

    def now(self) -> float:
        """See `Remote.now`."""
        probe = f"probe{TEMPORARY_MARK}{os.urandom(8).hex()}"
        folder, handle = self._open_new(SESSIONS, probe)
        try:
            # The written byte makes a network filesystem ask its server for the time. On a full
            # filesystem the time of the file's creation is used.
            with contextlib.suppress(OSError):
                _write_fully(handle, b"?")
                os.fsync(handle)
            return os.fstat(handle).st_mtime
        finally:
            try:
                os.close(handle)
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(folder.entry(probe), dir_fd=folder.handle)

    def _in(self, folder: str, act: Callable[[HeldFolder], _Result]) -> _Result:
        """Do something in a folder; again if the folder may have been deleted and recreated."""
        try:
            return act(self._folders.open(folder))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
        self._folders.forget()
        return act(self._folders.open(folder))

    def _at(self, name: str, act: Callable[[HeldFolder, str], _Result]) -> _Result:
        """Do something with a file: `act` is given its folder and its name in there."""
        folder, _, base = name.rpartition("/")
        with self._named(name):
            return self._in(folder, lambda found: act(found, base))

    def _rename(self, source: str, target: str) -> None:
        def rename(folder: HeldFolder, base: str) -> None:
            other, _, last = target.rpartition("/")
            into = self._folders.open(other)
            os.rename(
                folder.entry(base),
                into.entry(last),
                src_dir_fd=folder.handle,
                dst_dir_fd=into.handle,
            )
            _sync_folder(into)

        self._at(source, rename)

    def _open_new(self, folder: str, name: str) -> tuple[HeldFolder, int]:
        """Create a file; return its folder and its descriptor."""

        def create(found: HeldFolder) -> tuple[HeldFolder, int]:
            return found, os.open(found.entry(name), _NEW_FLAGS, 0o600, dir_fd=found.handle)

        self._require_own_folders()
        with self._named(f"{folder}/{name}" if folder else name):
            try:
                opened = self._in(folder, create)
            except FileNotFoundError:
                self._make_folders(folder)
                opened = _patiently(lambda: self._in(folder, create))
        if hasattr(os, "fchmod"):
            # Replicas of other users must be able to read what this one saves, so the mode follows
            # the store's folder and not this process' umask. Some mounts refuse: their own fixed
            # modes hold then.
            with contextlib.suppress(OSError):
                os.fchmod(opened[1], self._file_mode())
        return opened

    def _make_folders(self, folder: str) -> None:
        """Create a folder of the store, and those around it, if they are missing."""
        if not folder:
            self._make_root()
            return
        parent, _, base = folder.rpartition("/")
        self._make_folders(parent)
        above = self._folders.open(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(above.entry(base), dir_fd=above.handle)
            with contextlib.suppress(OSError):
                _take_after(self._folders.open(folder), self._root)

    def _make_root(self) -> None:
        parent = os.path.dirname(self._root)
        os.makedirs(parent, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._root)
            # The store itself gets the permissions of the folder around it; but if everybody may
            # create folders there, not everybody is meant to write to this one.
            with contextlib.suppress(OSError):
                if not os.stat(parent).st_mode & stat.S_ISVTX:
                    _take_after(hold_folder(self._root), parent, but=stat.S_IWOTH)

    def _file_mode(self) -> int:
        """Return the store's own permissions; the owner keeps those that the protocol needs."""
        if self._mode is None:
            self._mode = (os.stat(self._root).st_mode & 0o666) | 0o600
        return self._mode

    def _require_own_folders(self) -> None:
        """Refuse to change a store in which somebody replaced a folder by a link."""
        if not self._may_change:
            for name in set(FOLDERS).intersection(self.list("")):
                if stat.S_ISLNK(self._at(name, _stat).st_mode):
                    raise OSError(errno.ELOOP, NO_FOLDER, self._folders.path(name))
            self._may_change = True

    @contextlib.contextmanager
    def _named(self, name: str) -> Generator[None]:
        """Let errors name the whole path, instead of the part of it that was looked up."""
        try:
            yield
        except OSError as error:
            if not (isinstance(error.filename, str) and os.path.isabs(error.filename)):
                error.filename = self._folders.path(name)
                # A second name of None would be printed.
                del error.filename2
            raise


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


def _patiently(create: Callable[[], _Result]) -> _Result:
    """Create a file in a new folder, which a client may not see for a moment."""
    for _ in range(_STALE_LOOKUPS):
        try:
            return create()
        except FileNotFoundError:
            time.sleep(_STALE_PAUSE_SECONDS)
    return create()


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


def _scan(folder: HeldFolder) -> list[str]:
    with os.scandir(folder.path if folder.handle is None else folder.handle) as found:
        return [
            item.name + "/" if item.is_dir(follow_symlinks=False) else item.name for item in found
        ]


def _stat(folder: HeldFolder, name: str) -> os.stat_result:
    return os.stat(folder.entry(name), dir_fd=folder.handle, follow_symlinks=False)


def _replace(folder: HeldFolder, source: str, target: str) -> None:
    """Rename; believe an error only if the target does not show that it was done."""
    old, new, at = folder.entry(source), folder.entry(target), folder.handle
    length = _stat(folder, source).st_size
    try:
        os.replace(old, new, src_dir_fd=at, dst_dir_fd=at)
    except OSError:
        if _size(folder, source) is not None or _size(folder, target) != length:
            raise


def _size(folder: HeldFolder, name: str) -> int | None:
    """Return the size of a file; None when there is none."""
    try:
        return _stat(folder, name).st_size
    except OSError:
        return None


def _take_after(folder: HeldFolder, like: str, but: int = 0) -> None:
    """Give a new folder the permissions of another one, except some."""
    mode = (os.stat(like).st_mode & 0o2777 & ~but) | 0o700
    if folder.handle is None:
        os.chmod(folder.path, mode)
    else:
        os.fchmod(folder.handle, mode)


def _sync_folder(folder: HeldFolder) -> None:
    """Make a rename durable; filesystems that cannot sync folders do that by themselves."""
    if folder.handle is not None:
        with contextlib.suppress(OSError):
            os.fsync(folder.handle)
