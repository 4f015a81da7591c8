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
    """A load on a thread of its own, begun by `load_compile_cache_async`."""

    def __init__(self, load: Callable[[], OperationStatus]) -> None:
        """Begin.

        Args:
            load: called once, on another thread; does not raise.
        """
        self._load = load
        self._status = OperationStatus.ERROR
        self._over = threading.Event()
        self._process = os.getpid()
        # A daemon: a process that ends does not wait for a folder that does not answer.
        thread = threading.Thread(target=self._run, name="b10-load", daemon=True)
        if sys.is_finalizing():
            # A thread never begins then, and its start is waited for. The load says so.
            self._run()
            return
        try:
            thread.start()
        except RuntimeError:
            # No more threads can be started: it runs before the caller's work, not beside it.
            self._run()

    def done(self) -> bool:
        """Return whether the load is over; it never is in a process forked before that."""
        return self._over.is_set()

    def result(self, timeout: float | None = None) -> OperationStatus:
        """Wait for the load; call it before the first compiled call.

        Args:
            timeout: most seconds to wait; by default until the load is over.

        Returns:
            The status of the load, as `load_compile_cache` returns it; ERROR when it was not over
            in time. It then goes on: what it brings later is of use to what is compiled later, and
            another call of `result` tells how it ended. ERROR too in a process forked before it was
            over, in which it does not go on.
        """
        if self._process != os.getpid() and not self._over.is_set():
            _logger.error("load: it goes on in the process that this one was forked from")
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
