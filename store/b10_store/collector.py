"""Pausing Python's collector of reference cycles while many values are made and none is dropped."""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


class _Pauses:
    """The pauses of all threads: the collector is the whole process's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._was_enabled = False

    def begin(self) -> None:
        with self._lock:
            if not self._count:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._count += 1

    def end(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count and self._was_enabled:
                gc.enable()


_PAUSES = _Pauses()


@contextlib.contextmanager
def paused_collector() -> Generator[None]:
    """Pause the collector while the block runs, in all threads of the process.

    For work that makes several values for each of many thousands of artifacts, drops none, and
    waits for nothing: the collector would visit all of them again and again, and with them
    everything that a model server has in memory. What other threads leave in cycles meanwhile is
    collected afterwards.
    """
    _PAUSES.begin()
    try:
        yield
    finally:
        _PAUSES.end()
