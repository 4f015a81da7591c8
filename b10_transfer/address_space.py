"""How much address space this process may still use, where that is limited (`ulimit -v`)."""

from __future__ import annotations

import sys

_SCARCE = 1 << 30
"""Each thread has a stack and, of glibc, an arena: 72 MiB. Where one cannot be had any more, a pool
of threads loses work and is waited for without end, and native code ends the process."""


def is_scarce() -> bool:
    """Whether there is too little of it for many threads."""
    if sys.platform == "win32":
        return False
    import resource

    import psutil

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return False
    return limit - psutil.Process().memory_info().vms < _SCARCE
