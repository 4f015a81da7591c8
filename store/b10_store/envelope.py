"""Sealed files: a header and a body behind a prefix that vouches for both.

    offset  size  field
         0     8  magic, b"B10SEAL1"
         8     4  header length
        12     4  flags: bit 0, the seal is a MAC
        16     8  body length
        24    32  BLAKE3 of the header
        56    32  BLAKE3 of the body
        88    32  seal: BLAKE3 of bytes 0 to 87, keyed when bit 0 of the flags is set
       120        header, then body, and nothing after it

Integers are little-endian. The seal covers both digests, so that one keyed hash over 88 bytes
authenticates the whole file, and a listing can verify a header without its body.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

from b10_store.digest import derive_key, digest_of, keyed_digest
from b10_store.errors import CorruptError, LimitError

MAGIC = b"B10SEAL1"
PREFIX_SIZE = 120
HEADER_LIMIT = 8 << 20
"""Longest header that is read, in bytes."""
BODY_LIMIT = 256 << 20
"""Longest body that is read, in bytes."""

_FIELDS = struct.Struct("<8sIIQ32s32s")
_SEALED_LENGTH = _FIELDS.size
_KEYED = 1
_PURPOSE = "b10-transfer 2026 manifest seal v1"


class SigningKey:
    """A secret that manifests are sealed with. Its bytes never show in a repr or a log."""

    __slots__ = ("_key",)

    def __init__(self, secret: bytes) -> None:
        """Derive the sealing key from a secret of any length.

        Raises:
            ValueError: the secret is shorter than 16 bytes.
        """
        if len(secret) < 16:
            raise ValueError("a signing key has at least 16 bytes")
        self._key = derive_key(secret, _PURPOSE)

    def seal(self, data: bytes) -> bytes:
        """The MAC of `data`, 32 bytes."""
        return keyed_digest(self._key, data)


@dataclass(frozen=True, slots=True)
class Prefix:
    """A verified prefix.

    Attributes:
        header_length: bytes of the header that follows.
        body_length: bytes of the body behind the header.
        header_digest: BLAKE3 of the header.
        body_digest: BLAKE3 of the body.
        keyed: whether the seal was a MAC.
        maker: which of the given keys made it, by its place; None when none were given.
    """

    header_length: int
    body_length: int
    header_digest: str
    body_digest: str
    keyed: bool
    maker: int | None = None


def seal(header: bytes, body: bytes, key: SigningKey | None = None) -> bytes:
    """The whole sealed file."""
    fields = _FIELDS.pack(
        MAGIC,
        len(header),
        0 if key is None else _KEYED,
        len(body),
        bytes.fromhex(digest_of(header)),
        bytes.fromhex(digest_of(body)),
    )
    return b"".join((fields, _seal_of(fields, key), header, body))


def open_prefix(data: bytes, keys: tuple[SigningKey, ...] = ()) -> Prefix:
    """Verify the first 120 bytes of a sealed file.

    Args:
        data: the file, or at least its beginning.
        keys: where any are given, one of them must have made the seal.

    Raises:
        CorruptError: it is not a sealed file, is damaged, or is not sealed with one of the keys.
        LimitError: it declares a header or body beyond what is accepted.
    """
    if len(data) < PREFIX_SIZE:
        raise CorruptError(f"a sealed file of {len(data)} bytes")
    fields, found = data[:_SEALED_LENGTH], data[_SEALED_LENGTH:PREFIX_SIZE]
    magic, header_length, flags, body_length, header_digest, body_digest = _FIELDS.unpack(fields)
    if magic != MAGIC or flags & ~_KEYED:
        raise CorruptError("not a sealed file of this format")
    keyed = bool(flags & _KEYED)
    if keys and not keyed:
        raise CorruptError("not signed, and a signing key is set")
    maker = _maker_of(found, fields, keys)
    if keyed:
        # Without a key a MAC cannot be checked; the digests below still tell damage.
        fits = maker is not None or not keys
    else:
        fits = hmac.compare_digest(found, _seal_of(fields, None))
    if not fits:
        raise CorruptError("its seal does not fit")
    if header_length > HEADER_LIMIT or body_length > BODY_LIMIT:
        raise LimitError(f"a header of {header_length} bytes, a body of {body_length} bytes")
    return Prefix(header_length, body_length, header_digest.hex(), body_digest.hex(), keyed, maker)


def open_header(prefix: Prefix, data: bytes) -> bytes:
    """The verified header of a sealed file.

    Args:
        prefix: what `open_prefix` returned for the same bytes.
        data: the file, or at least its prefix and header.

    Raises:
        CorruptError: it is damaged or cut short.
    """
    header = data[PREFIX_SIZE : PREFIX_SIZE + prefix.header_length]
    if len(header) != prefix.header_length or digest_of(header) != prefix.header_digest:
        raise CorruptError("its header is damaged")
    return header


def open_body(prefix: Prefix, data: bytes) -> bytes:
    """The verified body of a sealed file.

    Raises:
        CorruptError: it is damaged, cut short, or followed by something else.
    """
    body = data[PREFIX_SIZE + prefix.header_length :]
    if len(body) != prefix.body_length or digest_of(body) != prefix.body_digest:
        raise CorruptError("its body is damaged")
    return body


def _maker_of(found: bytes, fields: bytes, keys: tuple[SigningKey, ...]) -> int | None:
    seals = (_seal_of(fields, key) for key in keys)
    fitting = (place for place, seal in enumerate(seals) if hmac.compare_digest(found, seal))
    return next(fitting, None)


def _seal_of(fields: bytes, key: SigningKey | None) -> bytes:
    return bytes.fromhex(digest_of(fields)) if key is None else key.seal(fields)
