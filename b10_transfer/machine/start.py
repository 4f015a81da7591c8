"""The start time of this container, or of this machine without a container."""

from __future__ import annotations

import os
import sys

_FIRST = 1
_START_TIME = 19
"""The field of /proc/<pid>/stat, counted after the name of the program (man 5 proc)."""


def started_ns() -> int:
    """Return when the first process of this container or machine started, in ns since the epoch.

    Older files in a cache root came with the image, are on a volume, or were made before a restart.

    Returns:
        0 when that cannot be found out.
    """
    try:
        if sys.platform != "linux":
            return _asked_started_ns()
        with open(f"/proc/{_FIRST}/stat", "rb") as first, open("/proc/stat", "rb") as machine:
            ticks = int(first.read().rpartition(b")")[2].split()[_START_TIME])
            boot = next(int(line.split()[1]) for line in machine if line.startswith(b"btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0
    return boot * 10**9 + ticks * 10**9 // os.sysconf("SC_CLK_TCK")


def _asked_started_ns() -> int:
    import psutil

    try:
        return int(psutil.Process(_FIRST).create_time() * 1e9)
    except psutil.Error as error:
        raise OSError(str(error)) from error
