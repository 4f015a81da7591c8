"""Emptying a cache root of this host."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from typing import TYPE_CHECKING

from b10_store.paths import RECORD_FOLDER
from b10_transfer.artifacts import find_files, placing_order
from b10_transfer.local_lock import lock_root

if TYPE_CHECKING:
    from b10_transfer.cache_roots import CacheRoot

CLEARED_PREFIX = "cleared-"
"""Begins the name of the folder that a clear moves everything to."""

_LOCK_SECONDS = 60.0


def clear_root(root: CacheRoot) -> None:
    """Remove everything in a cache root, our own records included, and the root itself.

    Of a root that is more than a cache, only the folders with caches go, and of a folder of the
    user's own only the artifacts. Each top-level item is
    renamed away as a whole, in the opposite order of a load, before anything is removed: a process
    that is killed meanwhile leaves no entry without its parts and no file cut short, and the next
    load or clear removes what it renamed.

    Raises:
        OSError: something could not be removed.
    """
    folder = root.folder
    if not os.path.isdir(folder):
        return
    with lock_root(folder, _LOCK_SECONDS) as held:
        if held is False:
            raise OSError(f"{folder} is in use by a load of this host")
        if root.kind.is_users:
            _remove_artifacts(root)
            shutil.rmtree(os.path.join(folder, RECORD_FOLDER))
            _remove_if_empty(folder)
            return
        doomed = os.path.join(folder, RECORD_FOLDER, CLEARED_PREFIX + secrets.token_hex(8))
        os.mkdir(doomed)
        names = [name for name in os.listdir(folder) if name != RECORD_FOLDER]
        paths = sorted(
            root.kind.within or names, key=lambda path: placing_order(path + "/"), reverse=True
        )
        for number, path in enumerate(paths):
            # What vanishes meanwhile was a compiler's temporary file.
            with contextlib.suppress(FileNotFoundError):
                os.rename(os.path.join(folder, path), os.path.join(doomed, str(number)))
        shutil.rmtree(doomed)
        shutil.rmtree(os.path.join(folder, RECORD_FOLDER))
    _remove_if_empty(folder)


def _remove_artifacts(root: CacheRoot) -> None:
    """Remove the artifacts, and the folders that are empty then; all else is the user's."""
    for item in find_files(root):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(item.location)
        above = os.path.dirname(item.location)
        while above != root.folder and _remove_if_empty(above):
            above = os.path.dirname(above)


def _remove_if_empty(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except OSError:
        return False
    return True
