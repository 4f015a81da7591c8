"""Since when this container runs, or without one this machine."""

from __future__ import annotations

import psutil

_FIRST = 1


def started_ns() -> int:
    """Return when the first process of this container or machine began, in ns since the epoch.

    Older files in a cache root came with the image, lie on a volume, or were made before a
    restart.

    Returns:
        0 where that cannot be found out.
    """
    try:
        return int(psutil.Process(_FIRST).create_time() * 1e9)
    except (OSError, psutil.Error, ValueError):
        return 0
