"""Refuse folders of the system, of a user or of a project as cache roots."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from b10_transfer.paths import is_below

if TYPE_CHECKING:
    from b10_transfer.caches.roots import CacheRoot

_OTHERS = frozenset({"/media", "/mnt", "/opt", "/srv"})
"""Folders in which systems and users keep whole trees."""

_HOMES = frozenset({"/home", "/Users"})
_REPOSITORIES = (".git", ".hg", ".svn")


def find_misplacement(root: CacheRoot) -> str | None:
    """Return what a root's folder is, if it must not be a cache; None if it may be.

    A compiler's cache may be a folder directly below `/` that was made for it. In a user's own root
    everything is saved, so it must not be a folder that probably holds other things.
    """
    folder = os.path.realpath(root.folder)
    if folder in _OTHERS:
        return "a folder of the system"
    home = os.path.realpath(os.path.expanduser("~"))
    if os.path.dirname(folder) in _HOMES or is_below(home, folder) or _is_owners_home(folder):
        return "a user's home, or holds one"
    if not root.kind.is_users:
        return None
    if os.path.dirname(folder) == os.path.dirname(os.sep) and not os.path.ismount(folder):
        return f"directly below {os.sep}"
    if any(os.path.lexists(os.path.join(folder, name)) for name in _REPOSITORIES):
        return "a working copy of a repository"
    return None


def _is_owners_home(folder: str) -> bool:
    try:
        import pwd

        return os.path.realpath(pwd.getpwuid(os.stat(folder).st_uid).pw_dir) == folder
    except (ImportError, KeyError, OSError):
        return False
