"""Files of keys: read and written only where nobody else can replace them."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from b10_store import foreign_owner, open_file
from b10_transfer.errors import CacheValidationError
from b10_transfer.keys import KEY_FILE, is_public, parse_keys
from b10_transfer.own_user import own_uid

if TYPE_CHECKING:
    from b10_store import Key

_FILE_LIMIT = 1 << 16
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_READABLE = stat.S_IROTH

# A pipe that nobody writes to would block the start of a model server.
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


def read_key_file(path: str, store: str) -> tuple[Key, ...]:
    """Return the keys in a file that holds nothing else.

    Like a private key of ssh, a file that other users can read is refused, since it is no longer
    secret. Its group may read it, because Kubernetes' fsGroup allows that for every mounted secret.
    Everybody may read a file of public keys. A user who could replace the file, or a folder on the
    way to it, could make this host believe another key; so that is refused too.

    Args:
        path: of the file, absolute.
        store: the store, in which the keys must not be.

    Raises:
        CacheValidationError: the file cannot be read, others can read, change or replace it, or it
            has no valid key.
    """
    source = f"{KEY_FILE}={path!r}"
    try:
        handle = open_file(path, _READ, partial(_check_folder, source, _status(store)))
        try:
            status = os.fstat(handle)
            _check_status(source, status)
            with open(handle, "rb", closefd=False) as file:
                data = file.read(_FILE_LIMIT + 1)
        finally:
            os.close(handle)
    except OSError as error:
        raise CacheValidationError(f"{source} cannot be read: {error.strerror}") from None
    if len(data) > _FILE_LIMIT:
        raise CacheValidationError(
            f"{source} is not a file of keys: it is over {_FILE_LIMIT} bytes"
        )
    text = data.decode("utf-8", "surrogateescape")
    if not is_public(text):
        _refuse_modes(source, status, _READABLE, "read")
    return parse_keys(source, text)


def make_key_file(path: str, text: str) -> None:
    """Write a file of keys where `read_key_file` accepts it.

    Args:
        path: its absolute path. An existing file or link is kept, since somebody may need it.
        text: its content.

    Raises:
        CacheValidationError: others could replace it there.
        OSError: it exists already, or cannot be written.
    """
    handle = open_file(path, _NEW, partial(_check_folder, path, None))
    with os.fdopen(handle, "w") as file:
        file.write(text)


def _status(store: str) -> os.stat_result | None:
    try:
        return os.stat(store)
    except OSError:
        return None  # the folder does not exist yet, so it has no file


def _check_folder(
    source: str, store: os.stat_result | None, path: str, status: os.stat_result
) -> None:
    if store is not None and os.path.samestat(store, status):
        raise CacheValidationError(
            f"{source} is in the store, so whoever can read the store could sign: move it elsewhere"
        )
    way_out = "who can replace files in it: use a file below folders of this user or of root"
    stranger = foreign_owner(status)
    if stranger is not None:
        raise CacheValidationError(
            f"{source}: the folder {path} belongs to another user (uid {stranger}), {way_out}"
        )
    # In a sticky folder users can replace only their own files, and those are not accepted.
    if own_uid() is not None and status.st_mode & _WRITABLE and not status.st_mode & stat.S_ISVTX:
        raise CacheValidationError(
            f"{source}: the folder {path} can be written by other users (mode "
            f"{stat.S_IMODE(status.st_mode):o}), {way_out}, or chmod go-w it"
        )


def _check_status(source: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise CacheValidationError(f"{source} is not a regular file")
    owner = foreign_owner(status)
    if owner is not None:
        raise CacheValidationError(
            f"{source} belongs to another user (uid {owner}), who can change it: chown it to this "
            "user or to root"
        )
    _refuse_modes(source, status, _WRITABLE, "changed")


def _refuse_modes(source: str, status: os.stat_result, modes: int, what: str) -> None:
    # Without user ids the mode says nothing.
    if own_uid() is not None and status.st_mode & modes:
        raise CacheValidationError(
            f"{source} can be {what} by other users (mode {stat.S_IMODE(status.st_mode):o}): "
            "chmod 600 it (for a Kubernetes secret, set defaultMode: 0400)"
        )
