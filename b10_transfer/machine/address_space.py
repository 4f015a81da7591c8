"""The address space that this process may still use, if it is limited (`ulimit -v`)."""

from __future__ import annotations

import math
import sys

_SCARCE = 1 << 30
"""Each thread takes 72 MiB for its stack and its arena of glibc. When no further thread fits, a
pool of threads loses work and never ends, or native code ends the process."""


_LEAST = 64 << 20
"""With less, loads were seen to hang half-way, or native code to end the process."""


def is_scarce() -> bool:
    """Return whether there is too little address space for many threads."""
    return _left() < _SCARCE


def require_some() -> None:
    """Raise MemoryError when there is too little address space for any operation."""
    if _left() < _LEAST:
        raise MemoryError("too little address space is left")


def _left() -> float:
    """Return the bytes left; infinite without a limit, or when it is unknown."""
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
