"""Start the command and the helpers beside it, so that none of them outlives this process."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_transfer.operations.refusals import refusal
from b10_transfer.servers.run.signals import ignore_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from b10_transfer.servers.run.signals import Inherited

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes, as shells use them."""

_logger = logging.getLogger("b10_transfer")

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_FIRST_TO_GO = "1000"
_DESCRIPTORS_WITHOUT_PROC = 1024
_COERCED = frozenset({"C.UTF-8", "C.utf8", "UTF-8"})


class CannotStartError(Exception):
    """There is no such command, or it cannot be executed."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Keep the exit code that shells use for it."""
        super().__init__(message)
        self.exit_code = exit_code


def find_program(name: str, variables: Mapping[str, str]) -> str:
    """Return the file that a command's first word names, found as execvp(3) finds it.

    Raises:
        CannotStartError: there is none, or it cannot be executed.
    """
    found = ""
    folders = [""] if "/" in name else os.get_exec_path(variables)
    for folder in folders if name else ():
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
        if os.path.exists(path) and (folder == "" or os.path.isfile(path)):
            found = found or path
    if found:
        raise CannotStartError(f"{found}: permission denied, or not a program", NOT_EXECUTABLE)
    raise CannotStartError(f"{name}: command not found", NOT_FOUND)


def variables_of_caller() -> dict[str, str]:
    """Return this process' environment variables, without the one that Python sets at its start.

    In the C locale Python sets LC_CTYPE, also for its children (PEP 538).
    """
    variables = dict(os.environ)
    if variables.get("LC_CTYPE") in _COERCED:
        with contextlib.suppress(OSError), open("/proc/self/environ", "rb") as file:
            if not any(item.startswith(b"LC_CTYPE=") for item in file.read().split(b"\0")):
                del variables["LC_CTYPE"]
    return variables


@dataclass(slots=True)
class Kinship:
    """The tie of new processes to this one: when it is killed, so are they.

    The kernel kills them (prctl(2), PR_SET_PDEATHSIG) when the *thread* that forked ends, so that
    has to be the main thread. The tie does not hold for programs with set-user-id or file
    capabilities, nor for the command's own children, which live on as if the command itself had
    been killed.
    """

    parent: int = field(default_factory=os.getpid)
    _prctl: Callable[..., int] | None = None

    def __post_init__(self) -> None:
        """Find prctl before the first fork."""
        # ImportError: a Python without ctypes.
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            self._prctl = ctypes.CDLL(None).prctl

    def die_with_parent(self) -> None:
        """Called in a new process: end it when its parent is killed, or was killed already."""
        if self._prctl is not None:
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self.parent:
            os._exit(1)

    def go_first(self) -> None:
        """Called in a helper: be the first that the kernel ends when memory is short.

        A process whose memory is guarded may not write its own score, so the guard is lifted for
        that.
        """
        guarded = self._prctl is not None and self._prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
        self._set_dumpable(guarded, 1)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(_FIRST_TO_GO)
        self._set_dumpable(guarded, 0)

    def _set_dumpable(self, guarded: bool, value: int) -> None:
        if guarded and self._prctl is not None:
            self._prctl(_PR_SET_DUMPABLE, value, 0, 0, 0)


def start_command(
    program: str,
    command: Sequence[str],
    variables: Mapping[str, str],
    inherited: Inherited,
    kinship: Kinship,
) -> int:
    """Start the command as if the user had started it directly, and return its process id.

    It has the same descriptors, working folder, process group, session and terminal. If it cannot
    be executed, the new process logs the reason and ends with its exit code.

    Raises:
        OSError: there can be no new process.
    """
    pid = os.fork()
    if pid:
        return pid
    code = NOT_EXECUTABLE
    try:
        kinship.die_with_parent()
        inherited.restore()
        code = become(program, command, variables)
    finally:
        os._exit(code)


def become(program: str, command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Become the command; log why and return an exit code if it cannot be executed."""
    try:
        _execute(program, command, variables)
    except OSError as error:
        _logger.error("%s: %s", program, error.strerror)  # noqa: TRY400  # as a shell says it
        return NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE
    return 0


def _execute(program: str, command: Sequence[str], variables: Mapping[str, str]) -> None:
    try:
        os.execve(program, list(command), variables)  # noqa: S606  # the user's own command
    except OSError as error:
        if error.errno != errno.ENOEXEC or not _is_text(program):
            raise
        # A script without an interpreter line is run by the shell, as execvp(3) does.
        os.execve("/bin/sh", ["sh", program, *command[1:]], variables)  # noqa: S606  # as above


def _is_text(program: str) -> bool:
    with open(program, "rb") as file:
        return b"\0" not in file.read(128)


@dataclass(slots=True)
class Helper:
    """A process of our own beside the command.

    Attributes:
        pid: its process id.
        status: how it ended, as os.waitpid() returns it; None while it runs.
    """

    pid: int
    status: int | None = None
    _control: int = -1

    def tell(self, line: bytes) -> None:
        """Send it a short line."""
        with contextlib.suppress(OSError):
            os.write(self._control, line)

    def close(self) -> None:
        """Close the line to it."""
        os.close(self._control)


def start_helper(task: Callable[[int], int], kinship: Kinship) -> Helper:
    """Run a task in a process of its own, which can be killed when it hangs.

    A fork is enough, since this process has one thread, and it is fast. The helper ignores signals
    (the task may decide otherwise), does not touch the command's input and output, and is the first
    that the kernel ends when memory is short.

    Args:
        task: given a descriptor, from which it reads the lines of `Helper.tell`, and end of file
            when this process ends; returns an exit code.
        kinship: the tie to this process.

    Raises:
        OSError: there can be no new process.
    """
    reading, writing = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if pid:
        os.close(reading)
        return Helper(pid, _control=writing)
    code = 1
    try:
        kinship.die_with_parent()
        os.close(writing)
        ignore_all()
        give_up_descriptors()
        kinship.go_first()
        code = task(reading)
    except Exception as error:
        reason = refusal(error)
        _logger.error(  # noqa: TRY400  # the traceback is there where nobody foresaw it
            "the cache is not used: %s",
            reason or "please report this",
            exc_info=None if reason else error,
        )
    finally:
        # Threads are not waited for: one of them may be stuck forever.
        os._exit(code)


def give_up_descriptors() -> None:
    """Close the descriptors that belong to the command, so that its pipes end with it.

    Those are its input and output, and all that the caller left open for it: descriptors that
    Python opens are not inherited (PEP 446). Standard error is kept for the log.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number, inheritable=False)
    if null > 1:
        os.close(null)
    for number in _open_descriptors():
        with contextlib.suppress(OSError):
            if number > 2 and os.get_inheritable(number):
                os.close(number)


def _open_descriptors() -> Sequence[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return range(_DESCRIPTORS_WITHOUT_PROC)
