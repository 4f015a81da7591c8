"""Ask a server whether it is ready, over TCP, TLS or a Unix socket, within a time limit."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple

from b10_transfer.time_limit import GivenUpError, NoThreadError, TimeUpError, call_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_transfer.servers.find.endpoints import Endpoint

REQUEST_SECONDS = 30.0
"""SGLang generates a token before it answers, and takes up to 20 s for that
(SGLANG_HEALTH_CHECK_TIMEOUT)."""

_REFUSED = frozenset({401, 403})


class Answer(NamedTuple):
    """The answer of a server.

    Attributes:
        status: the HTTP status; 0 when there was no answer, and `reason` says why.
        reason: the outcome, for people.
    """

    status: int
    reason: str

    @property
    def is_ready(self) -> bool:
        """Whether the server answered that it is ready."""
        return 200 <= self.status < 300

    @property
    def is_refusal(self) -> bool:
        """Whether the server answers, but refuses this request."""
        return self.status in _REFUSED


def ask(
    endpoint: Endpoint, seconds: float, is_cancelled: Callable[[], bool] = lambda: False
) -> Answer:
    """Send a request and wait for the answer's status. Never raises.

    Redirections are not followed and no proxy is used. The certificate is not verified, since
    neither request nor answer holds a secret: the health check needs no API key, and none is sent.

    Args:
        endpoint: where to send it.
        seconds: how long to wait in all.
        is_cancelled: asked ten times a second whether to give up.
    """
    request = _Request(endpoint, seconds)
    try:
        return call_within(seconds, request.run, "b10_transfer probe", is_cancelled)
    except NoThreadError as error:
        return Answer(0, str(error))
    except TimeUpError:
        reason = f"no answer within {seconds:.0f} s"
    except GivenUpError:
        reason = "given up"
    request.abandon()
    return Answer(0, reason)


class _Request:
    """A request in its own thread: a socket's timeout does not bound an answer that trickles in."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        self._path = endpoint.path
        self._connection = _connection_to(endpoint, seconds)

    def run(self) -> Answer:
        headers = {"Connection": "close", "User-Agent": "b10-transfer"}
        try:
            self._connection.request("GET", self._path, headers=headers)
            status = self._connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(0, str(error) or type(error).__name__)
        finally:
            self._connection.close()
        return Answer(status, f"HTTP {status}")

    def abandon(self) -> None:
        """Let the thread end."""
        connected: socket.socket | None = self._connection.sock
        if connected is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)


def _connection_to(endpoint: Endpoint, seconds: float) -> http.client.HTTPConnection:
    context = _unverified() if endpoint.scheme == "https" else None
    if endpoint.uds:
        return _UnixConnection(endpoint.uds, seconds, context)
    if context is not None:
        return http.client.HTTPSConnection(
            endpoint.host, endpoint.port, timeout=seconds, context=context
        )
    return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=seconds)


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, seconds: float, context: ssl.SSLContext | None) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path
        self._context = context

    def connect(self) -> None:
        """Connect to the socket instead of to the host."""
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock = plain
        plain.settimeout(self.timeout)
        plain.connect(self._path)
        if self._context is not None:
            self.sock = self._context.wrap_socket(plain)
