"""Operations that must not outlast the patience of whoever waits for them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from b10_transfer.errors import CacheError

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

_SLICE_SECONDS = 0.2
_THREAD_PREFIX = "b10-transfer "


def call_within(
    seconds: float,
    operation: Callable[[], _T],
    what: str,
    stop: threading.Event | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> _T:
    """Call `operation` in a daemon thread, and wait for it.

    A shared folder that does not answer holds whoever calls it, signals or not.

    Args:
        seconds: how long to wait.
        operation: what to call; it goes on when it is not waited for any more.
        what: the operation, for the message.
        stop: ends the waiting.
        meanwhile: called several times a second.

    Returns:
        What the operation returned.

    Raises:
        CacheError: it is not waited for any more, or no thread can be started.
        Exception: what the operation raised.
    """
    call = _Call(operation)
    try:
        threading.Thread(target=call.run, name=_THREAD_PREFIX + what, daemon=True).start()
    except RuntimeError as error:
        raise CacheError(f"{what}: {error}") from error
    deadline = time.monotonic() + seconds
    while not call.is_over.wait(_SLICE_SECONDS):
        if time.monotonic() >= deadline:
            raise CacheError(
                f"{what}: not done within {seconds:g} s, and not waited for any more: look "
                "whether the shared folder answers"
            )
        if stop is not None and stop.is_set():
            raise CacheError(f"{what}: not waited for, as this process is to end")
        meanwhile()
    return call.result()


class _Call(Generic[_T]):
    """A call and what came of it."""

    def __init__(self, operation: Callable[[], _T]) -> None:
        self.is_over = threading.Event()
        self._operation = operation
        self._results: list[_T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._results.append(self._operation())
        except BaseException as error:  # noqa: BLE001  # raised again where the result is taken
            self._error = error
        finally:
            self.is_over.set()

    def result(self) -> _T:
        if self._error is not None:
            raise self._error
        return self._results[0]
