"""Files of format 1 read by the book: docs/format.md and nothing of the engine.

What these functions return does not depend on the versions of zstd and LMDB, which may compress
otherwise or lay out pages otherwise: it is what the format itself says.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.support.databases import read_database

_PACK_TAIL = struct.Struct("<32sI8s")
_SEALED = struct.Struct("<8sIIQ32s32s32s")
_ENTRY = struct.Struct("<32sQIQQqIHHHB")


def view_pack(data: bytes) -> dict[str, Any]:
    """The content of a pack: raw sizes of its frames, its blobs, its raw stream."""
    digest, length, magic = _PACK_TAIL.unpack(data[-44:])
    assert magic == b"B10PACK1"
    footer = data[-length:]
    skippable, rest = struct.unpack("<II", footer[:8])
    assert (skippable, rest) == (0x184D2A5B, length - 8)
    body = footer[8:-44]
    assert blake3(body).digest() == digest
    frame_count, blob_count = struct.unpack("<II", body[-8:])
    assert length == 60 + 8 * frame_count + 48 * blob_count
    frames = [struct.unpack_from("<II", body, 8 * row) for row in range(frame_count)]
    blobs = [
        struct.unpack_from("<32sQQ", body, 8 * frame_count + 48 * row) for row in range(blob_count)
    ]
    raw = b""
    start = 0
    for stored, size in frames:
        frame = data[start : start + stored]
        assert zstandard.get_frame_parameters(frame).content_size == size
        raw += zstandard.ZstdDecompressor().decompress(frame)
        start += stored
    assert start == len(data) - length
    for blob, offset, size in blobs:
        assert blake3(raw[offset : offset + size]).digest() == blob
    return {
        "frames": [size for _, size in frames],
        "blobs": [[blob.hex(), offset, size] for blob, offset, size in blobs],
        "raw": blake3(raw).hexdigest(),
    }


def view_sealed(data: bytes, key: bytes | None = None) -> tuple[dict[str, Any], bytes]:
    """Header and unpacked body of a sealed file.

    Args:
        data: the file.
        key: the secret, for a file that is sealed with one; a signature needs none.
    """
    fields = _SEALED.unpack(data[:120])
    magic, header_length, flags, body_length, header_digest, body_digest, seal = fields
    assert magic == b"B10SEAL1"
    assert flags == 1 if key is not None else flags in {0, 2}
    start = 216 if flags == 2 else 120
    header, body = data[start : start + header_length], data[start + header_length :]
    assert len(body) == body_length
    assert blake3(header).digest() == header_digest
    assert blake3(body).digest() == body_digest
    if key is None:
        assert blake3(data[:88]).digest() == seal
    else:
        purpose = "b10-transfer 2026 manifest seal v1"
        derived = blake3(key, derive_key_context=purpose).digest()
        assert blake3(data[:88], key=derived).digest() == seal
    if flags == 2:
        signed = b"b10-transfer 2026 manifest signature v1\0" + data[:88]
        Ed25519PublicKey.from_public_bytes(data[120:152]).verify(data[152:216], signed)
    parsed: dict[str, Any] = json.loads(header)
    raw = zstandard.ZstdDecompressor().decompress(body)
    assert parsed["raw_length"] == len(raw)
    return parsed, raw


def view_manifest(data: bytes, key: bytes | None = None) -> dict[str, Any]:
    """The content of a manifest: header and rows, apart from stored sizes."""
    header, raw = view_sealed(data, key)
    tables = read_database(raw)
    assert sorted(tables) == ["artifacts", "frames", "meta", "packs"]
    assert tables["meta"] == {b"format": b"1"}
    for name in ("packs", "frames", "artifacts"):
        count = len(tables[name])
        assert list(tables[name]) == [struct.pack(">Q", row) for row in range(count)]
    frames = [
        [struct.unpack_from("<II", value, at)[1] for at in range(0, len(value), 8)]
        for value in tables["frames"].values()
    ]
    assert all(len(value) == 40 for value in tables["packs"].values())
    del header["raw_length"], header["summary"]["stored_bytes"]
    return {
        "header": header,
        "frames": sorted(frames),
        "artifacts": [_view_entry(value, frames) for value in tables["artifacts"].values()],
    }


def pack_ids(data: bytes) -> list[str]:
    """The packs of an unsigned manifest, in the order of their rows."""
    _, raw = view_sealed(data)
    return [value[:32].hex() for value in read_database(raw)["packs"].values()]


def _view_entry(value: bytes, frames: list[list[int]]) -> dict[str, Any]:
    fields = _ENTRY.unpack_from(value)
    digest, size, pack, offset, saved, mtime, generation, group, root, requirement, flags = fields
    text = value[79:]
    return {
        "digest": digest.hex(),
        "size": size,
        "pack": frames[pack],
        "offset": offset,
        "saved_ms": saved,
        "mtime_ns": mtime,
        "generation": generation,
        "group_length": group,
        "root": text[:root].decode(),
        "requirement": text[root : root + requirement].decode(),
        "path": text[root + requirement :].decode(),
        "flags": flags,
    }
