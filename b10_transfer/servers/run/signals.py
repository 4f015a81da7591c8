"""Signals of a process that runs a command: which are passed on, and which end it."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

if sys.platform != "linux":
    raise ImportError("signals can be waited for only on Linux")

FATAL = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Signals that ask a process to end."""

_LEFT_ALONE = frozenset(
    {
        # Nobody can block or handle these.
        *(signal.SIGKILL, signal.SIGSTOP),
        # Faults of this process itself, and limits that it exceeds.
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP),
        *(signal.SIGSYS, signal.SIGXCPU, signal.SIGXFSZ),
        # The terminal stops the whole process group, and a shell considers a job stopped when its
        # first process is stopped. So this process keeps the default action.
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
    """The signal settings that this process began with, which the command must find unchanged.

    Attributes:
        mask: the signals that were blocked.
        ignored: the signals that were ignored, by `nohup` or by a shell that starts a background
            job.
    """

    mask: AbstractSet[int]
    ignored: AbstractSet[int]

    @classmethod
    def take(cls) -> Inherited:
        """Block the signals: from now on none is lost, and none ends this process.

        Blocked signals are taken one by one, where the program waits for them. Handlers would run
        between any two instructions, and Python runs its handlers late.
        """
        every = signal.valid_signals()
        ignored = {item for item in every if signal.getsignal(item) == signal.SIG_IGN}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        # If it is ignored, children leave no status.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return cls(frozenset(mask), frozenset(ignored - _MADE_BY_PYTHON))

    def restore(self) -> None:
        """Called in a new process that will become the command: restore all settings.

        Handlers come first, so that a signal sent meanwhile acts as it would on the command itself.
        """
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            is_ignored = number in self.ignored
            signal.signal(number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def would_end(self, number: int) -> bool:
        """Return whether this signal would have ended a process that does not handle it."""
        return number not in _HARMLESS and number not in self.ignored


def ignore_all() -> None:
    """Called in a helper: ignore Ctrl-C and other signals that the process group gets."""
    for number in WATCHED - {signal.SIGCHLD}:
        signal.signal(number, signal.SIG_IGN)
    # It may write to the terminal although another job has it.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def is_for_command(info: signal.struct_siginfo) -> bool:
    """Return whether a signal that this process got has to be sent on to the command.

    The command is in our process group, so Ctrl-C and the like have reached it already, and a
    second one makes many servers drop their connections. A signal that another process sent may
    have been for this process alone or for the whole group. Nobody can tell, so it is sent on; in
    the second case the command gets it twice.
    """
    if info.si_signo == signal.SIGCHLD:
        return False
    if info.si_code != _SI_KERNEL:
        return True
    if info.si_signo == signal.SIGHUP:
        # When a terminal goes away, the kernel tells only the leader of its session; when that
        # leader ends, it tells the foreground process group (drivers/tty/tty_jobctrl.c).
        return os.getsid(0) == os.getpid()
    return info.si_signo not in _FROM_TERMINAL
