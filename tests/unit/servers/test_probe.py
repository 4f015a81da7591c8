from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from b10_transfer.servers.find.endpoints import Endpoint
from b10_transfer.servers.find.probe import ask
from tests.support.fake_servers import free_port, stranger
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@contextlib.contextmanager
def answering(talk: Callable[[socket.socket], None]) -> Generator[Endpoint]:
    """Something that accepts one connection and does with it what it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(300)

        def accept() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    talk(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield Endpoint("http", "127.0.0.1", listening.getsockname()[1])
    thread.join()


def send(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


@pytest.mark.parametrize(("status", "is_ready"), [(200, True), (204, True), (503, False)])
def test_the_status_is_the_answer(status: int, is_ready: bool) -> None:
    with answering(send(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status)) as endpoint:
        answer = ask(endpoint, 60)
    assert (answer.status, answer.reason, answer.is_ready) == (status, f"HTTP {status}", is_ready)


def test_a_refused_connection_is_no_answer() -> None:
    answer = ask(Endpoint("http", "127.0.0.1", free_port()), 60)
    assert answer.status == 0
    assert "refused" in answer.reason


def test_a_redirection_is_not_followed() -> None:
    port = free_port()
    with stranger(port) as asked:
        line = f"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
        with answering(send(line.encode())) as endpoint:
            answer = ask(endpoint, 60)
    assert (answer.status, answer.is_ready, asked) == (307, False, [])


def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, port = free_port(), free_port()
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
    with stranger(proxy) as by_proxy, stranger(port) as asked:
        assert ask(Endpoint("http", "127.0.0.1", port), 60).is_ready
    assert (by_proxy, asked) == ([], ["/health"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x01garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 x\r\n" + b"a" * 200_000,
        b"HTTP/1.1 200 x\r\n" + b"a: b\r\n" * 5000,
    ],
)
def test_what_is_no_answer_in_http_is_none(data: bytes) -> None:
    with answering(send(data)) as endpoint:
        answer = ask(endpoint, 60)
    assert answer.status == 0
    assert answer.reason


def test_an_endless_body_is_not_read() -> None:
    with answering(send(b"HTTP/1.1 200 x\r\n\r\n" + b"a" * 1000)) as endpoint:
        assert ask(endpoint, 60).is_ready


def drip(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 x\r\n")
        for _ in range(3000):
            connection.sendall(b"a: b\r\n")
            time.sleep(0.1)


def test_an_answer_that_comes_byte_by_byte_is_not_waited_for_longer_than_another() -> None:
    with answering(drip) as endpoint:
        started = time.monotonic()
        answer = ask(endpoint, 0.5)
        # Generous for a busy machine; the whole answer takes five minutes.
        assert time.monotonic() - started < 60
    assert answer.status == 0
    assert "no answer within" in answer.reason


def test_a_question_can_be_cancelled() -> None:
    begun = time.monotonic()
    with answering(drip) as endpoint:
        answer = ask(endpoint, 300, lambda: time.monotonic() - begun > 0.3)
        assert time.monotonic() - begun < 60
    assert answer.status == 0


def test_the_threads_of_answers_that_were_given_up_end() -> None:
    with answering(drip) as endpoint:
        ask(endpoint, 0.3)
        eventually(lambda: all(item.name != "b10_transfer probe" for item in threading.enumerate()))


def test_nothing_is_told_but_what_is_asked() -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            connection, _ = listening.accept()
            with connection:
                seen.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=accept)
        thread.start()
        port = listening.getsockname()[1]
        assert ask(Endpoint("http", "127.0.0.1", port), 60).is_ready
        thread.join()
    first, *headers = seen[0].decode().strip().split("\r\n")
    assert first == "GET /health HTTP/1.1"
    names = {line.partition(":")[0] for line in headers}
    assert names == {"Host", "Accept-Encoding", "Connection", "User-Agent"}
