"""Find out who else can put files into a cache root."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from b10_store import ForeignLinkError, foreign_owner, open_folder
from b10_transfer.machine.checks import Missing

if TYPE_CHECKING:
    from b10_transfer.caches.roots import CacheRoot


def find_exposure(root: CacheRoot) -> Missing | None:
    """Return who else can put files into a cache root, and how to prevent it.

    Whoever can write there can run code in the process that uses the cache, and so can the owner of
    a link that leads there.

    Returns:
        None when nobody else can, or when it does not exist.
    """
    try:
        status = os.stat(root.folder)
    except OSError:
        return None
    return exposure_of(root, status) if stat.S_ISDIR(status.st_mode) else None


def exposure_of(root: CacheRoot, status: os.stat_result) -> Missing | None:
    """Return the same for a cache root with this status."""
    owner = foreign_owner(status)
    if owner is not None:
        return Missing(
            f"the cache root {root.folder} belongs to another user (uid {owner})",
            "chown it, or put the cache root elsewhere",
        )
    # The sticky bit keeps others from replacing a file, but not from adding one.
    if status.st_mode & stat.S_IWOTH:
        return Missing(f"the cache root {root.folder} can be written by every user", "chmod o-w it")
    # A user's own group has no other members.
    if status.st_mode & stat.S_IWGRP and status.st_gid != getattr(os, "getegid", lambda: -1)():
        return Missing(
            f"the cache root {root.folder} can be written by the group {status.st_gid}",
            "give each user a cache root of their own, or chmod g-w it",
        )
    return None


def find_planted_link(root: CacheRoot) -> Missing | None:
    """Return another user's link that leads to a cache root; its owner can redirect it."""
    try:
        open_folder(root.folder).close()
    except ForeignLinkError as error:
        return Missing(
            f"the cache root {root.folder} is not used: {error.strerror}",
            "remove the link, or put the cache root elsewhere",
        )
    except OSError:
        return None
    return None


def others_can_write(status: os.stat_result) -> str:
    """Return why a user other than this one and root can write to a folder or file, or ""."""
    owner = foreign_owner(status)
    if owner is not None:
        return f"belongs to uid {owner}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written by others (mode {stat.S_IMODE(status.st_mode):o})"
    return ""


def exposure(root: CacheRoot, status: os.stat_result | None = None) -> str | None:
    """Return the result of `find_exposure`, or of `exposure_of` for a status, as a clause."""
    lack = find_exposure(root) if status is None else exposure_of(root, status)
    if lack is None:
        return None
    # One pair of brackets for the whole explanation.
    if lack.fact.endswith(")"):
        return f"{lack.fact[:-1]}; {lack.advice})"
    return f"{lack.fact} ({lack.advice})"


def strict_exposure(root: CacheRoot) -> str | None:
    """Return the same, and also who can replace the cache root by another folder.

    Returns:
        None when nobody can: the folders above belong to this user or the system, and nobody else
        can write to them.
    """
    found = exposure(root)
    folder = os.path.realpath(root.folder)
    while found is None:
        found = _weakness(root, folder)
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    return found


def _weakness(root: CacheRoot, folder: str) -> str | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    reason = others_can_write(status)
    is_above = folder != os.path.realpath(root.folder)
    # In a folder with the sticky bit nobody can replace another user's file.
    if not reason or (is_above and status.st_mode & stat.S_ISVTX and foreign_owner(status) is None):
        return None
    subject = f"the cache root {root.folder}"
    if is_above:
        subject += f" lies in {folder}, which"
    return f"{subject} {reason}"
