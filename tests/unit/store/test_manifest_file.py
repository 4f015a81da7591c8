from __future__ import annotations

import dataclasses
import os
import random
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from b10_store.errors import CorruptError, LimitError, StoreError
from b10_store.format.keys import SigningKey
from b10_store.format.manifest import Entry, Manifest, summarize
from b10_store.format.manifest_file import decode_header, decode_manifest, encode_manifest
from b10_store.format.names import Address, SnapshotName
from tests.support.strategies import manifests
from tests.support.values import ADDRESS, entry, manifest, pack, snapshot

if TYPE_CHECKING:
    from pathlib import Path

KEY = SigningKey(b"a secret of enough bytes")
OTHER_KEY = SigningKey(b"another secret, as long")
COUNT = 20_000


@given(manifests(), st.sampled_from([None, KEY]))
@example(manifest(1), None)
def test_any_manifest_comes_back(value: Manifest, key: SigningKey | None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data = encode_manifest(value, scratch, key)
        value = dataclasses.replace(value, signed=key is not None)
        assert decode_manifest(data, value.name, scratch) == value
        if key is not None:
            assert decode_manifest(data, value.name, scratch, (key, OTHER_KEY)) == value
            before = dataclasses.replace(value, signed_before=True)
            assert decode_manifest(data, value.name, scratch, (OTHER_KEY, key)) == before
        prefix, header = decode_header(data, value.name)
        assert prefix.signed == (key is not None)
        assert (header.name, header.lineage) == (value.name, value.lineage)
        assert header.summary == summarize(value)
        assert os.listdir(scratch) == []


def many_entries(count: int) -> list[Entry]:
    draw = random.Random(0)
    return [
        entry(
            f"{draw.randrange(256):02x}/{draw.getrandbits(200):x}.py",
            str(number),
            pack=number % 3,
            offset=draw.randrange(1000),
            size=draw.randrange(1000),
            saved_ms=draw.getrandbits(40),
            requirement=draw.choice(["", "avx2"]),
        )._replace(
            executable=draw.random() < 0.5,
            mtime_ns=draw.choice([None, 0, -1, 1_700_000_000_123_456_789]),
        )
        for number in range(count)
    ]


def test_a_manifest_of_20_000_entries_comes_back(scratch: str) -> None:
    value = manifest(1, many_entries(COUNT), packs={n: pack(raw=2000) for n in range(3)})
    assert len(value.entries) == COUNT
    data = encode_manifest(value, scratch)
    assert decode_manifest(data, value.name, scratch) == value
    assert decode_header(data, value.name)[1].summary.artifacts == COUNT


@pytest.mark.parametrize(
    ("path", "requirement"),
    [
        ("/".join(["\u20ac" * 84] * 15), ""),
        ("a", "x" * 3000),
        ("/".join(["\U0001f600" * 63] * 15), "\u20ac" * 1300),
    ],
    ids=["long paths", "long requirements", "both"],
)
def test_a_manifest_of_the_longest_texts_comes_back(
    scratch: str, path: str, requirement: str
) -> None:
    items = [entry(f"{number}/{path}", requirement=requirement) for number in range(3000)]
    value = manifest(1, items)
    data = encode_manifest(value, scratch)
    assert decode_manifest(data, value.name, scratch) == value


def test_a_manifest_of_packs_with_many_frames_comes_back(scratch: str) -> None:
    packs = {number: pack(900_000, 1 << 20, frames=10_000) for number in range(4)}
    value = manifest(1, [entry("a", offset=9_999 << 20, size=1 << 20)], packs=packs)
    data = encode_manifest(value, scratch)
    assert decode_manifest(data, value.name, scratch) == value


def test_a_namespace_is_part_of_what_is_sealed(scratch: str) -> None:
    address = Address(ADDRESS.environment_key, "my-model")
    value = manifest(1, [entry("a")], address=address)
    data = encode_manifest(value, scratch)
    assert decode_manifest(data, value.name, scratch).address == address


@pytest.mark.parametrize(
    "other",
    [
        SnapshotName(Address(ADDRESS.environment_key, "other"), snapshot(1)),
        SnapshotName(Address("f" * 32), snapshot(1)),
        SnapshotName(ADDRESS, snapshot(2)),
        SnapshotName(ADDRESS, snapshot(1, salt=1)),
    ],
)
def test_a_manifest_does_not_pass_under_another_name(scratch: str, other: SnapshotName) -> None:
    data = encode_manifest(manifest(1, [entry("a")]), scratch)
    with pytest.raises(CorruptError, match="written as"):
        decode_header(data, other)
    with pytest.raises(CorruptError, match="written as"):
        decode_manifest(data, other, scratch)


def test_a_manifest_that_is_not_consistent_is_not_written(scratch: str) -> None:
    with pytest.raises(LimitError):
        encode_manifest(manifest(1, [entry("../a")]), scratch)
    with pytest.raises(CorruptError):
        encode_manifest(manifest(1, [entry("a", size=5000)]), scratch)
    assert os.listdir(scratch) == []


def test_every_piece_of_damage_is_noticed(scratch: str) -> None:
    value = manifest(1, [entry("a"), entry("b")])
    data = encode_manifest(value, scratch)
    for position in range(0, len(data), 7):
        damaged = data[:position] + bytes([data[position] ^ 0x40]) + data[position + 1 :]
        for broken in (damaged, data[:position]):
            with pytest.raises((CorruptError, LimitError)):
                decode_manifest(broken, value.name, scratch)
    assert os.listdir(scratch) == []


def test_the_same_manifest_makes_the_same_file(scratch: str) -> None:
    items = many_entries(500)
    packs = {number: pack(raw=2000) for number in range(3)}
    one = encode_manifest(manifest(1, items, packs=packs), scratch)
    random.Random(1).shuffle(items)
    assert encode_manifest(manifest(1, items, packs=packs), scratch) == one


def test_a_scratch_folder_that_is_not_there_is_no_fault_of_the_manifest(tmp_path: Path) -> None:
    value = manifest(1, [entry("a")])
    data = encode_manifest(value, str(tmp_path))
    missing = str(tmp_path / "missing")
    with pytest.raises(StoreError, match="missing cannot be used") as writing:
        encode_manifest(value, missing)
    with pytest.raises(StoreError, match="missing cannot be used") as reading:
        decode_manifest(data, value.name, missing)
    assert {writing.type, reading.type} == {StoreError}
