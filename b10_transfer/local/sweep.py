"""Remove the leftovers of killed processes from our own folder in a cache root."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from b10_store import RECORD_FOLDER, STAGING_PREFIX, open_folder, remove_tree
from b10_transfer.local.record import TEMPORARY_SUFFIX

if TYPE_CHECKING:
    from b10_store import OpenFolder

CLEARED_PREFIX = "cleared-"
"""The beginning of the name of the folder to which a clear moves files."""


def has_leftovers(folder: str) -> bool:
    """Return whether there is something to sweep, or another process works in the cache root."""
    with contextlib.suppress(OSError), _own_folder(folder) as own:
        return bool(_leftovers(own))
    return False


def sweep(folder: str) -> None:
    """Remove the leftovers of killed loads, saves and clears. The caller holds the root's lock.

    A running save does not hold it: at worst its record is lost, and the next one hashes again.
    """
    with contextlib.suppress(OSError), _own_folder(folder) as own:
        for name in _leftovers(own):
            remove_tree(own, name)


def _own_folder(folder: str) -> OpenFolder:
    with open_folder(folder) as root:
        return root.enter_child(RECORD_FOLDER)


def _leftovers(own: OpenFolder) -> list[str]:
    names = [item.name for item in own.entries()]
    prefixes = (STAGING_PREFIX, CLEARED_PREFIX)
    return [name for name in names if name.startswith(prefixes) or name.endswith(TEMPORARY_SUFFIX)]
