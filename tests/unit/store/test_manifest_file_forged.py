"""Manifests with a right seal and wrong content: whoever can write the store can make them."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from b10_store.errors import CorruptError, LimitError, UnsupportedFormatError
from b10_store.format import manifest_table as manifest_database
from b10_store.format.frame import FrameTable
from b10_store.format.manifest_file import (
    RAW_LIMIT,
    decode_header,
    decode_manifest,
    encode_manifest,
)
from b10_store.format.seal import open_body, open_header, open_prefix, seal
from tests.support.cache_trees import noise
from tests.support.databases import build_database, read_database
from tests.support.values import ADDRESS, entry, manifest, pack, pack_id, snapshot

ENTRY = struct.Struct("<32sQIQQqIHHHB")
VALUE = manifest(1, [entry("a"), entry("b/c")], packs={1: pack(), 2: pack(frames=3)})
REFUSED = (CorruptError, LimitError, UnsupportedFormatError)


@pytest.fixture
def header(scratch: str) -> dict[str, Any]:
    data = encode_manifest(VALUE, scratch)
    parsed: dict[str, Any] = json.loads(open_header(open_prefix(data), data))
    return parsed


@pytest.fixture
def tables(scratch: str) -> dict[str, dict[bytes, bytes]]:
    data = encode_manifest(VALUE, scratch)
    body = open_body(open_prefix(data), data)
    return read_database(zstandard.ZstdDecompressor().decompress(body))


def forged(header: dict[str, Any], raw: bytes) -> bytes:
    fields = {**header, "raw_length": len(raw)}
    return seal(json.dumps(fields).encode(), zstandard.ZstdCompressor().compress(raw))


def row(number: int) -> bytes:
    return struct.pack(">Q", number)


def entry_row(
    *,
    root: bytes = b"inductor",
    requirement: bytes = b"",
    path: bytes = b"a",
    size: int = 10,
    pack_row: int = 0,
    offset: int = 0,
    group_length: int = 0,
    lengths: tuple[int, int] | None = None,
) -> bytes:
    root_length, requirement_length = lengths or (len(root), len(requirement))
    fixed = (bytes(32), size, pack_row, offset, 0, 0, 0, group_length)
    return ENTRY.pack(*fixed, root_length, requirement_length, 0) + root + requirement + path


def test_rows_written_by_hand_are_read(header: dict[str, Any], scratch: str) -> None:
    raw = build_database(
        {
            "packs": {row(0): struct.pack("<32sQ", bytes(31) + b"\1", 999)},
            "frames": {row(0): FrameTable(((5, 10), (6, 20))).encode()},
            "artifacts": {row(0): entry_row(path="\u20ac/x".encode(), size=7, offset=23)},
        }
    )
    value = decode_manifest(forged(header, raw), VALUE.name, scratch)
    (item,) = value.entries.values()
    assert item.identity == ("inductor", "\u20ac/x", "")
    assert (item.size, item.location) == (7, (pack_id(1), 23))
    assert value.packs[pack_id(1)].size == 999


_HARMFUL = {
    "nothing": b"",
    "cut short": b"short",
    "no path": entry_row(path=b""),
    "a root beyond the row": entry_row(lengths=(9, 0)),
    "all beyond the row": entry_row(lengths=(65535, 65535)),
    "a pack that is not listed": entry_row(pack_row=2),
    "the last of all packs": entry_row(pack_row=(1 << 32) - 1),
    "beyond its pack": entry_row(size=1001),
    "far beyond its pack": entry_row(size=(1 << 64) - 1),
    "behind its pack": entry_row(offset=(1 << 64) - 1, size=1),
    "a parent folder": entry_row(path=b"../a"),
    "an absolute path": entry_row(path=b"/etc/passwd"),
    "a zero byte": entry_row(path=b"a\0b"),
    "the local record": entry_row(path=b".b10_transfer/loaded"),
    "a path that is no text": entry_row(path=b"\xff"),
    "a root that is no text": entry_row(root=b"\xff"),
    "a requirement that is no text": entry_row(requirement=b"\xff"),
    "a requirement of thousands of libraries": entry_row(requirement=b"a.so " * 1000),
    "a group that is no folder": entry_row(path=b"a/b", group_length=2),
    "a group longer than the path": entry_row(group_length=65535),
}


@pytest.mark.parametrize("value", _HARMFUL.values(), ids=_HARMFUL)
def test_an_entry_that_could_do_harm_spoils_the_manifest(
    header: dict[str, Any], tables: dict[str, dict[bytes, bytes]], scratch: str, value: bytes
) -> None:
    tables["artifacts"][row(2)] = value
    with pytest.raises(REFUSED):
        decode_manifest(forged(header, build_database(tables)), VALUE.name, scratch)
    assert os.listdir(scratch) == []


def test_a_database_with_more_artifacts_than_it_says_is_refused(scratch: str) -> None:
    raw = manifest_database.build_database(
        manifest(1, [entry(f"a{number}") for number in range(3)]), scratch
    )
    counts = struct.Struct("<HQQQQ")  # levels, pages of three kinds, rows
    true = counts.pack(1, 0, 1, 0, 3)
    assert raw.count(true) == 1
    with pytest.raises(CorruptError, match="more artifacts than it says"):
        manifest_database.read_database(raw.replace(true, counts.pack(1, 0, 1, 0, 2)), scratch)


@pytest.mark.parametrize("name", ["packs", "frames", "artifacts"])
def test_a_missing_table_spoils_the_manifest(
    header: dict[str, Any], tables: dict[str, dict[bytes, bytes]], scratch: str, name: str
) -> None:
    del tables[name]
    with pytest.raises(REFUSED):
        decode_manifest(forged(header, build_database(tables)), VALUE.name, scratch)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("packs", b"short"),
        ("packs", bytes(41)),
        ("frames", b"broken length"),
        ("frames", struct.pack("<II", 0, 10)),
        ("frames", struct.pack("<II", 10, 1 << 21)),
    ],
    ids=["short pack", "long pack", "broken table", "empty frame", "large frame"],
)
def test_a_broken_row_of_a_pack_spoils_the_manifest(
    header: dict[str, Any],
    tables: dict[str, dict[bytes, bytes]],
    scratch: str,
    name: str,
    value: bytes,
) -> None:
    tables[name][row(0)] = value
    with pytest.raises(REFUSED):
        decode_manifest(forged(header, build_database(tables)), VALUE.name, scratch)


@pytest.mark.parametrize("name", ["packs", "frames"])
def test_packs_and_frame_tables_must_be_as_many(
    header: dict[str, Any], tables: dict[str, dict[bytes, bytes]], scratch: str, name: str
) -> None:
    tables[name][row(7)] = tables[name][row(0)]
    with pytest.raises(REFUSED):
        decode_manifest(forged(header, build_database(tables)), VALUE.name, scratch)


@pytest.mark.parametrize("raw", [b"x", bytes(100), bytes(40_000), noise(40_000)], ids=len)
def test_a_body_that_is_no_database_spoils_the_manifest(
    header: dict[str, Any], scratch: str, raw: bytes
) -> None:
    with pytest.raises(REFUSED):
        decode_manifest(forged(header, raw), VALUE.name, scratch)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no zstd",
        zstandard.ZstdCompressor().compress(bytes(999)),
        zstandard.ZstdCompressor().compress(bytes(1000)) + b"\0",
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000)),
        zstandard.ZstdCompressor().compress(bytes(1000))[:-3],
    ],
    ids=["empty", "no zstd", "shorter", "more behind it", "undeclared", "cut short"],
)
def test_a_body_of_another_length_than_the_header_says_is_refused(
    header: dict[str, Any], scratch: str, body: bytes
) -> None:
    data = seal(json.dumps({**header, "raw_length": 1000}).encode(), body)
    with pytest.raises(REFUSED):
        decode_manifest(data, VALUE.name, scratch)


@pytest.mark.parametrize("raw_length", [0, -1, RAW_LIMIT + 1, 1 << 70])
def test_a_database_of_an_unacceptable_length_is_refused(
    header: dict[str, Any], scratch: str, raw_length: int
) -> None:
    data = seal(json.dumps({**header, "raw_length": raw_length}).encode(), b"")
    with pytest.raises(LimitError):
        decode_manifest(data, VALUE.name, scratch)


@pytest.mark.parametrize(
    ("field", "value"),
    [("format", 2), ("format", "1"), ("format", None), ("database", "big-endian, 64 bit")],
)
def test_another_format_is_told_from_damage(
    header: dict[str, Any], field: str, value: object
) -> None:
    data = seal(json.dumps({**header, field: value}).encode(), b"")
    with pytest.raises(UnsupportedFormatError):
        decode_header(data, VALUE.name)


def test_a_field_that_is_not_known_is_passed_over(header: dict[str, Any]) -> None:
    data = seal(json.dumps({**header, "later": [1]}).encode(), b"")
    assert decode_header(data, VALUE.name)[1].lineage == VALUE.lineage


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
_FIELDS = (
    *("format", "environment_key", "namespace", "snapshot", "parents", "ancestors"),
    *("environment", "recorded", "summary", "database", "raw_length"),
)
_HEADER: dict[str, Any] = {
    "format": 1,
    "environment_key": ADDRESS.environment_key,
    "namespace": "",
    "snapshot": snapshot(1),
    "parents": [],
    "ancestors": [],
    "environment": [],
    "recorded": [],
    "summary": {"artifacts": 0, "raw_bytes": 0, "stored_bytes": 0, "packs": 0},
    "database": "little-endian, 64 bit",
    "raw_length": 1,
}


def test_the_smallest_header_is_read() -> None:
    data = seal(json.dumps(_HEADER).encode(), b"")
    assert decode_header(data, VALUE.name)[1].name == VALUE.name


@given(st.sampled_from(_FIELDS), _JSON)
@example("raw_length", float("inf"))
@example("raw_length", float("nan"))
@example("summary", {"artifacts": float("inf"), "raw_bytes": 0, "stored_bytes": 0, "packs": 0})
@example("environment", [["a"]])
@example("parents", [1])
@example("parents", ["../../x"])
def test_any_value_of_a_field_is_read_or_refused(field: str, value: object) -> None:
    data = seal(json.dumps({**_HEADER, field: value}).encode(), b"")
    try:
        decode_header(data, VALUE.name)
    except REFUSED:
        return


@pytest.mark.parametrize("field", _FIELDS)
def test_a_header_without_a_field_is_refused(field: str) -> None:
    fields = {key: value for key, value in _HEADER.items() if key != field}
    with pytest.raises(CorruptError):
        decode_header(seal(json.dumps(fields).encode(), b""), VALUE.name)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format":' + b"9" * 5000,
    ],
    ids=len,
)
def test_a_header_that_is_no_object_is_refused(header: bytes) -> None:
    with pytest.raises(CorruptError):
        decode_header(seal(header, b""), VALUE.name)
