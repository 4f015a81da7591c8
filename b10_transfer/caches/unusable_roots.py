"""Find why a cache root cannot be written, and the way out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from b10_store import RECORD_FOLDER
from b10_transfer.caches.folders import VARIABLES
from b10_transfer.machine.checks import Missing, existing_folder
from b10_transfer.own_user import own_uid

if TYPE_CHECKING:
    from b10_transfer.caches.roots import CacheRoot


def placing_variable(root: CacheRoot) -> str:
    """Return the environment variable that moves a cache root to another folder."""
    return VARIABLES.get(root.name, ("B10_CACHE_ROOTS",))[0]


def find_obstacle(root: CacheRoot) -> Missing | None:
    """Return what keeps this user from writing to a cache root, which need not exist yet."""
    return _dangling(root) or _shared(root) or _unwritable(root)


def describe_failure(root: CacheRoot, error: OSError) -> str:
    """Return a line about a cache root that could not be written."""
    obstacle = find_obstacle(root)
    if obstacle is not None:
        return f"{obstacle.fact} ({error.strerror}): {obstacle.advice}"
    at = f" ({error.filename})" if error.filename else ""
    return f"the cache root {root.folder} cannot be written: {error.strerror}{at}"


def _dangling(root: CacheRoot) -> Missing | None:
    if not os.path.islink(root.folder) or os.path.exists(root.folder):
        return None
    return Missing(
        f"the cache root {root.folder} is a link to {os.readlink(root.folder)}, which does not "
        "exist",
        "create that folder, or remove the link",
    )


def other_user(root: CacheRoot) -> int | None:
    """Return another user who loads into a cache root, which only one user can; None for root."""
    try:
        owner = os.lstat(os.path.join(root.folder, RECORD_FOLDER)).st_uid
    except OSError:
        return None
    return None if own_uid() in (None, 0, owner) else owner


def _shared(root: CacheRoot) -> Missing | None:
    owner = other_user(root)
    if owner is None:
        return None
    return Missing(
        f"the cache root {root.folder} is used by another user (uid {owner}), whose "
        f"{RECORD_FOLDER} is in it",
        f"give each user a cache root of their own: set {placing_variable(root)}",
    )


def _unwritable(root: CacheRoot) -> Missing | None:
    there = existing_folder(root.folder)
    if os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return None
    where = "" if there == root.folder else f", as it would be made in {there}"
    return Missing(
        f"the cache root {root.folder} cannot be written by this user{where}",
        f"set {placing_variable(root)} to a writable folder, chown it, or mount it writable",
    )
