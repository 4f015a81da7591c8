"""Waiting a bounded time for what may hang: a folder on a mount that does not answer."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

ANSWER_SECONDS = 10.0
"""A mount that takes longer for all that is asked of it at once is one that hangs."""


def no_answer() -> str:
    """What is said of that."""
    return f"did not answer within {ANSWER_SECONDS:.0f} s"


class NoAnswerError(Exception):
    """There was no answer in time."""


def within(seconds: float, look: Callable[[], _T]) -> _T:
    """Call a function in a thread of its own, and wait for it so many seconds.

    A thread that hangs is left behind; it does not keep the process from ending unless the kernel
    itself cannot stop it.

    Raises:
        NoAnswerError: it took longer.
        Exception: whatever the function raises.
    """
    answer: Future[_T] = Future()

    def ask() -> None:
        try:
            answer.set_result(look())
        except BaseException as error:  # noqa: BLE001 - handed to who asked
            answer.set_exception(error)

    thread = threading.Thread(target=ask, name="b10-doctor", daemon=True)
    thread.start()
    thread.join(seconds)
    if not answer.done():
        raise NoAnswerError
    return answer.result()
