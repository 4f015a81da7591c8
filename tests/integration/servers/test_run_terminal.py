"""A command under the cache in a terminal: keys, sizes, jobs and a terminal that goes away."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.cache_trees import compiled_graph
from tests.support.run_programs import RECORDER, Run, load_held_up, run_arguments, session_of
from tests.support.sites import Site

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from tests.support.sites import Host

_ATTACH = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
COMMAND = [sys.executable, "-I", "-S", RECORDER]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host whose store has something."""
    site = Site(tmp_path)
    site.host("earlier", compiled_graph("first")).save()
    return site.host("host")


class Terminal:
    """A terminal, seen from its keyboard and screen."""

    def __init__(self, master: int, run: Run) -> None:
        self.master = master
        self.run = run
        self.screen = b""

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def shows(self, text: bytes) -> bool:
        """Whether it was written to the screen until now."""
        with contextlib.suppress(OSError):
            while select.select([self.master], [], [], 0)[0]:
                self.screen += os.read(self.master, 4096)
        return text in self.screen

    def hang_up(self) -> None:
        """Go away."""
        os.close(self.master)
        self.master = -1


@contextlib.contextmanager
def in_a_terminal(host: Host, arguments: Sequence[str], code: int = 0) -> Generator[Terminal]:
    """Start a program as the first one of a terminal's session."""
    folder = host.folder / "recorder"
    folder.mkdir(parents=True)
    (folder / "log").touch()
    variables = host.variables(
        RECORDER=json.dumps({"folder": str(folder), "exit": code}), TERM="dumb"
    )
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", _ATTACH, *arguments],
        env=variables,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        os.close(slave)
        terminal = Terminal(master, Run(process, folder))
        try:
            yield terminal
        finally:
            for pid in session_of(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if terminal.master >= 0:
                os.close(terminal.master)


def signals(terminal: Terminal) -> list[str]:
    return [item.name for item in terminal.run.signals()]


def test_ctrl_c_reaches_the_command_once(host: Host) -> None:
    with in_a_terminal(host, run_arguments(COMMAND), code=4) as terminal:
        terminal.run.wait_for(lambda: terminal.run.is_started)
        terminal.type(b"\x1c")
        terminal.run.wait_for(lambda: signals(terminal))
        terminal.type(b"\x03")
        assert terminal.run.wait() == 4
        assert signals(terminal) == ["SIGQUIT", "SIGINT"]
        terminal.run.wait_for(lambda: not terminal.run.relatives())


def test_ctrl_c_during_the_load_starts_nothing(host: Host) -> None:
    with load_held_up(host), in_a_terminal(host, run_arguments(COMMAND)) as terminal:
        terminal.run.wait_for(lambda: len(terminal.run.relatives()) == 1)
        time.sleep(0.3)
        terminal.type(b"\x03")
        assert terminal.run.wait() == 130
        assert not terminal.run.is_started


def test_a_change_of_size_reaches_the_command_once(host: Host) -> None:
    with in_a_terminal(host, run_arguments(COMMAND)) as terminal:
        terminal.run.wait_for(lambda: terminal.run.is_started)
        terminal.resize(30, 90)
        terminal.run.wait_for(lambda: signals(terminal))
        time.sleep(0.1)
        assert signals(terminal) == ["SIGWINCH"]


def test_a_terminal_that_goes_away_tells_the_command(host: Host) -> None:
    with in_a_terminal(host, run_arguments(COMMAND)) as terminal:
        terminal.run.wait_for(lambda: terminal.run.is_started)
        terminal.hang_up()
        terminal.run.wait_for(lambda: signals(terminal))
        assert signals(terminal) == ["SIGHUP"]


def test_the_command_reads_from_the_terminal(host: Host) -> None:
    command = ["sh", "-c", 'read line && echo "got $line"']
    with in_a_terminal(host, run_arguments(command)) as terminal:
        terminal.type(b"a line\n")
        terminal.run.wait_for(lambda: terminal.shows(b"got a line"))
        assert terminal.run.wait() == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_shell_stops_the_job_and_goes_on_with_it(host: Host) -> None:
    with in_a_terminal(host, ["bash", "--norc", "--noprofile", "-i"], code=6) as terminal:
        run = terminal.run
        line = " ".join(f"'{word}'" for word in COMMAND)
        options = run_arguments([])
        script = host.folder / "program.py"
        script.write_text(options[2])
        terminal.type(f"'{sys.executable}' '{script}' '{{}}' {line}; echo code=$?\n".encode())
        run.wait_for(lambda: run.is_started)
        terminal.type(b"\x1a")
        run.wait_for(lambda: state_of(run.command) == "T")
        run.wait_for(lambda: terminal.shows(b"Stopped"))
        terminal.type(b"fg\n")
        run.wait_for(lambda: state_of(run.command) != "T")
        time.sleep(0.2)
        terminal.type(b"\x03")
        run.wait_for(lambda: signals(terminal))
        terminal.type(b"echo after=$?.\n")
        run.wait_for(lambda: terminal.shows(b"after=6."))
        assert signals(terminal) == ["SIGINT"]
        terminal.type(b"exit\n")
        run.wait()


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
