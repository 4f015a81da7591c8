"""How much address space this process may still use, where that is limited (`ulimit -v`)."""

from __future__ import annotations

import math
import sys

_SCARCE = 1 << 30
"""Each thread has a stack and an arena of glibc: 72 MiB. Where no further one fits, a pool of
threads loses work and is waited for without end, and native code ends the process."""


_LEAST = 64 << 20
"""With less, loads were seen to stop half-way without end, or native code to end the process."""


def is_scarce() -> bool:
    """Return whether there is too little of it for many threads."""
    return _left() < _SCARCE


def require_some() -> None:
    """Raise MemoryError where there is too little of it for any operation."""
    if _left() < _LEAST:
        raise MemoryError("too little address space is left")


def _left() -> float:
    """Bytes; infinite where there is no limit, or none can be told."""
    if sys.platform == "win32":
        return math.inf
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return math.inf
    import psutil  # late: it takes long, and few processes have a limit

    try:
        return limit - psutil.Process().memory_info().vms
    except (psutil.Error, OSError):
        return math.inf
