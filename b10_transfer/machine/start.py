"""Since when this container runs, or without one this machine."""

from __future__ import annotations

import psutil

_FIRST = 1


def started_ns() -> int:
    """When the first process of this container, or of this machine, began; ns since the epoch.

    What has been in a cache root for longer came with the image, lies on a volume, or was made
    before a restart.

    Returns:
        0 where that cannot be found out.
    """
    try:
        return int(psutil.Process(_FIRST).create_time() * 1e9)
    except (OSError, psutil.Error, ValueError):
        return 0
