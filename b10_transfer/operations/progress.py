"""How far a load or a save is, told to whoever wants to show it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

_logger = logging.getLogger("b10_transfer")

_PAUSE_SECONDS = 0.1


class Progress(NamedTuple):
    """How far an operation is.

    Attributes:
        done: uncompressed bytes of artifacts that were brought, or compressed, until now.
        total: uncompressed bytes that there are to do in all.
    """

    done: int
    total: int


ProgressCallback = Callable[[Progress], None]
"""Called from any thread, ten times a second at most, and never from two at once; where anything is
brought or uploaded and all of it could be, the last call has `done == total`. An error that it
raises is logged and ends the calls: it never fails the operation."""


class Meter:
    """Counts bytes for a callback."""

    def __init__(self, callback: ProgressCallback | None, total: int = 0) -> None:
        """Count from 0.

        Args:
            callback: what to tell, if anybody wants to know.
            total: bytes that there are to do; more may be done in the end.
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
        """Tell that all is done, if there was anything to do."""
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
            _logger.exception("the progress callback failed; it is not called any more")
