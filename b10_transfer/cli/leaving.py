"""End a program whose threads may hang."""

from __future__ import annotations

import contextlib
import os
import sys
import threading


def leave_unfinished(code: int) -> None:
    """End this process at once, if an operation that was given up still runs.

    The interpreter's shutdown would wait for threads that hang on a slow or dead mount. Nothing
    half-made is left behind except files that the next load of this host removes.
    """
    if not is_anything_unfinished():
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def is_anything_unfinished() -> bool:
    """Return whether a thread of ours still runs."""
    return any(item.name.startswith("b10-") for item in threading.enumerate())
