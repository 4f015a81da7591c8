"""One load at a time in a cache root of this host."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from b10_store.paths import RECORD_FOLDER

if TYPE_CHECKING:
    from collections.abc import Generator

if sys.platform == "win32":

    def _try_lock(handle: int) -> None:
        # Loads of one host do the work twice there, and are as safe.
        raise OSError(f"no lock for descriptor {handle}")

else:
    import fcntl

    def _try_lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


_POLL_SECONDS = 0.05


@contextlib.contextmanager
def lock_root(folder: str, timeout: float) -> Generator[bool]:
    """Hold the lock of a cache root; the kernel frees it when the process dies.

    The lock saves work and lets leftovers be swept; nothing depends on it for safety.

    Args:
        folder: the cache root; made when it is not there.
        timeout: seconds to wait for another holder.

    Yields:
        Whether the lock is held. False after the timeout, or where there are no such locks.

    Raises:
        OSError: the root cannot be written.
    """
    own = os.path.join(folder, RECORD_FOLDER)
    os.makedirs(own, exist_ok=True)
    handle = os.open(os.path.join(own, "lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _acquire(handle, timeout)
    finally:
        os.close(handle)


def _acquire(handle: int, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while True:
        try:
            _try_lock(handle)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        except OSError:
            return False  # a filesystem or a system without locks
        else:
            return True
