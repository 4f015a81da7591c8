"""The progress of a load or a save, reported to a callback."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

_logger = logging.getLogger("b10_transfer")

_PAUSE_SECONDS = 0.1


class Progress(NamedTuple):
    """The progress of an operation.

    Attributes:
        done: uncompressed bytes of the artifacts that were loaded, or compressed, so far.
        total: uncompressed bytes of all artifacts to load or compress.
    """

    done: int
    total: int


ProgressCallback = Callable[[Progress], None]
"""Called from any thread, at most ten times a second, and never from two threads at once. When
everything was loaded or uploaded, the last call has `done == total`. An exception that it raises is
logged and ends the calls; it never fails the operation."""


class Meter:
    """Counts bytes for a callback."""

    def __init__(self, callback: ProgressCallback | None, total: int = 0) -> None:
        """Count from 0.

        Args:
            callback: what to call; None for nothing.
            total: the expected number of bytes; more may be done in the end.
        """
        self._callback = callback
        self._total = total
        self._done = 0
        self._told = -1
        self._next = 0.0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Note that `count` more bytes are done."""
        if self._callback is None:
            return
        with self._lock:
            self._done = min(self._done + count, self._total)
            if time.monotonic() >= self._next:
                self._tell()

    def move_to(self, done: int, total: int) -> None:
        """Note that `done` of `total` bytes are done."""
        with self._lock:
            self._total = total
        self.add(done - self._done)

    def finish(self) -> None:
        """Report that everything is done, if there was anything to do."""
        with self._lock:
            self._done = self._total
            if self._total and self._told != self._total:
                self._tell()

    def _tell(self) -> None:
        if self._callback is None:
            return
        self._told = self._done
        self._next = time.monotonic() + _PAUSE_SECONDS
        try:
            self._callback(Progress(self._done, self._total))
        except Exception:
            self._callback = None
            _logger.exception("the progress callback failed; it is not called again")
