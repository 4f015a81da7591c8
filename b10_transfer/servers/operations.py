"""Operations with a time limit."""

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

    A call into a shared folder that does not answer cannot be interrupted, not even by a signal.

    Args:
        seconds: how long to wait.
        operation: what to call; after the time limit it goes on unwatched.
        what: the operation's name, for the message.
        stop: ends the waiting.
        meanwhile: called several times a second.

    Returns:
        The result of the operation.

    Raises:
        CacheError: it did not end in time, `stop` was set, or no thread can be started.
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
            f"{what}: not done within {seconds:g} s, given up: check that the shared folder answers"
        ) from None
    except time_limit.GivenUpError:
        raise CacheError(f"{what}: given up, because this process is to end") from None
