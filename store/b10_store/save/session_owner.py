"""The process of a session, noted in its token, so that its death shows on the same machine.

It only decides whether others wait for a session. A wrong answer means that two savers upload the
same: garbage collection only looks at a token's last sign of life.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from b10_store.digest import digest_of

MARK_LIMIT = 256
"""The most bytes of a mark."""

_MARK = re.compile(
    rb"b10-transfer session, machine ([0-9a-f]{32}), process ([1-9][0-9]{0,9}), "
    rb"started ([0-9]{1,20})\n"
)

_ENDED = "ZX"
"""The states of processes that have ended, but whose parent has not collected them."""

_NAMES_NONE = b"b10-transfer session\n"


class _Process(NamedTuple):
    """The system's answer about a process: its state, a letter, and its start, in ticks."""

    state: str
    started: int


def own_mark() -> bytes:
    """Return the mark of this process; it names none if the system does not tell enough."""
    machine, process = _machine(), _look_up(os.getpid())
    if not machine or process is None:
        return _NAMES_NONE
    return (
        f"b10-transfer session, machine {machine}, process {os.getpid()}, "
        f"started {process.started}\n"
    ).encode()


def is_gone(mark: bytes) -> bool:
    """Return whether a mark names a process that ran on this machine and has ended.

    False when that cannot be told: on another machine, and in another container, which has its own
    process ids.
    """
    match = _MARK.fullmatch(mark)
    if match is None or match[1].decode() != _machine():
        return False
    process = _look_up(int(match[2]))
    if process is None:
        return not _exists(int(match[2]))
    return process.state in _ENDED or process.started != int(match[3])


def _exists(number: int) -> bool:
    """Return whether a process exists, even one that /proc hides from other users."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _machine() -> str:
    """Return this boot and namespace, in which process ids are unique; "" if unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return digest_of(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode())[:32]
    except (OSError, ValueError):
        return ""


def _look_up(number: int) -> _Process | None:
    try:
        with open(f"/proc/{number}/stat", encoding="utf-8", errors="replace") as file:
            # The name of the program comes first, in parentheses, and may hold anything.
            fields = file.read().rpartition(")")[2].split()
        return _Process(fields[0], int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None
