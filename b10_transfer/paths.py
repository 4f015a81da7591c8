"""Judge a path by its text alone."""

from __future__ import annotations

import os

_SYSTEM_FOLDERS = frozenset(
    {
        *("/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/proc", "/root"),
        *("/run", "/sbin", "/sys", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/var"),
        *("/var/cache", "/var/lib", "/var/run"),
        *("/tmp", "/var/tmp"),  # noqa: S108  # named to be refused
        *("/Library", "/System", "/Users", "/private", "/private/tmp", "/private/var"),
    }
)


def is_below(path: str, folder: str) -> bool:
    """Return whether `path` is `folder` or lies in it; both absolute, links not followed."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def is_system_folder(path: str) -> bool:
    """Return whether an absolute path is itself a folder of the system or the user."""
    home = os.path.expanduser("~")
    own = {*_SYSTEM_FOLDERS, os.path.normpath(home), os.path.realpath(home)}
    return os.path.dirname(path) == path or path in own
