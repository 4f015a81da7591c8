"""BLAKE3-256 digests as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NewType

from blake3 import blake3

from b10_store.errors import CorruptError

if TYPE_CHECKING:
    from collections.abc import Iterable

Digest = NewType("Digest", str)
"""The BLAKE3-256 of some bytes, as 64 lower-case hex digits."""

DIGEST_SIZE = 32
"""The length of a digest in binary form, in bytes."""

_HEX_DIGITS = frozenset("0123456789abcdef")


def digest_of(data: bytes | memoryview) -> Digest:
    """Return the digest of bytes in memory."""
    return Digest(blake3(data).hexdigest())


def digest_of_chunks(chunks: Iterable[bytes]) -> Digest:
    """Return the digest of the concatenated `chunks`, which are consumed."""
    hasher = blake3()
    for chunk in chunks:
        hasher.update(chunk)
    return Digest(hasher.hexdigest())


def parse_digest(text: str) -> Digest:
    """Check that `text` is a digest.

    Raises:
        CorruptError: it is not 64 lower-case hex digits.
    """
    if len(text) != 2 * DIGEST_SIZE or not _HEX_DIGITS.issuperset(text):
        raise CorruptError(f"not a digest: {text[:80]!r}")
    return Digest(text)


def digest_from_bytes(raw: bytes | memoryview) -> Digest:
    """Return the digest whose binary form is `raw` (32 bytes)."""
    return Digest(raw.hex())


def keyed_digest(key: bytes, data: bytes) -> bytes:
    """Return keyed BLAKE3 over `data`, 32 bytes: a message authentication code.

    Args:
        key: exactly 32 bytes.
        data: the bytes to authenticate.
    """
    return blake3(data, key=key).digest()


def derive_key(secret: bytes, purpose: str) -> bytes:
    """Derive a 32-byte key for one purpose from a secret of any length, with BLAKE3."""
    return blake3(secret, derive_key_context=purpose).digest()
