"""Commands under `run`, in processes of their own, and what is left of them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from b10_store.format.names import parse_manifest_name
from b10_store.manifests.reader import ManifestReader
from b10_store.remote.folder import FolderRemote
from b10_transfer.operations import upkeep
from tests.support.cache_trees import compiled_graph, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from tests.support.sites import Host

_SECONDS = 300.0

# KeyboardInterrupt, Python's own answer to SIGINT, can be lost in the middle of an import.
_MAIN = """
import signal
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
import json, logging, sys
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
from b10_transfer.servers.run.command import run
from b10_transfer.servers.run.run_options import RunOptions
sys.exit(run(sys.argv[2:], RunOptions(**json.loads(sys.argv[1]))))
"""

RECORDER = str(Path(__file__).with_name("run_recorder.py"))


def run_arguments(command: Sequence[str], **options: object) -> list[str]:
    """The command line that runs a command under the cache."""
    return [sys.executable, "-c", _MAIN, json.dumps(options), *command]


def run_to_the_end(
    command: Sequence[str],
    variables: Mapping[str, str],
    *,
    stdin: bytes = b"",
    before: Sequence[str] = (),
    **options: object,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command under the cache, with `before` before that; it must end in time."""
    return subprocess.run(
        [*before, *run_arguments(command, **options)],
        env=dict(variables),
        input=stdin,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )


class Recorded(NamedTuple):
    """A signal that reached the command: which, and when by time.monotonic()."""

    name: str
    at: float


class Run:
    """The recorder under the cache, in a session of its own."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self.process.pid

    @property
    def is_started(self) -> bool:
        """Whether the command runs, its handlers in place."""
        return (self.folder / "started").exists()

    @property
    def command(self) -> int:
        """The command's process id."""
        return int((self.folder / "started").read_text())

    @property
    def log(self) -> str:
        """What was logged until now."""
        return (self.folder / "log").read_text()

    def signals(self) -> list[Recorded]:
        """What reached the command, in order."""
        file = self.folder / "signals"
        lines = file.read_text().splitlines() if file.exists() else []
        return [Recorded(name, float(at)) for name, at in map(str.split, lines)]

    def end(self) -> None:
        """Let the command end."""
        (self.folder / "end").touch()

    def wait_for_log(self, text: str) -> None:
        """Wait until something was logged."""
        self.wait_for(lambda: text in self.log)

    def wait_for_signals(self, count: int) -> None:
        """Wait until so many have reached the command."""
        self.wait_for(lambda: len(self.signals()) >= count)

    def send(self, number: int) -> float:
        """Send a signal to the process that was started, and to no other; returns when."""
        at = time.monotonic()
        os.kill(self.pid, number)
        return at

    def wait_for(self, condition: Callable[[], object], seconds: float = _SECONDS) -> None:
        """Wait until something has come about."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it never happened; log: {self.log}"
            time.sleep(0.002)

    def wait(self, seconds: float = _SECONDS) -> int:
        """Wait for the end; returns the exit code as a shell shows it."""
        code = self.process.wait(seconds)
        return code if code >= 0 else 128 - code

    def relatives(self) -> list[int]:
        """The living processes that came of this one, whoever their parent is now."""
        return [pid for pid in session_of(self.pid) if pid != self.pid]


@contextlib.contextmanager
def started_run(
    host: Host,
    plan: Mapping[str, Any] | None = None,
    *,
    program: Sequence[str] = (sys.executable, "-I", "-S", RECORDER),
    variables: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
    **options: object,
) -> Generator[Run]:
    """Start the recorder under the cache; everything is killed at the end."""
    folder = host.folder / "recorder"
    folder.mkdir(parents=True)
    told = {
        **(variables or host.variables()),
        "RECORDER": json.dumps({"folder": str(folder), **(plan or {})}),
    }
    with (
        open(folder / "log", "wb") as log,
        subprocess.Popen(
            [*before, *run_arguments(program, **options)],
            env=told,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        this = Run(process, folder)
        try:
            yield this
        finally:
            for pid in session_of(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def load_held_up(host: Host) -> Generator[None]:
    """Another load of this host is at work, so that one waits for it for ten seconds."""
    own = host.root / ".b10_transfer"
    own.mkdir(parents=True)
    with open(own / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def a_vllm(folder: Path, port: int) -> list[str]:
    """The recorder as a program that looks like vLLM's server."""
    program = folder / "vllm"
    program.write_text(Path(RECORDER).read_text())
    return [sys.executable, "-I", "-S", str(program), "serve", "--port", str(port)]


def session_of(leader: int) -> list[int]:
    """The living processes of a session."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                text = Path("/proc", name, "stat").read_text()
                state, _, _, session = text.rpartition(")")[2].split()[:4]
                if int(session) == leader and state not in {"Z", "X"}:
                    found.append(int(name))
    return found


def graphs(folder: Path, name: str, count: int = 3) -> str:
    """A folder with what a compiler would leave, for the recorder; returns its path."""
    for number in range(count):
        write_tree(folder / name, compiled_graph(f"{name} {number}"))
    return str(folder / name)


def manifests(host: Host) -> list[str]:
    """The store's manifests; each is read and verified, and so is all that it references."""
    report = upkeep.check(host.settings(), read_data=True)
    assert not report.faults
    folder = host.store / "manifests"
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    reader = ManifestReader(FolderRemote(str(host.store)), str(host.work), ())
    for name in names:
        snapshot = parse_manifest_name(name)
        assert snapshot is not None, name
        reader.read(snapshot)
    return names
