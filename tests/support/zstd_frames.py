"""Frames of zeros built by hand, which may declare another size than they have."""

from __future__ import annotations

import struct

MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_RLE_BLOCK = 128 << 10


def zstd_frame(declared: int | None, produced: int) -> bytes:
    """A frame of zeros, built by hand after RFC 8878: 4 bytes for each 128 KiB that it produces.

    Args:
        declared: the content size in its header; None: it names a window alone.
        produced: bytes that its blocks make.
    """
    if declared is None:
        header = ZSTD_MAGIC + b"\x00\x88"
    else:
        header = ZSTD_MAGIC + b"\xe0" + struct.pack("<Q", declared)
    blocks: list[bytes] = []
    while produced > 0:
        size = min(produced, _RLE_BLOCK)
        produced -= size
        last = produced == 0
        blocks.append(struct.pack("<I", size << 3 | 1 << 1 | last)[:3] + b"\0")
    return header + b"".join(blocks)
