"""Warn of a store that others can write to when no key is set."""

from __future__ import annotations

import logging
import os
import stat
import threading
from typing import TYPE_CHECKING

from b10_transfer.keys import KEY_FILE
from b10_transfer.own_user import own_uid

if TYPE_CHECKING:
    from b10_transfer.settings import Settings

_logger = logging.getLogger("b10_transfer")
_warning = threading.Lock()


def store_exposure(folder: str) -> str | None:
    """Who else can write to a store.

    Returns:
        None when nobody can, or when there is no such folder.
    """
    try:
        status = os.stat(folder)
    except OSError:
        return None
    own = own_uid()
    if own not in (None, status.st_uid):
        return f"the store {folder} belongs to another user (uid {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return (
            f"the store {folder} can be written by others (mode {stat.S_IMODE(status.st_mode):o})"
        )
    above = os.path.dirname(os.path.realpath(folder))
    mode = os.stat(above).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX and own is not None:
        return (
            f"others can replace the store {folder}: they can write to the folder {above} (mode "
            f"{stat.S_IMODE(mode):o})"
        )
    return None


def warn_when_unsigned(settings: Settings) -> None:
    """Warn, once in a process, that no signing key is set and others can write to the store."""
    if settings.signing_keys or _warning.locked():
        return
    exposed = store_exposure(settings.store)
    if exposed is not None and _warning.acquire(blocking=False):
        _logger.warning(
            "%s, and no signing key is set: whoever can write there can run code here; set %s on "
            "all hosts",
            exposed,
            KEY_FILE,
        )
