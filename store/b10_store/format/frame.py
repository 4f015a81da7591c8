"""Frames, the unit of compression, and the table of their places in a pack."""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

import zstandard

from b10_store.errors import CorruptError, LimitError
from b10_store.format.names import FRAME_RAW_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_Blob = TypeVar("_Blob")

COMPRESSION_LEVEL = 3
STORED_LIMIT = FRAME_RAW_LIMIT + (FRAME_RAW_LIMIT >> 7) + 1024
"""The longest frame: zstd's worst case for incompressible input, with some room to spare."""

FRAME_LIMIT = 1 << 18
"""The most frames in one pack, and in all packs of a manifest: 256 GiB of raw bytes."""

_SIZES = struct.Struct("<II")
FRAME_ROW_SIZE = _SIZES.size
"""The bytes of an encoded table per frame."""


@dataclass(frozen=True, slots=True)
class FrameTable:
    """The frames of one pack, in order.

    Attributes:
        sizes: (stored bytes, raw bytes) of each frame.
    """

    sizes: tuple[tuple[int, int], ...]
    _stored_starts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _raw_starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Sum up the sizes, so that a frame can be found by its raw offset.

        Raises:
            LimitError: a frame is empty or too large.
        """
        for stored, raw in self.sizes:
            if not 0 < raw <= FRAME_RAW_LIMIT or not 0 < stored <= STORED_LIMIT:
                raise LimitError(f"a frame of {stored} stored and {raw} raw bytes")
        stored_starts = accumulate((stored for stored, _ in self.sizes), initial=0)
        raw_starts = accumulate((raw for _, raw in self.sizes), initial=0)
        object.__setattr__(self, "_stored_starts", tuple(stored_starts))
        object.__setattr__(self, "_raw_starts", tuple(raw_starts))

    @property
    def raw_size(self) -> int:
        """The bytes of all frames after decompression."""
        return self._raw_starts[-1]

    def check_range(self, offset: int, size: int) -> None:
        """Refuse a range of raw bytes outside the pack.

        Raises:
            CorruptError: the range is outside.
        """
        if offset < 0 or size < 0 or offset + size > self._raw_starts[-1]:
            raise CorruptError(f"{size} bytes at {offset} in a pack of {self.raw_size} raw bytes")

    def covering(self, offset: int, size: int) -> range:
        """Return the indices of the frames that hold a range of raw bytes.

        Raises:
            CorruptError: the bytes lie outside the pack.
        """
        self.check_range(offset, size)
        if size == 0:
            return range(0)
        first = bisect_right(self._raw_starts, offset) - 1
        end = offset + size
        if end <= self._raw_starts[first + 1]:  # as for nearly all blobs
            return range(first, first + 1)
        return range(first, bisect_right(self._raw_starts, end - 1))

    def stored_start(self, index: int) -> int:
        """Return the offset of frame `index` in the pack file."""
        return self._stored_starts[index]

    def raw_start(self, index: int) -> int:
        """Return the offset of frame `index` in the raw stream."""
        return self._raw_starts[index]

    def stored_share(self, offset: int, size: int) -> float:
        """Return the stored bytes that a range accounts for; each frame is divided by raw size."""
        covered = self.covering(offset, size)
        if len(covered) == 1:  # as nearly all blobs
            stored, raw = self.sizes[covered.start]
            return stored * size / raw
        share = 0.0
        for index in covered:
            stored, raw = self.sizes[index]
            start = self._raw_starts[index]
            overlap = min(offset + size, start + raw) - max(offset, start)
            share += stored * overlap / raw
        return share

    def encode(self) -> bytes:
        """Encode the table: 8 bytes per frame, stored size and raw size, little-endian."""
        return b"".join(_SIZES.pack(stored, raw) for stored, raw in self.sizes)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> FrameTable:
        """Read an encoded table.

        Raises:
            CorruptError: its length is not a multiple of 8.
            LimitError: a frame is empty or too large, or there are too many.
        """
        # The sizes and starts of this many frames take some 50 MB.
        if len(data) > FRAME_ROW_SIZE * FRAME_LIMIT:
            raise LimitError(f"a frame table of {len(data)} bytes")
        if len(data) % _SIZES.size:
            raise CorruptError(f"a frame table of {len(data)} bytes")
        return cls(tuple(_SIZES.iter_unpack(data)))


def share_frames(blobs: Iterable[_Blob], size_of: Callable[[_Blob], int]) -> Iterator[list[_Blob]]:
    """Group blobs, in their order, by the frame that they share; a large one is alone."""
    group: list[_Blob] = []
    total = 0
    for blob in blobs:
        size = size_of(blob)
        if group and total + size > FRAME_RAW_LIMIT:
            yield group
            group, total = [], 0
        group.append(blob)
        total += size
        if size >= FRAME_RAW_LIMIT:
            yield group
            group, total = [], 0
    if group:
        yield group


def compress_frame(raw: bytes) -> bytes:
    """Return one zstd frame, which declares its content size; `raw` is 1 byte to 1 MiB."""
    return zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress(raw)


def decompress_frame(stored: bytes | memoryview, raw_size: int) -> bytes:
    """Return the raw bytes of a frame.

    The declared size is checked before anything is allocated, because python-zstandard believes it,
    whatever max_output_size says.

    Raises:
        CorruptError: it is not a zstd frame, or does not have exactly `raw_size` bytes.
    """
    try:
        declared = zstandard.get_frame_parameters(stored)
        if declared.content_size != raw_size or declared.dict_id:
            raise CorruptError(f"a frame of {declared.content_size} bytes instead of {raw_size}")
        raw = zstandard.ZstdDecompressor().decompress(
            stored, max_output_size=raw_size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise CorruptError(f"a frame that zstd cannot read: {error}") from error
    if len(raw) != raw_size:
        raise CorruptError(f"a frame of {len(raw)} bytes instead of {raw_size}")
    return raw
