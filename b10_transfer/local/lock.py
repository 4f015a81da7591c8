"""One load at a time in a cache root of this host."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import sys
import time
from typing import TYPE_CHECKING

from b10_store import RECORD_FOLDER, make_folder
from b10_transfer.own_user import own_uid
from b10_transfer.printable import printable
from b10_transfer.units import until_text

if TYPE_CHECKING:
    from collections.abc import Generator

    from b10_store import OpenFolder

if sys.platform == "win32":

    def _try_lock(handle: int) -> None:
        # There, two loads of one host do the work twice, which is safe, too.
        raise OSError(f"no lock for descriptor {handle}")

    _unlock = _try_lock

else:
    import fcntl

    def _try_lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


_PRIVATE = 0o700
_FOR_OTHERS = 0o077
_logger = logging.getLogger("b10_transfer")

_POLL_SECONDS = 0.05
_SILENT_SECONDS = 1.0
"""Most loads take no longer; a shorter wait is not logged."""
_OPEN_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_OPEN_ATTEMPTS = 10
_MOST_HOLDERS = 3


@contextlib.contextmanager
def lock_root(folder: str, timeout: float) -> Generator[bool | None]:
    """Hold the lock of a cache root; the kernel frees it when the process dies.

    The lock saves work and lets leftovers be swept; safety does not depend on it.

    Args:
        folder: the cache root; it is created if it does not exist.
        timeout: seconds to wait for another holder.

    Yields:
        Whether the lock is held: False after the timeout, None when the filesystem has no locks.

    Raises:
        OSError: the root cannot be written.
    """
    own = os.path.join(folder, RECORD_FOLDER)
    deadline = time.monotonic() + timeout
    handle = _open_lock(folder)
    try:
        held = _acquire(handle, deadline, folder)
        while held and not _is_in_place(handle, own):
            # A clear removed the root during the wait for its lock, so this lock excludes nobody.
            stale, handle = handle, _open_lock(folder)
            os.close(stale)
            held = _acquire(handle, deadline, folder)
        yield held
    finally:
        # A process that was forked meanwhile shares the lock, and would hold it for its whole life.
        with contextlib.suppress(OSError):
            _unlock(handle)
        os.close(handle)


class Patience:
    """The seconds left to wait for the locks of several cache roots."""

    def __init__(self, seconds: float) -> None:
        """Begin with this many seconds."""
        self._left = seconds

    @contextlib.contextmanager
    def lock(self, folder: str) -> Generator[bool | None]:
        """Hold the lock of a cache root; see `lock_root`."""
        began = time.monotonic()
        with lock_root(folder, self._left) as held:
            self._left = max(0.0, self._left - (time.monotonic() - began))
            yield held


def holders_of(folder: str) -> str:
    """Name the other processes that have the lock of a cache root open; "" if none is seen."""
    lock = os.path.join(os.path.realpath(folder), RECORD_FOLDER, "lock")
    processes: list[str] = []
    with contextlib.suppress(OSError):  # a system without /proc
        processes = [name for name in os.listdir("/proc") if name.isdigit()]
    found = [pid for pid in processes if pid != str(os.getpid()) and _has_open(pid, lock)]
    return ", ".join(_named(pid) for pid in found[:_MOST_HOLDERS])


def _has_open(pid: str, path: str) -> bool:
    # The links are read but not followed: a mount that hangs may be behind one.
    with contextlib.suppress(OSError):
        folder = f"/proc/{pid}/fd"
        return any(_leads_to(os.path.join(folder, name), path) for name in os.listdir(folder))
    return False


def _leads_to(link: str, path: str) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(link) == path
    return False


def _named(pid: str) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", errors="replace") as file:
        return f"pid {pid} ({printable(file.read().strip())})"
    return f"pid {pid}"


def make_own_folder(folder: str) -> str:
    """Create our own folder in a cache root, and the root; return its path.

    Raises:
        OSError: it cannot be created.
    """
    with make_folder(folder) as root, open_own_folder(root) as own:
        return own.location


def open_own_folder(root: OpenFolder) -> OpenFolder:
    """Open our own folder in an open cache root; create it if there is none.

    Nobody else may enter it: a user who can open the lock in it could keep every load waiting.

    Raises:
        OSError: it cannot be created or opened, or a link is in its place.
    """
    try:
        os.mkdir(root.at(RECORD_FOLDER), _PRIVATE, dir_fd=root.handle)
    except FileExistsError:
        pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, root.locate(RECORD_FOLDER)) from error
    try:
        own = root.enter_child(RECORD_FOLDER)
    except OSError as error:
        if stat.S_ISLNK(root.stat(RECORD_FOLDER).st_mode):
            message = "a link is in place of our own folder"
            raise OSError(errno.ELOOP, message, root.locate(RECORD_FOLDER)) from error
        raise OSError(error.errno, error.strerror, root.locate(RECORD_FOLDER)) from error
    is_ours = own.status.st_uid == own_uid()
    if is_ours and own.status.st_mode & _FOR_OTHERS and own.handle is not None:
        os.fchmod(own.handle, _PRIVATE)  # earlier releases created it open to everybody
    return own


def _open_lock(folder: str) -> int:
    for _ in range(_OPEN_ATTEMPTS - 1):
        # A clear may have removed the folder just now.
        with contextlib.suppress(FileNotFoundError):
            return _open_file(folder)
    return _open_file(folder)


def _open_file(folder: str) -> int:
    with make_folder(folder) as root, open_own_folder(root) as own:
        flags = os.O_RDWR | os.O_CREAT | _OPEN_FLAGS
        return os.open(own.at("lock"), flags, 0o600, dir_fd=own.handle)


def _is_in_place(handle: int, own: str) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(os.path.join(own, "lock")))
    except OSError:
        return False


def _acquire(handle: int, deadline: float, folder: str) -> bool | None:
    tell_at = time.monotonic() + _SILENT_SECONDS
    while True:
        try:
            _try_lock(handle)
        except BlockingIOError:
            now = time.monotonic()
            if now >= deadline:
                return False
            if now >= tell_at:
                tell_at = deadline
                _logger.warning(
                    "another process of this host works in %s: waiting for it, until %s at the "
                    "latest",
                    folder,
                    until_text(deadline - now),
                )
            time.sleep(_POLL_SECONDS)
        except OSError:
            return None  # the filesystem or the system has no locks
        else:
            return True
