"""Signing keys: read from the user's secret, and missed where others can write to the store."""

from __future__ import annotations

import logging
import os
import stat
import threading
from typing import TYPE_CHECKING

from b10_store.envelope import SigningKey
from b10_transfer.cache_folders import is_below
from b10_transfer.errors import CacheValidationError

if TYPE_CHECKING:
    from b10_transfer.settings import Settings

KEY = "B10_CACHE_SIGNING_KEY"
KEY_FILE = "B10_CACHE_SIGNING_KEY_FILE"

_logger = logging.getLogger("b10_transfer")

_SHORTEST = 16
_FILE_LIMIT = 1 << 16
_TOO_OPEN = stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
_HOW_TO_MAKE = "make one with `openssl rand -hex 32`"

# Taken by whoever warns first in this process, and never given back.
_warning = threading.Lock()


def parse_keys(source: str, text: str) -> tuple[SigningKey, ...]:
    """The keys in a text, one a line, the one that signs first.

    Blank lines and those that begin with `#` are passed over, and so is white space around a key.

    Args:
        source: where the text is from, for the message.
        text: holds secrets: no message has anything of it.

    Raises:
        CacheValidationError: there is no key in it, or one that is too short or is not text.
    """
    keys: list[SigningKey] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        secret = line.strip()
        if not secret or secret.startswith("#"):
            continue
        if len(secret) < _SHORTEST:
            raise CacheValidationError(
                f"{source}: the key in line {number} has under {_SHORTEST} characters: "
                f"{_HOW_TO_MAKE}"
            )
        # Bytes that are not UTF-8 arrive as lone surrogates, which are not printable either.
        if not secret.isprintable():
            raise CacheValidationError(
                f"{source}: line {number} has characters that are not text: {_HOW_TO_MAKE}"
            )
        keys.append(SigningKey(secret.encode()))
    if not keys:
        raise CacheValidationError(
            f"{source} is set and holds no key: unset it to go without, or {_HOW_TO_MAKE}"
        )
    return tuple(keys)


def read_key_file(path: str, store: str) -> tuple[SigningKey, ...]:
    """The keys in a file that holds nothing else.

    As ssh does with private keys, one that other users could read is refused: it is no secret any
    more. Its group may read it: Kubernetes' fsGroup makes it so for every secret that it mounts.

    Args:
        path: of the file.
        store: the folder which the keys are to protect from whoever can write there.

    Raises:
        CacheValidationError: the file cannot be read, others could read or change it, or there is
            no good key in it.
    """
    source = f"{KEY_FILE}={path!r}"
    if is_below(os.path.realpath(path), os.path.realpath(store)):
        raise CacheValidationError(
            f"{source} lies in the store: whoever can read that could sign; move it elsewhere"
        )
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            _check_status(source, os.fstat(file.fileno()))
            data = file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise CacheValidationError(f"{source} cannot be read: {error.strerror}") from None
    if len(data) > _FILE_LIMIT:
        raise CacheValidationError(f"{source} is no file of keys: it is over {_FILE_LIMIT} bytes")
    return parse_keys(source, data.decode("utf-8", "surrogateescape"))


def store_exposure(folder: str) -> str | None:
    """Who else can write to a store.

    Returns:
        None when nobody can, or when there is no such folder.
    """
    try:
        status = os.stat(folder)
    except OSError:
        return None
    own = getattr(os, "geteuid", lambda: status.st_uid)()
    if status.st_uid != own:
        return f"the store {folder} belongs to another user (uid {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return (
            f"the store {folder} can be written by others (mode {stat.S_IMODE(status.st_mode):o})"
        )
    return None


def warn_when_unsigned(settings: Settings) -> None:
    """Say, once in a process, that there is no signing key and others can write to the store."""
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


def _open_without_waiting(path: str, flags: int) -> int:
    """A pipe that nobody writes to would keep a model server from starting."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_status(source: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise CacheValidationError(f"{source} is not a regular file")
    # Where there are no user ids, the mode says nothing.
    if hasattr(os, "geteuid") and status.st_mode & _TOO_OPEN:
        raise CacheValidationError(
            f"{source} can be read or changed by other users "
            f"(mode {stat.S_IMODE(status.st_mode):o}): chmod 600 it (of a Kubernetes secret, "
            "defaultMode: 0400)"
        )
