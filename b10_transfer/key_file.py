"""Files of keys: read and made only where nobody else can exchange them."""

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

# A pipe that nobody writes to would keep a model server from starting.
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


def read_key_file(path: str, store: str) -> tuple[Key, ...]:
    """The keys in a file that holds nothing else.

    As ssh does with private keys, one that other users could read is refused: it is no secret any
    more. Its group may read it: Kubernetes' fsGroup makes it so for every secret that it mounts.
    A file of public keys may be read by everybody. Whoever could exchange the file, or a folder on
    the way to it, could have a key of their own believed.

    Args:
        path: of the file, absolute.
        store: the folder which the keys are to protect from whoever can write there.

    Raises:
        CacheValidationError: the file cannot be read, others could read, change or exchange it, or
            there is no good key in it.
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
    """Write a file of keys, where one can be read from.

    Args:
        path: of the file, absolute. A file or a link that is there stays: somebody may need it.
        text: what it is to hold.

    Raises:
        CacheValidationError: others could exchange it there.
        OSError: it is there already, or cannot be written.
    """
    handle = open_file(path, _NEW, partial(_check_folder, path, None))
    with os.fdopen(handle, "w") as file:
        file.write(text)


def _status(store: str) -> os.stat_result | None:
    try:
        return os.stat(store)
    except OSError:
        return None  # there is none yet, and no file in it


def _check_folder(
    source: str, store: os.stat_result | None, path: str, status: os.stat_result
) -> None:
    if store is not None and os.path.samestat(store, status):
        raise CacheValidationError(
            f"{source} lies in the store: whoever can read that could sign; move it elsewhere"
        )
    way_out = "who can exchange what is in it: give a file below folders of this user or of root"
    stranger = foreign_owner(status)
    if stranger is not None:
        raise CacheValidationError(
            f"{source}: the folder {path} belongs to another user (uid {stranger}), {way_out}"
        )
    # In a sticky folder everybody exchanges only what is theirs, and nothing of theirs is accepted.
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
    # Where there are no user ids, the mode says nothing.
    if own_uid() is not None and status.st_mode & modes:
        raise CacheValidationError(
            f"{source} can be {what} by other users (mode {stat.S_IMODE(status.st_mode):o}): chmod "
            "600 it (of a Kubernetes secret, defaultMode: 0400)"
        )
