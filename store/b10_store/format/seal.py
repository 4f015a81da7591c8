"""Sealed files: a header and a body after a prefix that protects both.

    offset  size  field
         0     8  magic, b"B10SEAL1"
         8     4  header length
        12     4  flags: bit 0, the seal is a MAC; bit 1, it is a signature; never both
        16     8  body length
        24    32  BLAKE3 of the header
        56    32  BLAKE3 of the body
        88    32  seal: BLAKE3 of bytes 0 to 87, keyed when bit 0 of the flags is set
       120    96  with bit 1 alone: the signer's public key (32), its signature of bytes 0 to 87
                  (64); see `b10_store.format.keys`
 120 or 216       header, then body, and nothing after it

Integers are little-endian. The seal covers both digests, so that one keyed hash or one signature of
88 bytes authenticates the whole file, and a listing can verify a header without its body.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from b10_store.digest import digest_of
from b10_store.errors import CorruptError, LimitError
from b10_store.format.keys import MAC_SIZE, SIGNATURE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store.format.keys import Key

MAGIC = b"B10SEAL1"
HEADER_LIMIT = 8 << 20
"""The longest header that is read, in bytes."""
BODY_LIMIT = 256 << 20
"""The longest body that is read, in bytes."""

_FIELDS = struct.Struct("<8sIIQ32s32s")
_SEALED_LENGTH = _FIELDS.size
_PLAIN, _MAC, _SIGNATURE = 0, 1, 2
_SEAL_SIZES = {_PLAIN: MAC_SIZE, _MAC: MAC_SIZE, _SIGNATURE: SIGNATURE_SIZE}
PREFIX_SIZE = _SEALED_LENGTH + MAC_SIZE
"""The length of a prefix without a signature: 120 bytes."""
PREFIX_LIMIT = _SEALED_LENGTH + SIGNATURE_SIZE
"""The length of a prefix with a signature, the longest: 216 bytes."""


class Prefix(NamedTuple):
    """A verified prefix.

    Attributes:
        header_length: the length of the header that follows, in bytes.
        body_length: the length of the body after the header, in bytes.
        header_digest: BLAKE3 of the header.
        body_digest: BLAKE3 of the body.
        size: the length of the prefix itself, in bytes.
        signed: whether a key made the seal.
        by_older_key: whether one of the given keys made it that is not the first.
    """

    header_length: int
    body_length: int
    header_digest: str
    body_digest: str
    size: int
    signed: bool
    by_older_key: bool = False


def seal(header: bytes, body: bytes, key: Key | None = None) -> bytes:
    """Return the whole sealed file.

    Args:
        header: at most `HEADER_LIMIT` bytes.
        body: at most `BODY_LIMIT` bytes.
        key: seals the file; without a key, the seal only detects damage.
    """
    fields = _FIELDS.pack(
        MAGIC,
        len(header),
        _kind_of(key),
        len(body),
        bytes.fromhex(digest_of(header)),
        bytes.fromhex(digest_of(body)),
    )
    mark = bytes.fromhex(digest_of(fields)) if key is None else key.seal(fields)
    return b"".join((fields, mark, header, body))


def open_prefix(data: bytes, keys: Sequence[Key] = ()) -> Prefix:
    """Verify the first bytes of a sealed file.

    Args:
        data: the file, or at least its first `PREFIX_LIMIT` bytes.
        keys: if any are given, one of them must have made the seal.

    Raises:
        CorruptError: it is not a sealed file, is damaged, or is not sealed with one of the keys.
        LimitError: it declares a header or body that is larger than is accepted.
    """
    if len(data) < PREFIX_SIZE:
        raise CorruptError(f"a sealed file of {len(data)} bytes")
    fields = data[:_SEALED_LENGTH]
    magic, header_length, kind, body_length, header_digest, body_digest = _FIELDS.unpack(fields)
    if magic != MAGIC or kind not in _SEAL_SIZES:
        raise CorruptError("not a sealed file of this format")
    size = _SEALED_LENGTH + _SEAL_SIZES[kind]
    mark = data[_SEALED_LENGTH:size]
    if len(data) < size:
        raise CorruptError("its seal is cut short")
    # A MAC cannot be checked without its key; the digests of header and body still show damage.
    if kind != _MAC and mark[:MAC_SIZE] != bytes.fromhex(digest_of(fields)):
        raise CorruptError("its seal does not fit")
    by_older_key = bool(keys) and _signer(keys, kind, mark, fields) > 0
    if header_length > HEADER_LIMIT or body_length > BODY_LIMIT:
        raise LimitError(f"a header of {header_length} bytes, a body of {body_length} bytes")
    return Prefix(
        header_length,
        body_length,
        header_digest.hex(),
        body_digest.hex(),
        size,
        signed=kind != _PLAIN,
        by_older_key=by_older_key,
    )


def open_header(prefix: Prefix, data: bytes) -> bytes:
    """Return the verified header of a sealed file.

    Args:
        prefix: what `open_prefix` returned for the same bytes.
        data: the file, or at least its prefix and header.

    Raises:
        CorruptError: it is damaged or cut short.
    """
    header = data[prefix.size : prefix.size + prefix.header_length]
    if len(header) != prefix.header_length or digest_of(header) != prefix.header_digest:
        raise CorruptError("its header is damaged")
    return header


def open_body(prefix: Prefix, data: bytes) -> bytes:
    """Return the verified body of a sealed file.

    Raises:
        CorruptError: it is damaged, cut short, or followed by something else.
    """
    body = data[prefix.size + prefix.header_length :]
    if len(body) != prefix.body_length or digest_of(body) != prefix.body_digest:
        raise CorruptError("its body is damaged")
    return body


def _kind_of(key: Key | None) -> int:
    if key is None:
        return _PLAIN
    return _SIGNATURE if key.is_public_key else _MAC


def _signer(keys: Sequence[Key], kind: int, mark: bytes, fields: bytes) -> int:
    """Return the index of the key that made a seal.

    Raises:
        CorruptError: none of the keys did.
    """
    if kind == _PLAIN:
        raise CorruptError("not signed, and a signing key is set")
    for place, key in enumerate(keys):
        if kind == _kind_of(key) and key.made(mark, fields):
            return place
    raise CorruptError("its seal does not fit any key of this host")
