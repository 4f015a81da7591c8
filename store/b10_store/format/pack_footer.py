"""Packs: immutable files that hold many blobs.

    frames            zstd frames, one behind the other: the pack's raw stream, cut
    footer            a zstd skippable frame, so that `zstd -d` on a pack yields the raw stream:
      0           4   magic number 0x184D2A5B
      4           4   length of the rest of the footer
      8          8n   frame table: stored size and raw size of each frame (see frame.py)
      8+8n      48m   blob table: digest (32), offset in the raw stream (8), size (8) of each blob
      8+8n+48m    4   n
      12+8n+48m   4   m
      16+8n+48m  32   BLAKE3 of everything in the footer before it, from offset 8 on
      48+8n+48m   4   length of the whole footer: 60 + 8n + 48m
      52+8n+48m   8   magic, b"B10PACK1"

Integers are little-endian. A pack's id is the BLAKE3 of the whole file.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from b10_store.digest import Digest, digest_from_bytes, digest_of
from b10_store.errors import CorruptError
from b10_store.format.frame import FrameTable
from b10_store.remote.protocol import Range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store.remote.protocol import Remote

_MAGIC = b"B10PACK1"
_SKIPPABLE = struct.Struct("<II")
_SKIPPABLE_MAGIC = 0x184D2A5B
_BLOB = struct.Struct("<32sQQ")
_COUNTS = struct.Struct("<II")
_TAIL = struct.Struct("<32sI8s")
_FOOTER_GUESS = 1 << 16
_EMPTY_FOOTER = _SKIPPABLE.size + _COUNTS.size + _TAIL.size
_FOOTER_LIMIT = 64 << 20


class Piece(NamedTuple):
    """A blob that ends in a frame; its offset is from the frame's start and may be negative."""

    digest: Digest
    offset: int
    size: int


class StoredFrame(NamedTuple):
    """A frame as a pack holds it, and the blobs that end in it.

    Attributes:
        stored: its compressed bytes; empty when there is nothing in it.
        raw_size: bytes that it decompresses to.
        pieces: see `Piece`.
        goes_on: whether the last blob in it goes on in the next frame.
    """

    stored: bytes
    raw_size: int
    pieces: tuple[Piece, ...]
    goes_on: bool = False


def read_footer(remote: Remote, name: str) -> tuple[FrameTable, dict[Digest, tuple[int, int]]]:
    """Return the verified frame table of a pack, and offset and size of each of its blobs.

    Raises:
        CorruptError: the pack is damaged or cut short.
        LimitError: it declares an empty frame, or one larger than is accepted.
        OSError: it cannot be read.
    """
    end = next(remote.read(name, [Range(-_FOOTER_GUESS, _FOOTER_GUESS)]))
    length = _footer_length(end)
    if length > len(end):
        end = next(remote.read(name, [Range(-length, length)]))
    if length > len(end):
        raise CorruptError("a pack cut short")
    return _parse_footer(end[len(end) - length :])


def encode_footer(frames: FrameTable, blobs: Sequence[Piece]) -> bytes:
    """Return the footer of a pack; the blobs' offsets are in the raw stream."""
    body = b"".join(
        (
            frames.encode(),
            *(_BLOB.pack(bytes.fromhex(blob.digest), blob.offset, blob.size) for blob in blobs),
            _COUNTS.pack(len(frames.sizes), len(blobs)),
        )
    )
    length = _SKIPPABLE.size + len(body) + _TAIL.size
    tail = _TAIL.pack(bytes.fromhex(digest_of(body)), length, _MAGIC)
    return _SKIPPABLE.pack(_SKIPPABLE_MAGIC, length - _SKIPPABLE.size) + body + tail


def _footer_length(end: bytes) -> int:
    if len(end) < _TAIL.size:
        raise CorruptError("a pack cut short")
    _, length, magic = _TAIL.unpack_from(end, len(end) - _TAIL.size)
    if magic != _MAGIC or not _EMPTY_FOOTER <= length <= _FOOTER_LIMIT:
        raise CorruptError("a pack without its footer")
    return int(length)


def _parse_footer(footer: bytes) -> tuple[FrameTable, dict[Digest, tuple[int, int]]]:
    body = footer[_SKIPPABLE.size : len(footer) - _TAIL.size]
    digest, _, _ = _TAIL.unpack_from(footer, len(footer) - _TAIL.size)
    if len(body) < _COUNTS.size or bytes.fromhex(digest_of(body)) != digest:
        raise CorruptError("a pack with a damaged footer")
    frame_count, blob_count = _COUNTS.unpack_from(body, len(body) - _COUNTS.size)
    table_end = 8 * frame_count
    if len(body) != table_end + _BLOB.size * blob_count + _COUNTS.size:
        raise CorruptError("a pack whose footer contradicts itself")
    frames = FrameTable.decode(body[:table_end])
    blobs = {
        digest_from_bytes(raw): (offset, size)
        for raw, offset, size in _BLOB.iter_unpack(body[table_end : -_COUNTS.size])
    }
    return frames, blobs
