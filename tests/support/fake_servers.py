"""Servers that behave as vLLM and SGLang do, in processes with command lines like theirs."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cache_trees import write_tree
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

# Below those that a system gives to whoever asks for any; each process of tests begins elsewhere.
_PORTS = range(12_000, 32_000)
_ports = itertools.islice(
    itertools.cycle(_PORTS), os.getpid() * 211 % len(_PORTS), len(_PORTS) * 100
)

PROGRAM = Path(__file__).with_name("fake_server_program.py")


@dataclass(frozen=True, slots=True)
class FakeServer:
    """A server to be started, and what it may do.

    Attributes:
        folder: of its own.
    """

    folder: Path

    @property
    def gates(self) -> Path:
        """The folder in which files let it go on."""
        return self.folder / "gates"

    def prepare(
        self, first: Mapping[str, bytes] | None = None, later: Mapping[str, bytes] | None = None
    ) -> FakeServer:
        """Make its programs, and what it is going to compile."""
        self.gates.mkdir(parents=True, exist_ok=True)
        package = self.folder / "sglang"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        shutil.copy(PROGRAM, package / "launch_server.py")
        shutil.copy(PROGRAM, self.folder / "vllm")
        for name, tree in (("first", first), ("later", later)):
            shutil.rmtree(self.gates / f"{name}.tree", ignore_errors=True)
            write_tree(self.gates / f"{name}.tree", tree or {})
        return self

    def command(self, *flags: str, kind: str = "vllm") -> list[str]:
        """Its command line."""
        if kind == "sglang":
            return [sys.executable, "-m", "sglang.launch_server", "--model-path=m", *flags]
        return [sys.executable, str(self.folder / "vllm"), "serve", "model", *flags]

    def variables(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Its environment variables, beside those of its host."""
        path = os.pathsep.join([str(self.folder), variables.get("PYTHONPATH", "")])
        return {**variables, "FAKE_GATES": str(self.gates), "PYTHONPATH": path}

    def allow(self, gate: str) -> None:
        """Let it go on."""
        (self.gates / gate).touch()

    def requests(self) -> list[str]:
        """What it was asked, with the status of its answer."""
        log = self.gates / "requests"
        return log.read_text().splitlines() if log.exists() else []

    def wait_for(self, mark: str) -> None:
        """Wait until it has done something."""
        eventually((self.gates / mark).exists)


@contextlib.contextmanager
def started_server(
    server: FakeServer, variables: Mapping[str, str], *flags: str, kind: str = "vllm"
) -> Generator[subprocess.Popen[bytes]]:
    """A server that runs, and is killed at the end."""
    with running(server.command(*flags, kind=kind), server.variables(variables)) as process:
        eventually(lambda: (server.gates / "started").exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        yield process


@contextlib.contextmanager
def running(command: list[str], variables: Mapping[str, str]) -> Generator[subprocess.Popen[bytes]]:
    """A process in a session of its own; all of the session is killed at the end."""
    with subprocess.Popen(
        command,
        env=dict(variables),
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


def free_port() -> int:
    """A TCP port that nothing uses on any address, and that nothing else is given meanwhile."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise AssertionError("no port is free")


@contextlib.contextmanager
def stranger(port: int, host: str = "127.0.0.1") -> Generator[list[str]]:
    """Another server, of this process, that says yes to everything; yields what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            pass

    with http.server.ThreadingHTTPServer((host, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


def certificate(folder: Path) -> tuple[str, str] | None:
    """A key and a certificate that nobody signed, or None where there is no openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    key, cert = str(folder / "key.pem"), str(folder / "cert.pem")
    subject = ["-subj", "/CN=elsewhere.invalid", "-days", "1", "-nodes"]
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-keyout", key, "-out", cert, *subject],
        check=True,
        capture_output=True,
    )
    return key, cert
