"""Signals of a process that stands before another one: which are passed on, and which end it."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

if sys.platform != "linux":
    raise ImportError("signals are waited for as Linux does it")

FATAL = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Asking for the end."""

_LEFT_ALONE = frozenset(
    {
        # Nobody can.
        *(signal.SIGKILL, signal.SIGSTOP),
        # Faults of this process itself, and limits that it exceeds.
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP),
        *(signal.SIGSYS, signal.SIGXCPU, signal.SIGXFSZ),
        # The terminal stops the whole process group, and a shell takes a job for stopped when its
        # first process is: stopping, as anybody does, is all there is to do.
        *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    }
)
WATCHED = frozenset(signal.valid_signals()) - _LEFT_ALONE
"""The signals that are waited for instead of being handled."""

_HARMLESS = frozenset({signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH})
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH})
_SI_KERNEL = 0x80  # asm-generic/siginfo.h: sent by the kernel itself, not by a process
_MADE_BY_PYTHON = frozenset({signal.SIGPIPE, signal.SIGXFSZ})  # Python ignores them at its start


@dataclass(frozen=True, slots=True)
class Inherited:
    """How signals were set when this process began, which is how the command must find them.

    Attributes:
        mask: what was blocked.
        ignored: what was ignored, as `nohup` and shells that start a job in the background do.
    """

    mask: AbstractSet[int]
    ignored: AbstractSet[int]

    @classmethod
    def take(cls) -> Inherited:
        """Begin to hold back the signals: from now on none is lost, and none ends this process.

        Held back and waited for, they come one by one, where the program expects them; handlers
        would run between any two instructions, and Python's own come late.
        """
        every = signal.valid_signals()
        ignored = {item for item in every if signal.getsignal(item) == signal.SIG_IGN}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        # Where it is ignored, children leave no status.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return cls(frozenset(mask), frozenset(ignored - _MADE_BY_PYTHON))

    def restore(self) -> None:
        """In a new process that will become the command: set everything as it was.

        Handlers first: what was sent meanwhile then does what it would do to the command itself.
        """
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            is_ignored = number in self.ignored
            signal.signal(number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def would_end(self, number: int) -> bool:
        """Whether a process that did nothing about this signal would have ended by it."""
        return number not in _HARMLESS and number not in self.ignored


def ignore_all() -> None:
    """In a helper: the terminal's Ctrl-C, and signals to the process group, are not for it."""
    for number in WATCHED - {signal.SIGCHLD}:
        signal.signal(number, signal.SIG_IGN)
    # It may write to the terminal although another job has it.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def is_for_command(info: signal.struct_siginfo) -> bool:
    """Whether a signal that this process got has to be sent on to the command.

    The command is in our process group, so Ctrl-C and the like have reached it already: a second
    one makes many servers drop their connections. A signal that a process sent was for this process
    alone, or for the whole group, which nobody can tell; then the command gets it twice.
    """
    if info.si_signo == signal.SIGCHLD:
        return False
    if info.si_code != _SI_KERNEL:
        return True
    if info.si_signo == signal.SIGHUP:
        # When a terminal goes away, the kernel tells the leader of its session alone; when that
        # leader ends, the process group in the foreground (drivers/tty/tty_jobctrl.c).
        return os.getsid(0) == os.getpid()
    return info.si_signo not in _FROM_TERMINAL
