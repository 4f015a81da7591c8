"""Random content under right digests, for each kind of bytes that is read from a store."""

from __future__ import annotations

import json
import struct

from hypothesis import example, given
from hypothesis import strategies as st

from b10_store.digest import digest_of
from b10_store.errors import CorruptError, LimitError, UnsupportedFormatError
from b10_store.format.frame import FRAME_LIMIT, FRAME_ROW_SIZE, FrameTable
from b10_store.format.manifest_file import decode_header
from b10_store.format.names import FRAME_RAW_LIMIT, SnapshotName
from b10_store.format.pack_footer import read_footer
from b10_store.format.seal import (
    BODY_LIMIT,
    HEADER_LIMIT,
    open_body,
    open_header,
    open_prefix,
    seal,
)
from tests.support.packed import memory_store
from tests.support.values import ADDRESS, snapshot

_REFUSED = (CorruptError, LimitError, UnsupportedFormatError)
_NAME = SnapshotName(ADDRESS, snapshot(1))
_WORDS = st.integers(0, (1 << 32) - 1)
_PREFIX = struct.Struct("<8sIIQ32s32s")


@given(
    st.one_of(st.just(b"B10SEAL1"), st.binary(min_size=8, max_size=8)),
    _WORDS,
    st.one_of(st.sampled_from([0, 1]), _WORDS),
    st.integers(0, (1 << 64) - 1),
    st.binary(max_size=300),
)
def test_a_prefix_of_any_fields_is_opened_within_the_limits_or_refused(
    magic: bytes, header_length: int, flags: int, body_length: int, rest: bytes
) -> None:
    digest = bytes.fromhex(digest_of(rest))
    fields = _PREFIX.pack(magic, header_length, flags, body_length, digest, digest)
    data = fields + bytes.fromhex(digest_of(fields)) + rest
    try:
        prefix = open_prefix(data)
    except _REFUSED:
        return
    assert prefix.header_length <= HEADER_LIMIT
    assert prefix.body_length <= BODY_LIMIT
    for opener in (open_header, open_body):
        try:
            assert opener(prefix, data) in rest
        except CorruptError:
            continue


_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=40),
        st.sampled_from([_NAME.snapshot, ADDRESS.environment_key, "../..", "\ud800", 10**400]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)
_SMALLEST: dict[str, object] = {
    "format": 1,
    "environment_key": ADDRESS.environment_key,
    "namespace": "",
    "snapshot": _NAME.snapshot,
    "parents": [],
    "ancestors": [],
    "environment": [],
    "recorded": [],
    "summary": {"artifacts": 0, "raw_bytes": 0, "stored_bytes": 0, "packs": 0},
    "database": "little-endian, 64 bit",
    "raw_length": 1,
}


@given(st.dictionaries(st.sampled_from(sorted(_SMALLEST)), _JSON, min_size=1, max_size=3))
@example({"environment": [["a", "\ud800"]]})
@example({"recorded": [["\udfff", "a"]]})
@example({"summary": dict.fromkeys(("artifacts", "raw_bytes", "stored_bytes", "packs"), 10**400)})
def test_a_header_of_any_fields_is_read_as_text_or_refused(changes: dict[str, object]) -> None:
    data = seal(json.dumps({**_SMALLEST, **changes}).encode(), b"")
    try:
        _, header = decode_header(data, _NAME)
    except _REFUSED:
        return
    assert header.name == _NAME
    for key, value in (*header.lineage.environment, *header.lineage.recorded):
        assert (key + value).encode()[:0] == b""


@given(st.binary(max_size=400))
@example(b"\xff\xfe{")
@example(b"{}")
def test_a_header_of_any_bytes_is_refused(header: bytes) -> None:
    try:
        decode_header(seal(header, b""), _NAME)
    except _REFUSED:
        return
    raise AssertionError("it was accepted")


@given(
    st.binary(max_size=200),
    st.lists(st.tuples(_WORDS, _WORDS), max_size=6),
    st.lists(
        st.tuples(
            st.binary(min_size=32, max_size=32),
            st.integers(0, (1 << 64) - 1),
            st.integers(0, (1 << 64) - 1),
        ),
        max_size=6,
    ),
    st.one_of(st.none(), st.tuples(_WORDS, _WORDS)),
    st.one_of(st.none(), _WORDS),
)
def test_a_footer_of_any_content_is_read_or_refused(
    before: bytes,
    frames: list[tuple[int, int]],
    blobs: list[tuple[bytes, int, int]],
    counts: tuple[int, int] | None,
    length: int | None,
) -> None:
    body = b"".join(struct.pack("<II", *frame) for frame in frames)
    body += b"".join(struct.pack("<32sQQ", *blob) for blob in blobs)
    body += struct.pack("<II", *(counts or (len(frames), len(blobs))))
    whole = 8 + len(body) + 44 if length is None else length
    tail = struct.pack("<32sI8s", bytes.fromhex(digest_of(body)), whole, b"B10PACK1")
    remote = memory_store()
    remote.create("packs", "x.pack", [before + struct.pack("<II", 0x184D2A5B, 0) + body + tail])
    try:
        table, found = read_footer(remote, "packs/x.pack")
    except _REFUSED:
        return
    assert all(0 < raw <= FRAME_RAW_LIMIT for _, raw in table.sizes)
    for offset, size in found.values():
        try:
            covering = table.covering(offset, size)
        except CorruptError:
            continue
        assert len(covering) <= len(table.sizes)


def test_a_table_of_too_many_frames_is_refused_before_it_is_made() -> None:
    row = struct.pack("<II", 1, 1)
    assert len(row) == FRAME_ROW_SIZE
    assert len(FrameTable.decode(row * FRAME_LIMIT).sizes) == FRAME_LIMIT
    for count in (FRAME_LIMIT + 1, 8_000_000):
        try:
            FrameTable.decode(row * count)
        except LimitError:
            continue
        raise AssertionError(f"{count} frames were accepted")
