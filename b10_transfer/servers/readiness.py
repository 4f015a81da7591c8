"""Wait until a server is ready, or will not be."""

from __future__ import annotations

import enum
import time
from typing import TYPE_CHECKING, NamedTuple

from b10_transfer.servers.find.endpoints import HEALTH, endpoints_of, health_of
from b10_transfer.servers.find.probe import REQUEST_SECONDS, Answer, ask
from b10_transfer.servers.find.processes import family_of, is_alive

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from b10_transfer.servers.find.endpoints import Endpoint
    from b10_transfer.servers.find.processes import ServerProcess

_SLICE_SECONDS = 0.25
_EAGER_SECONDS = 10.0
"""For this long a server that starts beside us is looked for more often than `interval`."""

_LOST_SECONDS = 10.0
_LOST_TIMES = 3
_NOTHING_THERE = Answer(0, "it does not listen yet")


class Readiness(enum.Enum):
    """How waiting for a server ended."""

    READY = "ready"
    DIED = "ended before it was ready"
    TIMED_OUT = "not ready in time"
    STOPPED = "given up"


class Waited(NamedTuple):
    """The outcome of waiting for a server.

    Attributes:
        readiness: how it ended.
        server: the process; None when none was found.
        detail: what was seen last, for people.
    """

    readiness: Readiness
    server: ServerProcess | None
    detail: str


def wait_until_ready(
    find: Callable[[], ServerProcess | None],
    *,
    url: Endpoint | None,
    timeout: float,
    interval: float,
    stop: threading.Event,
    on_found: Callable[[ServerProcess], None] = lambda _: None,
) -> Waited:
    """Wait until a server is ready.

    A server whose process is found is ready when it answers on a socket of its own; the waiting
    ends when it ends. With a URL the answer at that URL counts instead; if a process is found as
    well, its end still ends the waiting.

    Args:
        find: looks for the process; asked repeatedly, since another one may turn up.
        url: the address that answers when the server is ready.
        timeout: seconds.
        interval: seconds between two looks.
        stop: ends the waiting.
        on_found: called once with each process, as soon as it is found.
    """
    return _Waiting(find, url, stop, on_found).wait(timeout, interval)


class _Waiting:
    def __init__(
        self,
        find: Callable[[], ServerProcess | None],
        url: Endpoint | None,
        stop: threading.Event,
        on_found: Callable[[ServerProcess], None],
    ) -> None:
        self._find = find
        self._url = url
        self._stop = stop
        self._on_found = on_found
        self._server: ServerProcess | None = None
        self._answer = Answer(0, "no server was found")

    def wait(self, timeout: float, interval: float) -> Waited:
        started = time.monotonic()
        while True:
            if self._is_over():
                return self._ended()
            self._look_for_server()
            left = timeout - (time.monotonic() - started)
            if self._ask(max(1.0, min(REQUEST_SECONDS, left))) and not self._is_over():
                return Waited(Readiness.READY, self._server, self._answer.reason)
            now = time.monotonic() - started
            if now >= timeout and not self._is_over():
                return Waited(Readiness.TIMED_OUT, self._server, self._answer.reason)
            eager = self._server is None and now < _EAGER_SECONDS
            pause(min(interval, timeout - now, 0.5 if eager else interval), self._is_over)

    def _is_over(self) -> bool:
        return self._stop.is_set() or (self._server is not None and not is_alive(self._server))

    def _ended(self) -> Waited:
        # Somebody may have ended both at once; that is no failure of the server.
        readiness = Readiness.STOPPED if self._stop.is_set() else Readiness.DIED
        return Waited(readiness, self._server, self._answer.reason)

    def _look_for_server(self) -> None:
        found = self._find()
        known = self._server
        if found is None or (known and (found.pid, found.started) == (known.pid, known.started)):
            return
        if known and found.pid in {process.pid for process in family_of(known)}:
            # A server that gives itself a title may have children with its former command line.
            return
        self._server = found
        self._answer = _NOTHING_THERE
        self._on_found(found)

    def _ask(self, seconds: float) -> bool:
        """Return whether the server is ready."""
        if self._url is not None:
            self._answer = _ask_url(self._url, self._server, seconds, self._is_over)
            return self._answer.is_ready
        if self._server is None:
            return False
        self._answer = _NOTHING_THERE
        for endpoint in endpoints_of(self._server):
            self._answer = ask(endpoint, seconds, self._is_over)
            # vLLM does not listen before it is ready.
            refusal = self._answer.is_refusal and self._server.kind == "vllm"
            if self._answer.is_ready or refusal:
                return True
        return False


def _ask_url(
    url: Endpoint, server: ServerProcess | None, seconds: float, is_over: Callable[[], bool]
) -> Answer:
    if server is not None and server.kind == "sglang" and url.path == "/v1/models":
        # SGLang lists its models long before it is ready.
        url = health_of(url)
    answer = ask(url, seconds, is_over)
    if not answer.is_refusal or url.path == HEALTH:
        return answer
    # An API key guards only the API, not the health check.
    return ask(health_of(url), seconds, is_over)


def still_answers(url: Endpoint, stop: threading.Event) -> Callable[[], bool]:
    """Return whether something still answers at a URL, for a server whose process cannot be seen.

    Any answer counts: a server that is too busy to pass a health check has not ended.
    """
    next_look = time.monotonic() + _LOST_SECONDS
    unanswered = 0

    def is_there() -> bool:
        nonlocal next_look, unanswered
        if time.monotonic() >= next_look and not stop.is_set():
            answered = ask(url, _LOST_SECONDS, stop.is_set).status
            unanswered = 0 if answered else unanswered + 1
            next_look = time.monotonic() + _LOST_SECONDS
        return unanswered < _LOST_TIMES

    return is_there


def pause(seconds: float, is_over: Callable[[], bool]) -> None:
    """Wait until the time is up or `is_over` returns True."""
    deadline = time.monotonic() + seconds
    while not is_over():
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(_SLICE_SECONDS, left))
