"""What killed processes leave in a cache root's own folder, and how it goes away."""

from __future__ import annotations

import contextlib
import os
import shutil

from b10_store.materialize import STAGING_PREFIX
from b10_store.paths import RECORD_FOLDER
from b10_transfer.local_clear import CLEARED_PREFIX
from b10_transfer.local_record import TEMPORARY_SUFFIX


def has_leftovers(folder: str) -> bool:
    """Whether there is something to sweep, or another process is at work in the cache root."""
    return bool(_leftovers(folder))


def sweep(folder: str) -> None:
    """Remove what killed loads, saves and clears left. The caller holds the root's lock.

    A save at work does not hold it: at worst its record is lost, and it hashes once more.
    """
    for location in _leftovers(folder):
        if os.path.isdir(location):
            shutil.rmtree(location, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(location)


def _leftovers(folder: str) -> list[str]:
    own = os.path.join(folder, RECORD_FOLDER)
    try:
        names = os.listdir(own)
    except OSError:
        return []
    return [
        os.path.join(own, name)
        for name in names
        if name.startswith((STAGING_PREFIX, CLEARED_PREFIX)) or name.endswith(TEMPORARY_SUFFIX)
    ]
