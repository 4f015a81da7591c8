from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest

from b10_transfer.servers import readiness
from b10_transfer.servers.find.endpoints import Endpoint, parse_url
from b10_transfer.servers.find.probe import Answer
from b10_transfer.servers.find.processes import ServerProcess, find_server_below
from b10_transfer.servers.readiness import Readiness, Waited, still_answers, wait_until_ready
from tests.support import fake_servers
from tests.support.fake_servers import FakeServer, free_port, started_server, stranger
from tests.support.sites import Host
from tests.support.waiting import SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    return FakeServer(tmp_path / "fake").prepare()


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    return Host(tmp_path / "store", tmp_path / "host").variables()


class Waiting:
    """Waits for a server in a thread, so that a test can do something meanwhile."""

    def __init__(
        self,
        find: Callable[[], ServerProcess | None],
        url: Endpoint | None = None,
        timeout: float = SECONDS,
    ) -> None:
        self.stop = threading.Event()
        self.found: list[ServerProcess] = []
        self._results: list[Waited] = []

        def wait() -> None:
            waited = wait_until_ready(
                find,
                url=url,
                timeout=timeout,
                interval=0.1,
                stop=self.stop,
                on_found=self.found.append,
            )
            self._results.append(waited)

        self._thread = threading.Thread(target=wait, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Waited:
        self._thread.join(SECONDS)
        assert self._results, "the waiting did not end"
        return self._results[0]


def below(process: subprocess.Popen[bytes]) -> Callable[[], ServerProcess | None]:
    return lambda: find_server_below(process.pid)


def no_server() -> None:
    return None


def assert_ready_with(
    server: FakeServer,
    variables: dict[str, str],
    *flags: str,
    kind: str = "vllm",
    url: Endpoint | None = None,
) -> Waited:
    """It is not ready before the server is, and ready when it is."""
    with started_server(server, variables, *flags, kind=kind) as process:
        waiting = Waiting(below(process), url)
        if kind == "sglang":
            eventually(lambda: bool(server.requests()))
        time.sleep(0.35)
        assert not waiting.is_over
        server.allow("ready")
        waited = waiting.result()
        assert waited.readiness is Readiness.READY
        assert waited.server is not None
        assert waited.server.pid == process.pid
        assert waited.server.kind == kind
        return waited


def test_vllm_is_ready_when_it_stops_refusing(
    server: FakeServer, variables: dict[str, str]
) -> None:
    assert_ready_with(server, variables, "--port", str(free_port()))
    assert server.requests() == ["/health 200"]


def test_sglang_is_ready_when_it_stops_saying_503(
    server: FakeServer, variables: dict[str, str]
) -> None:
    slow = {**variables, "FAKE_HEALTH_SECONDS": "1.3"}
    assert_ready_with(server, slow, f"--port={free_port()}", kind="sglang")
    assert server.requests()[0] == "/health 503"
    assert server.requests()[-1] == "/health 200"


def test_the_models_that_sglang_lists_early_do_not_make_it_ready(
    server: FakeServer, variables: dict[str, str]
) -> None:
    port = free_port()
    url = Endpoint("http", "127.0.0.1", port, path="/v1/models")
    assert_ready_with(server, variables, "--port", str(port), kind="sglang", url=url)


def test_a_server_on_one_address_of_ipv6(server: FakeServer, variables: dict[str, str]) -> None:
    assert_ready_with(server, variables, "--host", "::1", "--port", str(free_port()))


def test_a_server_whose_port_a_configuration_file_says(
    server: FakeServer, variables: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(f"# ours\nmodel: m\nport: {port}  # not 8000\nrope-scaling:\n  port: 1\n")
    told = {**variables, "FAKE_CONFIGURED_PORT": str(port)}
    assert_ready_with(server, told, "--config", str(config))


def test_a_server_whose_configuration_cannot_be_read_is_found_by_its_socket(
    server: FakeServer, variables: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text("[")
    told = {**variables, "FAKE_CONFIGURED_PORT": str(free_port())}
    assert_ready_with(server, told, "--config", str(config))


def test_a_server_on_a_unix_socket(
    server: FakeServer, variables: dict[str, str], tmp_path: Path
) -> None:
    assert_ready_with(server, variables, "--uds", str(tmp_path / "s"))


def test_a_server_with_a_certificate_that_nobody_signed(
    server: FakeServer, variables: dict[str, str], tmp_path: Path
) -> None:
    pair = fake_servers.certificate(tmp_path)
    if pair is None:
        pytest.skip("there is no openssl to make a certificate with")
    key, cert = pair
    port = str(free_port())
    assert_ready_with(
        server, variables, "--port", port, "--ssl-keyfile", key, "--ssl-certfile", cert
    )


def test_without_the_api_key_the_health_check_is_asked(
    server: FakeServer, variables: dict[str, str]
) -> None:
    port = free_port()
    url = Endpoint("http", "127.0.0.1", port, path="/v1/models")
    assert_ready_with(server, variables, "--port", str(port), "--api-key", "secret", url=url)
    assert server.requests() == ["/v1/models 401", "/health 200"]


def test_another_server_on_the_port_is_not_mistaken_for_it(
    server: FakeServer, variables: dict[str, str]
) -> None:
    port = free_port()
    with stranger(port) as asked:
        assert_ready_with(server, variables, "--host", "127.0.0.2", "--port", str(port))
    assert asked == []


def test_a_server_that_ends_while_it_loads(server: FakeServer, variables: dict[str, str]) -> None:
    with started_server(server, variables, "--port", str(free_port())) as process:
        waiting = Waiting(below(process))
        eventually(lambda: bool(waiting.found))
        server.allow("crash")
        # Nobody has waited for the process: it is a zombie.
        waited = waiting.result()
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert waited.readiness is Readiness.DIED
    assert waited.server is not None
    assert waited.server.pid == process.pid


def test_a_server_that_ends_is_not_ready_though_its_url_answers(
    server: FakeServer, variables: dict[str, str]
) -> None:
    port = free_port()
    with started_server(server, variables, "--port", str(free_port())) as process:
        waiting = Waiting(below(process), Endpoint("http", "127.0.0.1", port))
        eventually(lambda: bool(waiting.found))
        server.allow("crash")
        assert waiting.result().readiness is Readiness.DIED


def test_a_server_that_never_gets_ready(server: FakeServer, variables: dict[str, str]) -> None:
    with started_server(server, variables, "--port", str(free_port())) as process:
        started = time.monotonic()
        waited = Waiting(below(process), timeout=0.7).result()
        assert waited.readiness is Readiness.TIMED_OUT
        assert waited.server is not None
        assert waited.detail == "it does not listen yet"
        assert time.monotonic() - started > 0.6


def test_a_child_with_the_servers_command_line_is_not_taken_for_another_server() -> None:
    own = psutil.Process()
    server = ServerProcess(own.pid, own.create_time(), "vllm", ("vllm", "serve", "--uds=/s"))
    command = [sys.executable, "-c", "import time; time.sleep(0.5)"]
    with subprocess.Popen(command) as process:
        started = psutil.Process(process.pid).create_time()
        child = dataclasses.replace(server, pid=process.pid, started=started)
        found = iter([server])
        waited = Waiting(lambda: next(found, child), timeout=1.5).result()
    assert waited.readiness is Readiness.TIMED_OUT
    assert waited.server == server


def test_nobody_to_wait_for() -> None:
    waited = Waiting(no_server, timeout=0.3).result()
    assert waited == (Readiness.TIMED_OUT, None, "no server was found")


def test_waiting_can_be_stopped() -> None:
    waiting = Waiting(no_server)
    waiting.stop.set()
    assert waiting.result().readiness is Readiness.STOPPED


def test_a_slow_answer_does_not_hold_up_a_stop(
    server: FakeServer, variables: dict[str, str]
) -> None:
    slow = {**variables, "FAKE_HEALTH_SECONDS": "1000"}
    server.allow("ready")
    with started_server(server, slow, "--port", str(free_port()), kind="sglang") as process:
        waiting = Waiting(below(process))
        server.wait_for("asked")
        waiting.stop.set()
        started = time.monotonic()
        assert waiting.result().readiness is Readiness.STOPPED
        # Generous for a busy machine; an answer is waited for for 30 s.
        assert time.monotonic() - started < 20


def test_a_url_alone_is_enough() -> None:
    port = free_port()
    waiting = Waiting(no_server, parse_url("--url", f"http://127.0.0.1:{port}/up?deep=1"))
    time.sleep(0.3)
    assert not waiting.is_over
    with stranger(port) as asked:
        waited = waiting.result()
    assert waited.readiness is Readiness.READY
    assert waited.server is None
    assert asked[0] == "/up?deep=1"


def test_whoever_is_known_by_a_url_alone_is_gone_when_nothing_answers_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, status = [0.0], [503]
    monkeypatch.setattr(readiness, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def ask(*_: object) -> Answer:
        return Answer(status[0], "")

    monkeypatch.setattr(readiness, "ask", ask)
    is_there = still_answers(Endpoint("http", "127.0.0.1", 1), threading.Event())

    def is_there_later() -> bool:
        now[0] += 10.0
        return is_there()

    assert [is_there_later() for _ in range(10)] == [True] * 10
    status[0] = 0
    assert [is_there_later() for _ in range(3)] == [True, True, False]
    status[0] = 200
    assert is_there_later()
