"""A load that goes on while the caller does something else, such as reading the weights."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from b10_transfer.status import OperationStatus

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger("b10_transfer")


class BackgroundLoad:
    """A load on its own thread, started by `load_compile_cache_async`."""

    def __init__(self, load: Callable[[], OperationStatus]) -> None:
        """Begin.

        Args:
            load: called once, on another thread; does not raise.
        """
        self._load = load
        self._status = OperationStatus.ERROR
        self._over = threading.Event()
        self._process = os.getpid()
        # It is a daemon, so that the end of the process does not wait for a folder that hangs.
        thread = threading.Thread(target=self._run, name="b10-load", daemon=True)
        if sys.is_finalizing():
            # A new thread would never begin, and its start would hang. The load reports that.
            self._run()
            return
        try:
            thread.start()
        except RuntimeError:
            # No thread can be started, so the load runs before the caller's work, not beside it.
            self._run()

    def done(self) -> bool:
        """Return whether the load is over; never True in a process forked before its end."""
        return self._over.is_set()

    def result(self, timeout: float | None = None) -> OperationStatus:
        """Wait for the load; call it before the first compiled call.

        Args:
            timeout: the longest time to wait, in seconds; by default until the load is over.

        Returns:
            The status of the load, as `load_compile_cache` returns it; ERROR when it was not over
            in time. It then goes on: what it loads later still helps what is compiled later, and
            another call of `result` tells how it ended. A process that was forked before its end
            gets ERROR too, because the load does not go on there.
        """
        if self._process != os.getpid() and not self._over.is_set():
            _logger.error("load: it goes on only in the process that this one was forked from")
            return OperationStatus.ERROR
        began = time.monotonic()
        if self._over.wait(timeout):
            return self._status
        _logger.error(
            "load: not over after %.1f s; compiling goes on without it", time.monotonic() - began
        )
        return OperationStatus.ERROR

    def _run(self) -> None:
        try:
            self._status = self._load()
        finally:
            self._over.set()
