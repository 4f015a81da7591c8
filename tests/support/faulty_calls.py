"""The system calls that a `FolderRemote` makes, going wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import IO, TYPE_CHECKING, Any
from unittest import mock

from tests.support.faults import Fault, Manner, refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.support.faults import Faults

_FINDING = frozenset({"os.open", "os.open folder", "os.stat", "os.scandir"})
_READING = frozenset({"os.fstat", "os.read"})
_MAKING = frozenset({"os.create", "os.mkdir", "os.rename", "os.unlink", "os.utime", "os.rmdir"})
_WRITING = frozenset(
    {"os.write", "os.fsync", "os.close", "os.lseek", "os.ftruncate", "os.fchmod", "os.chmod"}
)
_ALL = _FINDING | _READING | _MAKING | _WRITING | {"os.replace"}

SHORT = [Fault("short", Manner.SHORT, frozenset({"os.read", "os.write"}), is_harmless=True)]
"""A part is read or written; the rest is asked for again."""
FOLDERS = [
    Fault(
        "EIO",
        Manner.REFUSED,
        frozenset({"os.fsync folder"}),
        errno.EIO,
        is_harmless=True,
    )
]
"""Many network filesystems do not let a folder be flushed."""
CALLS = [
    *refusals(_ALL, errno.EIO),
    Fault(
        "stale negative lookup", Manner.REFUSED, _FINDING | _MAKING | {"os.replace"}, errno.ENOENT
    ),
    Fault("done but EIO", Manner.DONE, _MAKING | _WRITING, errno.EIO),
    Fault(
        "done but ENOENT",
        Manner.DONE,
        frozenset({"os.rename", "os.replace", "os.unlink"}),
        errno.ENOENT,
    ),
    Fault("done but EEXIST", Manner.DONE, frozenset({"os.create", "os.mkdir"}), errno.EEXIST),
    Fault("done but EIO", Manner.DONE, frozenset({"os.replace"}), errno.EIO, is_harmless=True),
    *SHORT,
    *FOLDERS,
]
"""What calls say or do."""
OTHER_CALLS = [
    *refusals(_ALL, errno.EACCES, errno.ESTALE, errno.EINTR, errno.ETIMEDOUT),
    *refusals(_MAKING | _WRITING, errno.ENOSPC, errno.EDQUOT, errno.EROFS),
]
"""More of what they may say."""


class FaultyCalls:
    """Takes the place of the module `os` where a `FolderRemote` calls it; see `put_in_place`."""

    def __init__(self, root: str, faults: Faults) -> None:
        """Nothing else is different.

        Args:
            root: of the store; faults are counted by its folders.
            faults: what goes wrong.
        """
        self._root = root
        self._faults = faults
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def put_in_place(self) -> Generator[None]:
        """Be called instead of the module."""
        with (
            mock.patch("b10_store.remote.folder.os", self),
            mock.patch("b10_store.remote.held_folders.os", self),
        ):
            yield

    def __getattr__(self, name: str) -> Any:
        """What cannot go wrong."""
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """A descriptor that was made but not handed on is closed: nobody has it."""
        handle = -1
        whole = self._whole(path, dir_fd)
        kind = "open folder" if flags & os.O_DIRECTORY else "open"
        try:
            with self._call("create" if flags & os.O_CREAT else kind, whole):
                handle = os.open(path, flags, mode, dir_fd=dir_fd)
        except OSError:
            if handle >= 0:
                os.close(handle)
            raise
        with self._lock:
            self._names[handle] = whole
        return handle

    def close(self, handle: int) -> None:
        """A descriptor is closed whatever its close says."""
        with self._lock:
            name = self._names.pop(handle)
        try:
            self._flush("close", handle, name)
        finally:
            os.close(handle)

    def write(self, handle: int, data: memoryview) -> int:
        """May write a part."""
        with self._call("write", self._name_of(handle)) as fault:
            part = data[: max(1, len(data) // 2)] if _is_short(fault) else data
            return os.write(handle, part)

    @contextlib.contextmanager
    def fdopen(self, handle: int, mode: str, buffering: int) -> Generator[FaultyFile]:
        """Of which reading may fail."""
        with os.fdopen(handle, mode, buffering) as file:
            yield FaultyFile(file, self._name_of(handle), self._call)

    def scandir(self, handle: int) -> contextlib.AbstractContextManager[Iterator[os.DirEntry[str]]]:
        """May fail when it is opened."""
        with self._call("scandir", f"{self._name_of(handle)}/"):
            return os.scandir(handle)

    def stat(
        self, path: str, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> os.stat_result:
        """May fail."""
        with self._call("stat", self._whole(path, dir_fd)):
            return os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    def fstat(self, handle: int) -> os.stat_result:
        """May fail."""
        with self._call("fstat", self._name_of(handle)):
            return os.fstat(handle)

    def fsync(self, handle: int) -> None:
        """May fail."""
        self._flush("fsync", handle, self._name_of(handle))

    def fchmod(self, handle: int, mode: int) -> None:
        """May fail."""
        self._on_handle("fchmod", os.fchmod, handle, mode)

    def lseek(self, handle: int, position: int, how: int) -> None:
        """May fail."""
        self._on_handle("lseek", os.lseek, handle, position, how)

    def ftruncate(self, handle: int, length: int) -> None:
        """May fail."""
        self._on_handle("ftruncate", os.ftruncate, handle, length)

    @property
    def supports_fd(self) -> set[object]:
        """The token is touched by its descriptor."""
        return {self.utime}

    def utime(
        self, path: str | int, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> None:
        """May fail."""
        name = self._name_of(path) if isinstance(path, int) else self._whole(path, dir_fd)
        with self._call("utime", name):
            os.utime(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    def unlink(self, path: str, *, dir_fd: int | None) -> None:
        """May fail."""
        with self._call("unlink", self._whole(path, dir_fd)):
            os.unlink(path, dir_fd=dir_fd)

    def rmdir(self, path: str, *, dir_fd: int | None) -> None:
        """May fail."""
        with self._call("rmdir", self._whole(path, dir_fd)):
            os.rmdir(path, dir_fd=dir_fd)

    def mkdir(self, path: str, *, dir_fd: int | None = None) -> None:
        """May fail."""
        with self._call("mkdir", self._whole(path, dir_fd)):
            os.mkdir(path, dir_fd=dir_fd)

    def makedirs(self, path: str, *, exist_ok: bool) -> None:
        """May fail."""
        with self._call("mkdir", path):
            os.makedirs(path, exist_ok=exist_ok)

    def rename(self, source: str, target: str, **where: int | None) -> None:
        """May fail."""
        with self._call("rename", self._whole(source, where["src_dir_fd"])):
            os.rename(source, target, **where)

    def replace(self, source: str, target: str, **where: int | None) -> None:
        """May fail."""
        with self._call("replace", self._whole(source, where["src_dir_fd"])):
            os.replace(source, target, **where)

    def _whole(self, path: str, dir_fd: int | None) -> str:
        return path if dir_fd is None else os.path.join(self._name_of(dir_fd), path)

    def _name_of(self, handle: int) -> str:
        """Of a folder that was opened before, the kernel knows it."""
        return self._names.get(handle) or os.readlink(f"/proc/self/fd/{handle}")

    def _on_handle(self, kind: str, real: Callable[..., object], handle: int, *rest: int) -> None:
        with self._call(kind, self._name_of(handle)):
            real(handle, *rest)

    def _flush(self, kind: str, handle: int, name: str) -> None:
        """Where bytes cannot be flushed, half of them are lost."""
        is_folder = os.path.isdir(name)
        is_done = False
        try:
            with self._call(f"{kind} folder" if is_folder else kind, name):
                is_done = True
        except OSError:
            if not is_done:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, os.fstat(handle).st_size // 2)
            raise

    @contextlib.contextmanager
    def _call(self, kind: str, path: str) -> Generator[Fault | None]:
        name = path.removeprefix(self._root).lstrip("/")
        fault = self._faults.meet(f"os.{kind}", name)
        if fault is not None and fault.manner is Manner.REFUSED:
            raise fault.as_error(path)
        yield fault
        if fault is not None and fault.manner is Manner.DONE:
            raise fault.as_error(path)


class FaultyFile:
    """An unbuffered file of which reading may fail, or give a part."""

    def __init__(
        self,
        inner: IO[bytes],
        name: str,
        call: Callable[[str, str], contextlib.AbstractContextManager[Fault | None]],
    ) -> None:
        """Wrap a file."""
        self._inner = inner
        self._name = name
        self._call = call

    def seek(self, position: int) -> int:
        """As the file itself."""
        return self._inner.seek(position)

    def read(self, length: int) -> bytes:
        """May give a part."""
        with self._call("read", self._name) as fault:
            return self._inner.read(max(1, length // 2) if _is_short(fault) else length)


def _is_short(fault: Fault | None) -> bool:
    return fault is not None and fault.manner is Manner.SHORT
