"""Operations that must not outlast the patience of whoever waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from b10_transfer import time_limit
from b10_transfer.errors import CacheError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

_T = TypeVar("_T")

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
        The result of the operation.

    Raises:
        CacheError: it is not waited for any more, or no thread can be started.
        Exception: what the operation raised.
    """

    def is_given_up() -> bool:
        if stop is not None and stop.is_set():
            return True
        meanwhile()
        return False

    try:
        return time_limit.call_within(seconds, operation, _THREAD_PREFIX + what, is_given_up)
    except time_limit.NoThreadError as error:
        raise CacheError(f"{what}: {error}") from error
    except time_limit.TimeUpError:
        raise CacheError(
            f"{what}: not done within {seconds:g} s, and not waited for any more: look whether "
            "the shared folder answers"
        ) from None
    except time_limit.GivenUpError:
        raise CacheError(f"{what}: not waited for, as this process is to end") from None
