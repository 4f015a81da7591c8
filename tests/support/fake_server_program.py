"""A server that starts as vLLM or SGLang do, and compiles what it is given.

It is run under their names (see fake_servers.py), and needs nothing but the standard library. The
folder FAKE_GATES says what it may do: a file `ready` there lets it get ready, `later` lets it
compile more, `end` and `crash` end it. What it compiles are the trees `first.tree` and `later.tree`
in that folder; they go to its TORCHINDUCTOR_CACHE_DIR.
"""

from __future__ import annotations

import argparse
import http.server
import os
import shutil
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

_TICK = 0.02


def main() -> None:
    kind = "sglang" if "sglang" in sys.argv[0] else "vllm"
    options = _options(kind)
    gates = Path(os.environ["FAKE_GATES"])
    state = _State(kind, options.api_key or "", gates)
    bound = _bind(options)
    server = _serve_on(bound, state, options)
    (gates / "started.new").write_text(str(os.getpid()))
    (gates / "started.new").rename(gates / "started")
    if kind == "sglang":
        _listen(server)
    _wait_for(gates / "ready", gates)
    _compile(gates, "first")
    state.is_ready = True
    if kind == "vllm":
        _listen(server)
    _wait_for(gates / "later", gates)
    _compile(gates, "later")
    _wait_for(gates / "end", gates)


class _State:
    def __init__(self, kind: str, api_key: str, gates: Path) -> None:
        self.kind = kind
        self.api_key = api_key
        self.gates = gates
        self.is_ready = False


def _options(kind: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    for flag in ("--uds", "--config", "--ssl-keyfile", "--ssl-certfile", "--api-key"):
        parser.add_argument(flag)
    everywhere = "0.0.0.0"  # noqa: S104  # as vLLM does
    parser.add_argument("--host", default=everywhere if kind == "vllm" else "127.0.0.1")
    # What the configuration file says, in a form that this program need not parse.
    default_port = int(os.environ.get("FAKE_CONFIGURED_PORT", "0"))
    parser.add_argument("--port", type=int, default=default_port)
    return parser.parse_known_args()[0]


def _bind(options: argparse.Namespace) -> socket.socket:
    """Bind, and not yet listen, as vLLM does: who connects is refused."""
    if options.uds:
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(options.uds)
        return bound
    bound = socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((options.host, options.port))
    return bound


def _serve_on(
    bound: socket.socket, state: _State, options: argparse.Namespace
) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = _status(state, self.path, self.headers.get("Authorization"))
            with (state.gates / "requests").open("a") as log:
                log.write(f"{self.path} {status}\n")
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def address_string(self) -> str:
            return "client"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            pass

    server = http.server.ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    if options.ssl_keyfile:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.ssl_certfile, options.ssl_keyfile)
        bound = context.wrap_socket(bound, server_side=True)
    server.socket = bound
    return server


def _status(state: _State, path: str, authorization: str | None) -> int:
    if path.startswith("/v1/") and state.api_key and authorization != f"Bearer {state.api_key}":
        return 401
    if path == "/health" and state.kind == "sglang":
        if not state.is_ready:
            return 503
        # It generates a token first.
        (state.gates / "asked").touch()
        time.sleep(float(os.environ.get("FAKE_HEALTH_SECONDS", "0")))
    return 200 if path in {"/health", "/v1/models"} else 404


def _listen(server: http.server.ThreadingHTTPServer) -> None:
    server.socket.listen(16)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _wait_for(gate: Path, gates: Path) -> None:
    while True:
        # The end first: what was allowed before it is done before it.
        is_over = (gates / "end").exists()
        if gate.exists():
            return
        if is_over:
            sys.exit(0)
        if (gates / "crash").exists():
            os._exit(3)
        time.sleep(_TICK)


def _compile(gates: Path, name: str) -> None:
    tree = gates / f"{name}.tree"
    if tree.exists():
        shutil.copytree(tree, os.environ["TORCHINDUCTOR_CACHE_DIR"], dirs_exist_ok=True)
    (gates / f"{name}.done").touch()


main()
