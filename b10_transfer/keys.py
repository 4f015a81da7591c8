"""Keys: parse them, tell their kinds, make new ones."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from b10_store import KEY_SIZE, MissingLibraryError, PrivateKey, PublicKey, SigningKey, WeakKeyError
from b10_transfer.errors import CacheValidationError

if TYPE_CHECKING:
    from b10_store import Key

KEY = "B10_CACHE_SIGNING_KEY"
KEY_FILE = "B10_CACHE_SIGNING_KEY_FILE"
PUBLIC_KEYS = "B10_CACHE_PUBLIC_KEYS"

_MARK = "b10-ed25519-"
PRIVATE_MARK = f"{_MARK}private:"
"""The beginning of a private key; 64 hex digits follow."""
PUBLIC_MARK = f"{_MARK}public:"
"""The beginning of a public key; 64 hex digits follow."""


_SHORTEST = 16
_MOST_KEYS = 32
# Taken as a shared secret, the first line of a PEM file would be known to everybody, and a list of
# accounts or settings to others.
_FOREIGN_TEXT = re.compile(
    r"ed25519|^-----|-----$|^ssh-|^['\"{\[<]|^export |"
    r"^[\w.-]+:(?:\s|$)|^\w+\s*=\s*[^=\s]|^[^:]*(?::[^:]*){3}",
    re.IGNORECASE,
)
_PUBLIC_KEY = re.compile(re.escape(PUBLIC_MARK) + "[0-9a-f]{64}", re.IGNORECASE)
_LONG_WORD = re.compile(r"[\w+/=-]{32,}")
HOW_TO_MAKE = "make one with `openssl rand -hex 32` or `b10-transfer key new`"
_EXPECTED = (
    f"a line must be a key: {PRIVATE_MARK} or {PUBLIC_MARK} followed by 64 hex digits, or a "
    f"shared secret of {_SHORTEST} characters or more; {HOW_TO_MAKE}"
)

# Taken by the first warning of this process, and never released.


def parse_keys(source: str, text: str) -> tuple[Key, ...]:
    """Return the keys in a text, one per line; the first one signs.

    Blank lines, lines that begin with `#` and white space around a key are ignored.

    Args:
        source: where the text comes from, for the message.
        text: the secrets; messages never quote it.

    Raises:
        CacheValidationError: it has no key, or one that is too short, damaged or not text, or one
            that needs a package which is not installed.
    """
    keys: list[Key] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        written = line.strip()
        if written and not written.startswith("#"):
            keys.append(_parse_key(f"{source}: line {number}", written))
    if not keys:
        raise CacheValidationError(
            f"{source} is set but holds no key: unset it to work without keys, or {HOW_TO_MAKE}"
        )
    if len(keys) > _MOST_KEYS:
        raise CacheValidationError(f"{source} has {len(keys)} lines that are not keys: {_EXPECTED}")
    return tuple(keys)


def parse_public_keys(text: str) -> tuple[Key, ...]:
    """Return the public keys in B10_CACHE_PUBLIC_KEYS, separated by commas or blanks.

    Raises:
        CacheValidationError: there is none, or one of them is something else.
    """
    words = text.replace(",", " ").split()
    for word in words:
        # The value is not shown: it may be a secret that was put into the wrong variable.
        if not word.startswith(PUBLIC_MARK):
            raise CacheValidationError(
                f"{PUBLIC_KEYS} holds something that is no public key: one begins with "
                f"{PUBLIC_MARK!r}, as `b10-transfer key show` prints it"
            )
    return parse_keys(PUBLIC_KEYS, "\n".join(words))


def _parse_key(source: str, written: str) -> Key:
    # Bytes that are not UTF-8 arrive as lone surrogates, which are not printable.
    if not written.isprintable():
        raise CacheValidationError(f"{source} has characters that are not text: {HOW_TO_MAKE}")
    if written.startswith(_MARK):
        return _parse_half_of_a_pair(source, written)
    if _FOREIGN_TEXT.search(written):
        raise CacheValidationError(f"{source} is not in the form of a key: {_EXPECTED}")
    if len(written) < _SHORTEST:
        raise CacheValidationError(f"{source} is shorter than {_SHORTEST} characters: {_EXPECTED}")
    return SigningKey(written.encode())


def _parse_half_of_a_pair(source: str, written: str) -> Key:
    try:
        if written.startswith(PRIVATE_MARK):
            return PrivateKey(bytes.fromhex(written.removeprefix(PRIVATE_MARK)))
        return PublicKey(bytes.fromhex(written.removeprefix(PUBLIC_MARK)))
    except MissingLibraryError:
        raise CacheValidationError(
            f"{source} belongs to a key pair, which needs the package cryptography: pip install "
            "'b10-transfer[signing]'"
        ) from None
    except WeakKeyError:
        raise CacheValidationError(
            f"{source} is a public key for which anybody can sign (a point of small order), which "
            "`b10-transfer key new` never makes: remove it, and find out who gave it to you"
        ) from None
    except ValueError:
        raise CacheValidationError(
            f"{source} is neither {PRIVATE_MARK} nor {PUBLIC_MARK} followed by 64 hex digits: "
            "copy the whole line"
        ) from None


def is_public(text: str) -> bool:
    """Return whether a file has only public keys, and no other key in its comments.

    Somebody may use a key again that is commented out.
    """
    lines = (line.strip() for line in text.removeprefix("\ufeff").split("\n"))
    return all(line.startswith(("#", PUBLIC_MARK)) for line in lines if line) and not _has_secret(
        _PUBLIC_KEY.sub("", text)
    )


def _has_secret(text: str) -> bool:
    """Return whether a text has a private key, or something that looks like a random secret."""
    return (
        PRIVATE_MARK in text.lower()
        or "PRIVATE KEY-----" in text
        or any(re.search(r"\d", word) for word in _LONG_WORD.findall(text))
    )


def new_private_key() -> tuple[str, str]:
    """Make a key pair.

    Returns:
        The private and the public key, each as a line of a key file.

    Raises:
        CacheValidationError: the package cryptography is not installed.
    """
    written = PRIVATE_MARK + os.urandom(KEY_SIZE).hex()
    key = _parse_key("the new key", written)
    return written, public_text(key)


def public_text(key: Key) -> str:
    """Return the public part of a key, as a line of a key file; "" for a shared secret."""
    if isinstance(key, PrivateKey):
        return PUBLIC_MARK + key.public.data.hex()
    return PUBLIC_MARK + key.data.hex() if isinstance(key, PublicKey) else ""
