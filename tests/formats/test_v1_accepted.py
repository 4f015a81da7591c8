"""What readers of format 1 accept beyond what today's writers write."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import zstandard

from b10_store.digest import digest_of
from b10_store.format.frame import FrameTable
from b10_store.format.manifest_file import decode_manifest
from b10_store.format.names import parse_manifest_name
from b10_store.format.seal import seal
from b10_store.packs.reader import Wanted
from tests.support.blobs import Collector
from tests.support.databases import build_database, read_database
from tests.support.format_views import view_sealed
from tests.support.packed import fetch, memory_store

MANIFESTS = Path(__file__).parent / "v1" / "store" / "manifests"
(PATH,) = MANIFESTS.glob("*~1700000120000-*")
NAME = parse_manifest_name(PATH.name)
FLAGS_AT = 78


@pytest.fixture
def header() -> dict[str, Any]:
    return view_sealed(PATH.read_bytes())[0]


@pytest.fixture
def tables() -> dict[str, dict[bytes, bytes]]:
    return read_database(view_sealed(PATH.read_bytes())[1])


def decode(
    header: dict[str, Any], tables: dict[str, dict[bytes, bytes]], scratch: Path, level: int = 3
) -> set[str]:
    """The paths in a manifest made of these."""
    assert NAME is not None
    raw = build_database(tables)
    body = zstandard.ZstdCompressor(level=level, write_checksum=True).compress(raw)
    text = json.dumps({**header, "raw_length": len(raw)}, indent=3).encode()
    value = decode_manifest(seal(text, body), NAME, str(scratch))
    return {path for _, path, _ in value.entries}


@pytest.mark.parametrize("level", [-5, 1, 19])
def test_a_body_of_another_level_and_with_a_checksum_is_read(
    header: dict[str, Any], tables: dict[str, dict[bytes, bytes]], tmp_path: Path, level: int
) -> None:
    assert len(decode(header, tables, tmp_path, level)) == 10


def test_fields_and_tables_that_are_not_known_are_passed_over(
    header: dict[str, Any], tables: dict[str, dict[bytes, bytes]], tmp_path: Path
) -> None:
    header["later"] = {"any": ["thing"]}
    tables["later"] = {b"key": b"value"}
    del tables["meta"]
    assert len(decode(header, tables, tmp_path)) == 10


def test_flags_without_a_meaning_are_passed_over(
    header: dict[str, Any], tables: dict[str, dict[bytes, bytes]], tmp_path: Path
) -> None:
    for key, value in tables["artifacts"].items():
        flags = bytes([value[FLAGS_AT] | 0xFC])
        tables["artifacts"][key] = value[:FLAGS_AT] + flags + value[FLAGS_AT + 1 :]
    assert len(decode(header, tables, tmp_path)) == 10


def test_of_two_rows_of_one_artifact_the_last_counts(
    header: dict[str, Any], tables: dict[str, dict[bytes, bytes]], tmp_path: Path
) -> None:
    assert NAME is not None
    first = tables["artifacts"][struct.pack(">Q", 1)]
    tables["artifacts"][struct.pack(">Q", 10)] = bytes(32) + first[32:]
    raw = build_database(tables)
    body = zstandard.ZstdCompressor().compress(raw)
    text = json.dumps({**header, "raw_length": len(raw)}).encode()
    value = decode_manifest(seal(text, body), NAME, str(tmp_path))
    assert len(value.entries) == 10
    (entry,) = (item for key, item in value.entries.items() if key.path == "ab/cabc.py")
    assert entry.digest == "00" * 32


@pytest.mark.parametrize("level", [-5, 1, 19])
@pytest.mark.parametrize("checksum", [True, False])
def test_frames_of_any_level_are_read(level: int, checksum: bool) -> None:
    raw = b"some raw bytes, some more raw bytes"
    frame = zstandard.ZstdCompressor(level=level, write_checksum=checksum).compress(raw)
    remote = memory_store()
    remote.create("packs", "a", [frame, frame])
    frames = FrameTable(((len(frame), len(raw)),) * 2)
    sink = Collector()
    # Blobs that overlap, leave gaps, and cross from one small frame into the next.
    places = [(0, 10), (5, 10), (len(raw) - 4, 8), (len(raw), len(raw))]
    stream = raw + raw
    wanted = [Wanted(digest_of(stream[at : at + size]), at, size) for at, size in places]
    fetched = fetch(remote, "packs/a", frames, wanted, sink)
    assert (fetched.damaged, len(fetched.delivered)) == (set(), 4)
