"""Where a server can be asked whether it is ready."""

from __future__ import annotations

import functools
import ipaddress
import os
import socket
import urllib.parse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import psutil

from b10_transfer.errors import CacheValidationError
from b10_transfer.servers.find.arguments import read_arguments
from b10_transfer.servers.find.processes import family_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from b10_transfer.servers.find.arguments import ServerArguments
    from b10_transfer.servers.find.processes import ServerProcess

HEALTH = "/health"
_GONE = (psutil.Error, OSError)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send a request.

    Attributes:
        scheme: "http" or "https".
        host: a name or an address; "" for a Unix socket.
        port: 0 for a Unix socket.
        uds: the path of a Unix socket, or "".
        path: the path of the request, with the query.
    """

    scheme: str
    host: str
    port: int
    uds: str = ""
    path: str = HEALTH

    def __str__(self) -> str:
        """Format it as a user would write it."""
        if self.uds:
            return f"unix:{self.uds}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def is_local(self) -> bool:
        """Whether its host name means this host."""
        return bool(self.uds) or self.host == "localhost" or _is_loopback(self.host)


def parse_url(name: str, value: str) -> Endpoint:
    """Read a URL that a user gave; without a path, the path of the health check is taken.

    Args:
        name: the flag or variable, for the message.
        value: `http://`, `https://`, or `unix:` and the path of a socket.

    Raises:
        CacheValidationError: it is none of these.
    """
    if value.startswith("unix:"):
        path = value[len("unix:") :]
        path = path[2:] if path.startswith("///") else path
        if os.path.isabs(path) and "\0" not in path:
            return Endpoint("http", "", 0, uds=path)
        raise CacheValidationError(
            f"{name}={value!r}: give the socket's absolute path after unix:", name
        )
    try:
        parts = urllib.parse.urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise CacheValidationError(f"{name}={value!r} is not a URL: {error}", name) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CacheValidationError(
            f"{name}={value!r} is neither http://HOST:PORT/PATH, nor https://..., nor unix:/SOCKET",
            name,
        )
    if parts.username is not None or parts.password is not None:
        # The message does not repeat it, because there is a password in it.
        raise CacheValidationError(
            f"{name} has a user in it, which is not supported: leave it out", name
        )
    if any(character <= " " or character == "\x7f" for character in value):
        raise CacheValidationError(
            f"{name}={value!r} has a blank or a control character in it", name
        )
    path = urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~-._") or HEALTH
    path = HEALTH if path == "/" else path
    query = f"?{parts.query}" if parts.query else ""
    default = 443 if parts.scheme == "https" else 80
    return Endpoint(parts.scheme, parts.hostname, port or default, path=path + query)


def endpoints_of(server: ServerProcess) -> list[Endpoint]:
    """Return the endpoints where a server can be asked now; [] while it does not listen.

    Only sockets of the server's process and its descendants count: something else may answer on the
    port that the server is going to use. Where this process may not see those sockets, the command
    line decides; for a server of another user it is believed only about a port of this host.
    """
    arguments = read_arguments(server)
    scheme = "https" if arguments.tls else "http"
    if arguments.uds:
        path = os.path.join(server.folder, arguments.uds)
        own = Endpoint(scheme, "", 0, uds=path)
        return [own] if _has_bound(server, path) else []
    listening = _listening(server, arguments)
    if listening is None:
        host = arguments.host if server.is_same_users else "127.0.0.1"
        listening = [Address(host, arguments.port)]
    return [
        Endpoint(scheme, _reachable(address.host), address.port)
        for address in dict.fromkeys(listening)
    ]


def is_server_at(server: ServerProcess, endpoint: Endpoint) -> bool:
    """Return whether a server was told to listen where an endpoint of this host is."""
    arguments = read_arguments(server)
    if endpoint.uds or arguments.uds:
        return endpoint.uds == os.path.join(server.folder, arguments.uds or os.curdir)
    return endpoint.port == arguments.port or not arguments.is_port_known


def health_of(endpoint: Endpoint) -> Endpoint:
    """Return the health check of the server that an endpoint belongs to."""
    return replace(endpoint, path=HEALTH)


class Address(NamedTuple):
    """An address that something listens on."""

    host: str
    port: int


class _Socket(Protocol):
    """A socket, as psutil describes it."""

    @property
    def laddr(self) -> tuple[str, int] | tuple[()] | str: ...
    @property
    def status(self) -> str: ...


def _listening(server: ServerProcess, arguments: ServerArguments) -> list[Address] | None:
    """Return the sockets that may be the server's API; None when this process may not see them."""
    if not _sees_sockets():
        return None
    readable = None
    for process in family_of(server):
        try:
            sockets = _listening_sockets(process)
        except _GONE:
            readable = readable or False
            continue
        readable = True
        wanted = [address for address in sockets if address.port == arguments.port]
        if wanted:
            return wanted
        if not arguments.is_port_known and process.pid == server.pid and sockets:
            return sockets
    return None if readable is False else []


def _listening_sockets(process: psutil.Process) -> list[Address]:
    return [
        Address(*cast("tuple[str, int]", item.laddr)[:2])
        for item in _sockets(process, "tcp")
        if item.status == psutil.CONN_LISTEN and item.laddr
    ]


@functools.cache
def _sees_sockets() -> bool:
    """Return whether the system tells which process owns a socket, tried with one of our own."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as own:
            port = own.getsockname()[1]
            return any(item.port == port for item in _listening_sockets(psutil.Process()))
    except _GONE:
        return True


def _has_bound(server: ServerProcess, path: str) -> bool:
    """Return whether a Unix socket is the server's; True when this process may not see that."""
    readable = None
    for process in family_of(server):
        try:
            bound = [cast("str", item.laddr) for item in _sockets(process, "unix") if item.laddr]
        except _GONE:
            readable = readable or False
            continue
        readable = True
        if any(os.path.join(server.folder, item) == path for item in bound):
            return True
    return readable is False


def _sockets(process: psutil.Process, kind: str) -> Sequence[_Socket]:
    # Named `connections` before psutil 6.
    method = getattr(process, "net_connections", None) or getattr(process, "connections")  # noqa: B009 # its stub knows only the new name
    return cast("Callable[[str], Sequence[_Socket]]", method)(kind)


def _reachable(host: str) -> str:
    """Return the address to connect to for a server that listens on `host`, which may mean all."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
