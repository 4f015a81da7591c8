"""Imports that no fork comes between.

The child of a fork has the locks of imports as they were, and not the threads that hold them: what
another thread was importing just then, the child waits for without end. So all that an operation
needs is imported before it begins, and a fork, whoever makes it, waits for that.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading

_FORK_PATIENCE_SECONDS = 10.0
"""A fork waits no longer: its thread may hold what the importing one waits for."""

_NEEDED = (
    "b10_transfer.operations.transfer",
    "b10_transfer.local.clear",
    "b10_transfer.held_secret",
    "b10_transfer.key_file",
)
_IMPORTED_LATE = ("lmdb._envid", "pynvml")
"""Modules that others import when first used; not every version and machine has them."""

_lock = threading.RLock()
_acquired: list[bool] = []


def import_all(*more: str) -> None:
    """Import, in this thread, what every operation needs, and `more`.

    Raises:
        ImportError: something is missing.
        RuntimeError: the interpreter ends: no module is imported any more, and whoever starts a
            thread waits for it without end.
    """
    if sys.is_finalizing():
        raise RuntimeError("the interpreter is shutting down")
    with _lock:
        for name in (*_NEEDED, *more):
            importlib.import_module(name)
        for name in _IMPORTED_LATE:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        import tempfile

        from b10_transfer.machine import versions as versions

        versions.python_abi()
        # Its first call holds a lock, too.
        with contextlib.suppress(OSError):
            tempfile.gettempdir()


def _before_fork() -> None:
    _acquired.append(_lock.acquire(timeout=_FORK_PATIENCE_SECONDS))


def _after_fork() -> None:
    if _acquired.pop():
        _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
