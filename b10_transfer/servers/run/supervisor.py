"""The process around a command: it waits for signals, and starts and ends the helpers."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from b10_transfer.servers.run.processes import (
    Kinship,
    become,
    give_up_descriptors,
    start_command,
    start_helper,
)
from b10_transfer.servers.run.signals import FATAL, WATCHED, is_for_command
from b10_transfer.servers.run.tasks import END_OF_COMMAND, load, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from b10_transfer.servers.run.processes import Helper
    from b10_transfer.servers.run.run_options import RunOptions
    from b10_transfer.servers.run.signals import Inherited

_logger = logging.getLogger("b10_transfer")

_GRACE_SECONDS = 0.3
"""How long a load that is given up may take to remove what it staged."""

_LAST_WAIT_SECONDS = 0.2
"""How long to wait for a killed helper, to collect it; later the system does that."""

_SAME_REQUEST_SECONDS = 1.0
"""A second signal this soon after the command's end is not a new request: some callers send each
signal to a process and to its group."""


class Supervisor:
    """One command, from its load to its last save.

    While the command runs, this process writes nothing, not even to its log: a pipe that nobody
    reads would keep it from passing on signals.
    """

    def __init__(
        self, options: RunOptions, inherited: Inherited, variables: Mapping[str, str]
    ) -> None:
        """Do nothing yet; signals are blocked already.

        Args:
            options: what to do around the command.
            inherited: the signal settings to restore for the command.
            variables: the environment variables of the command.
        """
        self._options = options
        self._variables = variables
        self._inherited = inherited
        self._kinship = Kinship()
        self._helper: Helper | None = None
        self._command = -1
        self._status: int | None = None
        self._asked = False

    def run(self, program: str, command: Sequence[str]) -> int:
        """Load, run the command, save; return the exit code."""
        number = self._load() if self._options.load else None
        number = number or self._pending()
        if number:
            return 128 + number
        try:
            self._command = start_command(
                program, command, self._variables, self._inherited, self._kinship
            )
        except OSError as error:
            _say(logging.ERROR, f"nothing is saved, because no process can be started: {error}")
            self._inherited.restore()
            return become(program, command, self._variables)
        code = os.waitstatus_to_exitcode(self._accompany())
        code = code if code >= 0 else 128 - code
        self._finish(code)
        return code

    def _load(self) -> int | None:
        """Load within the time limit; return a signal that arrived meanwhile and asks to end."""
        helper = self._helper = self._start_helper(lambda _: load(self._options))
        if helper is None:
            return None
        number = None
        deadline = time.monotonic() + self._options.load_timeout
        while helper.status is None and number is None:
            info = self._wait(deadline)
            if info is None:
                break
            if self._inherited.would_end(info.si_signo):
                number = info.si_signo
        if helper.status is None:
            self._end(helper, _GRACE_SECONDS)
            if number is None:
                seconds = self._options.load_timeout
                _say(logging.ERROR, f"load: given up after {seconds:g} s; the command starts")
            else:
                _say_apart(f"load: ended by {signal.Signals(number).name}; nothing is started")
        elif os.WIFSIGNALED(helper.status):
            _say(logging.ERROR, f"load: its process {_how(helper.status)}; the command starts")
        helper.close()
        self._helper = None
        return number

    def _pending(self) -> int | None:
        """Return a signal that has arrived already and would have ended this process."""
        while (info := self._wait(0.0)) is not None:
            if self._inherited.would_end(info.si_signo):
                return info.si_signo
        return None

    def _accompany(self) -> int:
        """Pass on signals until the command ends; return its status."""
        with contextlib.suppress(OSError):
            give_up_descriptors()
        if self._options.save:
            command, options = self._command, self._options
            self._helper = self._start_helper(lambda control: watch(control, command, options))
        while self._status is None:
            info = self._wait(None)
            if info is not None:
                self._pass_on(info)
        return self._status

    def _pass_on(self, info: signal.struct_siginfo) -> None:
        self._asked = self._asked or info.si_signo in FATAL
        if is_for_command(info):
            # PermissionError: the command became another user.
            with contextlib.suppress(PermissionError):
                os.kill(self._command, info.si_signo)

    def _finish(self, code: int) -> None:
        """Let the helper save what is new, within the time limit."""
        helper = self._helper
        if helper is None:
            return
        started = time.monotonic()
        if self._options.save_timeout > 0:
            helper.tell(END_OF_COMMAND % (code, self._asked))
        while helper.status is None:
            info = self._wait(started + self._options.save_timeout)
            seconds = time.monotonic() - started
            is_impatient = info is not None and self._inherited.would_end(info.si_signo)
            if info is None or (is_impatient and seconds > _SAME_REQUEST_SECONDS):
                self._end(helper, 0.0)
                if self._options.save_timeout > 0:
                    _say(logging.WARNING, f"the last save was given up after {seconds:.1f} s")
                break
        else:
            if helper.status:
                _say(logging.ERROR, f"nothing more was saved: its process {_how(helper.status)}")
        helper.close()

    def _start_helper(self, task: Callable[[int], int]) -> Helper | None:
        try:
            return start_helper(task, self._kinship)
        except OSError as error:
            _say(
                logging.ERROR, f"the cache is not used, because no process can be started: {error}"
            )
            return None

    def _end(self, helper: Helper, grace: float) -> None:
        """End a helper, at once or after it could clean up; it may outlast this."""
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, _LAST_WAIT_SECONDS)):
            deadline = time.monotonic() + seconds
            if helper.status is None and seconds:
                os.kill(helper.pid, number)
            while helper.status is None and time.monotonic() < deadline:
                self._wait(deadline, {signal.SIGCHLD})

    def _wait(
        self, deadline: float | None, awaited: Collection[int] = WATCHED
    ) -> signal.struct_siginfo | None:
        """Return the next signal, or None at the deadline, after collecting children that ended."""
        info: signal.struct_siginfo | None
        if deadline is None:
            info = signal.sigwaitinfo(awaited)
        else:
            info = signal.sigtimedwait(awaited, max(0.0, deadline - time.monotonic()))
        if info is None or info.si_signo == signal.SIGCHLD:
            self._collect()
        return info

    def _collect(self) -> None:
        """Note the children that ended; as process 1, this process also gets those of others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._command:
                self._status = status
            elif self._helper is not None and pid == self._helper.pid:
                self._helper.status = status


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with {os.WEXITSTATUS(status)}"


def _say_apart(line: str) -> None:
    """Log a line; on a terminal, begin it on a new line."""
    with contextlib.suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\n")
    _say(logging.WARNING, line)


def _say(level: int, line: str) -> None:
    """Log a line, unless standard error is a pipe that is full."""
    try:
        _, ready, _ = select.select([], [2], [], 0)
    except OSError:
        return
    if ready:
        _logger.log(level, "%s", line)
