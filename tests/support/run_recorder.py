"""A command that notes what happens to it: started by path, with nothing but the standard library.

What it does is told by the environment variable RECORDER, a JSON object: `folder`, where it notes;
`compile`, a folder that it copies into the inductor root at its start; `later`, the same when the
file `go` turns up in its folder; `listen`, a port on which it answers 200; `ends`, whether SIGTERM
and SIGINT end it; `exit`, its exit code. The file `end` in its folder ends it.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import threading
import time

_LONGEST_LIFE = 600.0


class _Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class'
        """Be silent."""


def main() -> int:
    plan = json.loads(os.environ["RECORDER"])
    folder = plan["folder"]
    over = threading.Event()

    def note(number: int, _: object) -> None:
        with open(os.path.join(folder, "signals"), "a") as file:
            file.write(f"{signal.Signals(number).name} {time.monotonic()}\n")
        if plan.get("ends", True) and number in {signal.SIGTERM, signal.SIGINT}:
            over.set()

    for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH"):
        signal.signal(getattr(signal, f"SIG{name}"), note)

    def copy(source: str | None) -> None:
        if source:
            root = os.environ["TORCHINDUCTOR_CACHE_DIR"]
            shutil.copytree(source, root, dirs_exist_ok=True, copy_function=shutil.copyfile)

    copy(plan.get("compile"))
    if "listen" in plan:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", plan["listen"]), _Healthy)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(os.path.join(folder, "started.tmp"), "w") as file:
        file.write(str(os.getpid()))
    os.rename(os.path.join(folder, "started.tmp"), os.path.join(folder, "started"))
    deadline = time.monotonic() + _LONGEST_LIFE
    end = os.path.join(folder, "end")
    while not (over.wait(0.02) or os.path.exists(end) or time.monotonic() > deadline):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, "go"))
            copy(plan["later"])
    return int(plan.get("exit", 0))


if __name__ == "__main__":
    raise SystemExit(main())
