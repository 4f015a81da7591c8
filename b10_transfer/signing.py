"""Keys: read from the user's settings, and missed where others can write to the store."""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
import threading
from typing import TYPE_CHECKING

from b10_store.errors import MissingLibraryError, WeakKeyError
from b10_store.keys import KEY_SIZE, PrivateKey, PublicKey, SigningKey
from b10_transfer.cache_folders import is_below
from b10_transfer.errors import CacheValidationError

if TYPE_CHECKING:
    from b10_store.keys import Key
    from b10_transfer.settings import Settings

KEY = "B10_CACHE_SIGNING_KEY"
KEY_FILE = "B10_CACHE_SIGNING_KEY_FILE"
PUBLIC_KEYS = "B10_CACHE_PUBLIC_KEYS"

_MARK = "b10-ed25519-"
PRIVATE_MARK = f"{_MARK}private:"
"""What a private key begins with; 64 hex digits follow."""
PUBLIC_MARK = f"{_MARK}public:"
"""What a public key begins with; 64 hex digits follow."""

_logger = logging.getLogger("b10_transfer")

_SHORTEST = 16
# As a shared secret, the first line of a PEM file would be one that everybody knows.
_FOREIGN_KEY = re.compile(r"ed25519|^-----|-----$|^ssh-|^['\"]|^export |^B10_", re.IGNORECASE)
_FILE_LIMIT = 1 << 16
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_READABLE = stat.S_IROTH
HOW_TO_MAKE = "make one with `openssl rand -hex 32` or `b10-transfer key new`"

# Taken by whoever warns first in this process, and never given back.
_warning = threading.Lock()


def parse_keys(source: str, text: str) -> tuple[Key, ...]:
    """The keys in a text, one a line, the one that signs first.

    Blank lines and those that begin with `#` are passed over, and so is white space around a key.

    Args:
        source: where the text is from, for the message.
        text: holds secrets: no message has anything of it.

    Raises:
        CacheValidationError: there is no key in it, one that is too short, damaged or not text, or
            one that needs a package which is not installed.
    """
    keys: list[Key] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        written = line.strip()
        if written and not written.startswith("#"):
            keys.append(_parse_key(f"{source}: line {number}", written))
    if not keys:
        raise CacheValidationError(
            f"{source} is set and holds no key: unset it to go without, or {HOW_TO_MAKE}"
        )
    return tuple(keys)


def parse_public_keys(text: str) -> tuple[Key, ...]:
    """The public keys in the value of B10_CACHE_PUBLIC_KEYS, with commas or blanks between them.

    Raises:
        CacheValidationError: there is none, or something else is among them.
    """
    words = text.replace(",", " ").split()
    for word in words:
        # Not shown: it may be a secret that was put into the wrong variable.
        if not word.startswith(PUBLIC_MARK):
            raise CacheValidationError(
                f"{PUBLIC_KEYS} holds something that is no public key: one begins with "
                f"{PUBLIC_MARK!r}, as `b10-transfer key show` prints it"
            )
    return parse_keys(PUBLIC_KEYS, "\n".join(words))


def _parse_key(source: str, written: str) -> Key:
    # Bytes that are not UTF-8 arrive as lone surrogates, which are not printable either.
    if not written.isprintable():
        raise CacheValidationError(f"{source} has characters that are not text: {HOW_TO_MAKE}")
    if written.startswith(_MARK):
        return _parse_half_of_a_pair(source, written)
    if _FOREIGN_KEY.search(written):
        raise CacheValidationError(
            f"{source} is a part of a key of another form, or not a key alone: a key pair is made "
            "by `b10-transfer key new`, and a line holds nothing but the key"
        )
    if len(written) < _SHORTEST:
        raise CacheValidationError(
            f"{source} is a key of under {_SHORTEST} characters: {HOW_TO_MAKE}"
        )
    return SigningKey(written.encode())


def _parse_half_of_a_pair(source: str, written: str) -> Key:
    try:
        if written.startswith(PRIVATE_MARK):
            return PrivateKey(bytes.fromhex(written.removeprefix(PRIVATE_MARK)))
        return PublicKey(bytes.fromhex(written.removeprefix(PUBLIC_MARK)))
    except MissingLibraryError:
        raise CacheValidationError(
            f"{source} is a key pair's: it needs the package cryptography: "
            "pip install 'b10-transfer[signing]'"
        ) from None
    except WeakKeyError:
        raise CacheValidationError(
            f"{source} is a public key for which anybody can sign (a point of small order), and "
            "`b10-transfer key new` makes none such: take it out, and find out who gave it to you"
        ) from None
    except ValueError:
        raise CacheValidationError(
            f"{source} is neither {PRIVATE_MARK} nor {PUBLIC_MARK} with 64 hex digits behind it: "
            "copy the whole line"
        ) from None


def read_key_file(path: str, store: str) -> tuple[Key, ...]:
    """The keys in a file that holds nothing else.

    As ssh does with private keys, one that other users could read is refused: it is no secret any
    more. Its group may read it: Kubernetes' fsGroup makes it so for every secret that it mounts.
    A file of public keys may be read by everybody.

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
            status = os.fstat(file.fileno())
            _check_status(source, status)
            data = file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise CacheValidationError(f"{source} cannot be read: {error.strerror}") from None
    if len(data) > _FILE_LIMIT:
        raise CacheValidationError(f"{source} is no file of keys: it is over {_FILE_LIMIT} bytes")
    text = data.decode("utf-8", "surrogateescape")
    if not is_public(text):
        _check_secrecy(source, status)
    return parse_keys(source, text)


def is_public(text: str) -> bool:
    """Whether a file of keys holds public keys alone."""
    lines = (line.strip() for line in text.removeprefix("\ufeff").split("\n"))
    return all(line.startswith(("#", PUBLIC_MARK)) for line in lines if line)


def new_private_key() -> tuple[str, str]:
    """Make a key pair.

    Returns:
        The private key and the public one, each as a line of a key file.

    Raises:
        CacheValidationError: the package cryptography is not installed.
    """
    written = PRIVATE_MARK + secrets.token_bytes(KEY_SIZE).hex()
    key = _parse_key("the new key", written)
    return written, public_text(key)


def public_text(key: Key) -> str:
    """The public key of a key, as a line of a key file; "" when it is a shared secret."""
    if isinstance(key, PrivateKey):
        return PUBLIC_MARK + key.public.data.hex()
    return PUBLIC_MARK + key.data.hex() if isinstance(key, PublicKey) else ""


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
    owner = status.st_uid
    if hasattr(os, "geteuid") and owner not in {0, os.geteuid()}:
        raise CacheValidationError(
            f"{source} belongs to another user (uid {owner}), who can change it: chown it to this "
            "user or to root"
        )
    _refuse_modes(source, status, _WRITABLE, "changed")


def _check_secrecy(source: str, status: os.stat_result) -> None:
    _refuse_modes(source, status, _READABLE, "read")


def _refuse_modes(source: str, status: os.stat_result, modes: int, what: str) -> None:
    # Where there are no user ids, the mode says nothing.
    if hasattr(os, "geteuid") and status.st_mode & modes:
        raise CacheValidationError(
            f"{source} can be {what} by other users (mode {stat.S_IMODE(status.st_mode):o}): chmod "
            "600 it (of a Kubernetes secret, defaultMode: 0400)"
        )
