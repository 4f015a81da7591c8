"""Call a function that may hang, as on a mount that does not answer, with a time limit."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

_SLICE_SECONDS = 0.1


class TimeUpError(Exception):
    """The call did not end in time."""


class GivenUpError(Exception):
    """The call was given up."""


class NoThreadError(RuntimeError):
    """No thread can be started: the interpreter shuts down, or the system's limit is reached."""


def call_within(
    seconds: float,
    function: Callable[[], _T],
    name: str,
    is_given_up: Callable[[], bool] = lambda: False,
) -> _T:
    """Call a function on a daemon thread, and wait for it.

    A thread that hangs is left behind; it does not keep the process from ending unless the kernel
    itself cannot stop it.

    Args:
        seconds: how long to wait.
        function: what to call; after the time limit it goes on unwatched.
        name: of the thread.
        is_given_up: returns whether to stop waiting; asked several times a second.

    Raises:
        TimeUpError: it took longer.
        GivenUpError: `is_given_up` returned True.
        NoThreadError: no thread could be started, and the function was not called.
        Exception: whatever the function raises.
    """
    results: list[_T] = []
    errors: list[BaseException] = []
    is_over = threading.Event()

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 # passed on to the caller
            errors.append(error)
        finally:
            is_over.set()

    deadline = time.monotonic() + seconds
    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:
        raise NoThreadError(str(error)) from error
    while not is_over.wait(max(0.0, min(_SLICE_SECONDS, deadline - time.monotonic()))):
        if time.monotonic() >= deadline:
            raise TimeUpError
        if is_given_up():
            raise GivenUpError
    if errors:
        raise errors[0]
    return results[0]
