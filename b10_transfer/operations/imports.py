"""Imports that are complete before any fork.

A forked child inherits the import locks, but not the threads that hold them. If another thread was
importing a module at that moment, the child waits for that module forever. So everything that an
operation needs is imported before it begins, and a fork waits for these imports. No operation
imports modules that only another one needs, because a server waits for its load.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading

_FORK_PATIENCE_SECONDS = 10.0
"""A fork waits no longer than this: its thread may hold a lock that the importing thread needs."""

_ALWAYS = (
    "b10_transfer.operations.context",
    "b10_transfer.operations.reports",
    "b10_transfer.held_secret",
    "b10_transfer.key_file",
)
OPERATIONS = {
    "load": ("b10_transfer.operations.transfer", "b10_transfer.operations.load"),
    "save": (
        "b10_transfer.operations.transfer",
        "b10_transfer.operations.save",
        "b10_transfer.operations.upkeep",
    ),
    "collect": ("b10_transfer.operations.upkeep",),
    "clear": ("b10_transfer.local.clear",),
    "look": ("b10_transfer.local.scan", "b10_transfer.operations.progress"),
    "accompany": ("b10_transfer.servers.follow.companion",),
}
"""The modules of each operation; together with what these import, it needs no others."""

_lock = threading.RLock()
_acquired: list[bool] = []


def import_for(*operations: str) -> None:
    """Import, in this thread, what some of `OPERATIONS` need.

    Raises:
        ImportError: something is missing.
        RuntimeError: the interpreter is shutting down: no module can be imported, and starting a
            thread would hang.
    """
    if sys.is_finalizing():
        raise RuntimeError("the interpreter is shutting down")
    with _lock:
        for operation in operations:
            for name in (*_ALWAYS, *OPERATIONS[operation]):
                importlib.import_module(name)
            _import_engine(operation)
        _import_late_ones()


def _import_engine(operation: str) -> None:
    import b10_store

    if operation in b10_store.OPERATIONS:
        b10_store.import_for(operation)


def _import_late_ones() -> None:
    """Import modules that others import at first use; not every version and machine has them."""
    import tempfile

    from b10_transfer.machine import versions

    versions.python_abi()
    late = ["lmdb._envid", "pwd", "resource"]
    if versions.torch_release().cuda is not None:
        late.append("pynvml")
    for name in late:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # Its first call takes a lock, too.
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
