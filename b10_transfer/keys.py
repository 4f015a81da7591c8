"""Keys: read from the user's settings, and missed where others can write to the store."""

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
# As a shared secret, the first line of a PEM file would be one that everybody knows, and a list of
# accounts or settings one that others know.
_FOREIGN_TEXT = re.compile(
    r"ed25519|^-----|-----$|^ssh-|^['\"{\[<]|^export |"
    r"^[\w.-]+:(?:\s|$)|^\w+\s*=\s*[^=\s]|^[^:]*(?::[^:]*){3}",
    re.IGNORECASE,
)
_PUBLIC_KEY = re.compile(re.escape(PUBLIC_MARK) + "[0-9a-f]{64}", re.IGNORECASE)
_LONG_WORD = re.compile(r"[\w+/=-]{32,}")
HOW_TO_MAKE = "make one with `openssl rand -hex 32` or `b10-transfer key new`"
_EXPECTED = (
    f"a line holds nothing but a key: {PRIVATE_MARK} or {PUBLIC_MARK} with 64 hex digits behind "
    f"it, or a shared secret of {_SHORTEST} characters or more; {HOW_TO_MAKE}"
)

# Taken by whoever warns first in this process, and never given back.


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
    if len(keys) > _MOST_KEYS:
        raise CacheValidationError(f"{source} has {len(keys)} lines that are no keys: {_EXPECTED}")
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
    if _FOREIGN_TEXT.search(written):
        raise CacheValidationError(f"{source} is of another form: {_EXPECTED}")
    if len(written) < _SHORTEST:
        raise CacheValidationError(
            f"{source} is a key of under {_SHORTEST} characters: {_EXPECTED}"
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


def is_public(text: str) -> bool:
    """Whether a file of keys holds public keys alone, and nothing in comments that may be another.

    A key that stands behind a comment sign is one that somebody may use again.
    """
    lines = (line.strip() for line in text.removeprefix("\ufeff").split("\n"))
    return all(line.startswith(("#", PUBLIC_MARK)) for line in lines if line) and not _has_secret(
        _PUBLIC_KEY.sub("", text)
    )


def _has_secret(text: str) -> bool:
    """Return whether there is a private key in a text, or what looks like a random secret."""
    return (
        PRIVATE_MARK in text.lower()
        or "PRIVATE KEY-----" in text
        or any(re.search(r"\d", word) for word in _LONG_WORD.findall(text))
    )


def new_private_key() -> tuple[str, str]:
    """Make a key pair.

    Returns:
        The private key and the public one, each as a line of a key file.

    Raises:
        CacheValidationError: the package cryptography is not installed.
    """
    written = PRIVATE_MARK + os.urandom(KEY_SIZE).hex()
    key = _parse_key("the new key", written)
    return written, public_text(key)


def public_text(key: Key) -> str:
    """The public key of a key, as a line of a key file; "" when it is a shared secret."""
    if isinstance(key, PrivateKey):
        return PUBLIC_MARK + key.public.data.hex()
    return PUBLIC_MARK + key.data.hex() if isinstance(key, PublicKey) else ""
