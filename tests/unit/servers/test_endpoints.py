from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from b10_transfer.servers.find import endpoints as server_endpoints
from b10_transfer.servers.find.endpoints import Endpoint, endpoints_of, health_of, is_server_at
from b10_transfer.servers.find.processes import ServerProcess
from tests.support.fake_servers import free_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

HELD_BY_A_CHILD = """
import socket, sys, time
held = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""
UNIX_HELD_BY_A_CHILD = """
import socket, sys, time
held = socket.socket(socket.AF_UNIX)
held.bind(sys.argv[1])
held.listen()
time.sleep(600)
"""


def this_process(*flags: str, kind: str = "vllm", folder: str = "/") -> ServerProcess:
    """As if this were a server with these flags."""
    own = psutil.Process()
    return ServerProcess(own.pid, own.create_time(), kind, ("vllm", "serve", *flags), folder, {})


def test_a_socket_counts_when_it_listens() -> None:
    port = free_port()
    server = this_process("--port", str(port))
    assert endpoints_of(server) == []
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", port))
        assert endpoints_of(server) == []
        bound.listen()
        assert endpoints_of(server) == [Endpoint("http", "127.0.0.1", port)]
    assert endpoints_of(server) == []


def test_a_socket_of_a_descendant_counts() -> None:
    port = free_port()
    server = this_process("--port", str(port))
    with subprocess.Popen([sys.executable, "-c", HELD_BY_A_CHILD, str(port)]) as child:
        try:
            eventually(lambda: endpoints_of(server) == [Endpoint("http", "127.0.0.1", port)])
            # And not that of a process that is none.
            stranger = dataclasses.replace(server, pid=child.pid, argv=server.argv)
            assert endpoints_of(stranger)
            with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
                assert endpoints_of(dataclasses.replace(server, pid=other.pid)) == []
                other.kill()
        finally:
            child.kill()


def test_another_port_of_the_process_is_not_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert endpoints_of(this_process("--port", str(free_port()))) == []
        assert endpoints_of(this_process(kind="sglang")) == []


def test_a_socket_on_every_address_is_asked_on_this_host() -> None:
    with socket.create_server(("", 0)) as everywhere:
        port = everywhere.getsockname()[1]
        found = endpoints_of(this_process("--port", str(port)))
    assert found == [Endpoint("http", "127.0.0.1", port)]


def test_ipv6() -> None:
    try:
        sixth = socket.create_server(("::", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with sixth:
        port = sixth.getsockname()[1]
        found = endpoints_of(this_process("--port", str(port), "--ssl-keyfile", "k"))
    assert found == [Endpoint("https", "::1", port)]
    assert str(found[0]) == f"https://[::1]:{port}/health"


def test_where_sockets_may_not_be_looked_at_the_command_line_must_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "net_connections", refuse, raising=False)
    monkeypatch.setattr(psutil.Process, "connections", refuse, raising=False)
    server = this_process("--port", "4711", "--host", "::")
    assert endpoints_of(server) == [Endpoint("http", "::1", 4711)]
    strange = dataclasses.replace(this_process("--port=4711", "--host=h"), is_same_users=False)
    assert endpoints_of(strange) == [Endpoint("http", "127.0.0.1", 4711)]
    assert endpoints_of(this_process("--uds", "/s")) == [Endpoint("http", "", 0, uds="/s")]


def test_a_system_that_does_not_tell_whose_sockets_are_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(psutil.Process, "net_connections", nothing)
    server_endpoints._sees_sockets.cache_clear()  # pyright: ignore[reportPrivateUsage]  # remembered
    try:
        assert endpoints_of(this_process("--port=4711")) == [Endpoint("http", "127.0.0.1", 4711)]
    finally:
        server_endpoints._sees_sockets.cache_clear()  # pyright: ignore[reportPrivateUsage]


def test_an_older_psutil_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    method = psutil.Process.net_connections
    monkeypatch.delattr(psutil.Process, "net_connections")
    monkeypatch.setattr(psutil.Process, "connections", method, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        assert endpoints_of(this_process("--port", str(port))) != []


def test_a_unix_socket_counts_when_the_server_has_bound_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = this_process("--uds", "s", folder=str(tmp_path))
    assert endpoints_of(server) == []
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        bound.listen()
        assert endpoints_of(server) == [Endpoint("http", "", 0, uds=str(path))]


def test_a_unix_socket_that_an_earlier_server_has_bound_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "s"
    command = [sys.executable, "-c", UNIX_HELD_BY_A_CHILD, str(path)]
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(command) as earlier, subprocess.Popen(sleep) as other:
        try:
            server = this_process("--uds", str(path))
            eventually(lambda: endpoints_of(dataclasses.replace(server, pid=earlier.pid)) != [])
            assert endpoints_of(dataclasses.replace(server, pid=other.pid)) == []
        finally:
            earlier.kill()
            other.kill()


def test_a_server_that_is_gone_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    gone = dataclasses.replace(this_process(), pid=process.pid)
    assert endpoints_of(gone) == []
    assert endpoints_of(dataclasses.replace(gone, argv=("vllm", "serve", "--uds=/s"))) == []


def test_which_server_a_url_means() -> None:
    server = this_process("--port", "8001")
    assert is_server_at(server, Endpoint("http", "127.0.0.1", 8001, path="/v1/models"))
    assert not is_server_at(server, Endpoint("http", "127.0.0.1", 8000))
    assert not is_server_at(server, Endpoint("http", "", 0, uds="/s"))
    assert is_server_at(this_process("--uds", "s"), Endpoint("http", "", 0, uds="/s"))
    assert not is_server_at(this_process("--uds", "s"), Endpoint("http", "127.0.0.1", 8000))


@pytest.mark.parametrize(
    ("endpoint", "is_local"),
    [
        (Endpoint("http", "localhost", 1), True),
        (Endpoint("http", "127.0.0.9", 1), True),
        (Endpoint("http", "::1", 1), True),
        (Endpoint("http", "0.0.0.0", 1), True),  # noqa: S104  # as users write it
        (Endpoint("http", "", 0, uds="/s"), True),
        (Endpoint("http", "10.0.0.1", 1), False),
        (Endpoint("http", "head.svc", 1), False),
    ],
)
def test_what_is_on_this_host(endpoint: Endpoint, *, is_local: bool) -> None:
    assert endpoint.is_local is is_local


def test_the_health_check_of_an_endpoint() -> None:
    endpoint = Endpoint("https", "h", 1, path="/v1/models")
    assert health_of(endpoint) == Endpoint("https", "h", 1, path="/health")
