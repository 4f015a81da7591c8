"""Databases of which some bytes were changed, under right digests: refused, or read to an end."""

from __future__ import annotations

import struct
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from b10_store.errors import CorruptError, LimitError
from b10_store.format.lmdb_pages import check_pages
from b10_store.format.manifest_table import build_database
from tests.support.database_reader import DatabaseReader
from tests.support.forged_pages import PAGE_SIZE, Pages
from tests.support.hostile_databases import sound
from tests.support.strategies import manifests
from tests.support.values import entry, manifest, pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from b10_store.format.manifest import Manifest

_ROWS = 1 << 20
_NUMBERS = (0, 1, 2, 3, 4, 5, 8, 16, 17, 0x12, 0x22, 4096, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)


def _database(value: Manifest) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        return build_database(value, scratch)


# Leaves, a branch above them, and a value on pages of its own.
RAW = _database(
    manifest(
        1,
        [entry(f"{number:03d}/{'x' * 100}") for number in range(100)],
        packs={1: pack(), 2: pack(frames=1500)},
    )
)
PAGE_COUNT = len(RAW) // PAGE_SIZE
# What is in the head of a page, of its rows, and of the tables of a meta page decides what LMDB
# reads; bytes of paths decide nothing.
_HEADS = st.integers(0, 79)
_META_FIELDS = st.integers(16, 167)
_ROW_HEADS = st.integers(-64, -1)
_PLACES = st.tuples(
    st.integers(0, PAGE_COUNT - 1),
    st.one_of(_HEADS, _META_FIELDS, _ROW_HEADS, st.integers(0, PAGE_SIZE - 1)),
)
_VALUES = st.one_of(st.sampled_from(_NUMBERS), st.integers(0, 0xFFFF))
CHANGES = st.lists(st.tuples(_PLACES, _VALUES), min_size=1, max_size=4)


def changed(changes: list[tuple[tuple[int, int], int]]) -> bytes:
    raw = bytearray(RAW)
    for (page, place), value in changes:
        start = page * PAGE_SIZE
        if place < 0:
            # Near the row that the page has first.
            (upper,) = struct.unpack_from("<H", RAW, start + 14)
            place = upper + place + 64
        struct.pack_into("<H", raw, start + min(place, PAGE_SIZE - 2), value)
    return bytes(raw)


@pytest.fixture(scope="module")
def reader() -> Iterator[DatabaseReader]:
    reader = DatabaseReader()
    yield reader
    reader.close()


def test_what_was_not_changed_is_read(reader: DatabaseReader) -> None:
    assert reader.read(RAW) == "read"
    assert reader.read(sound(Pages())) == "read"


@given(CHANGES)
@example([((PAGE_COUNT - 1, 16), 0xFFFF)])
@settings(max_examples=1000)
def test_a_database_with_changed_bytes_is_refused_or_read_to_an_end(
    reader: DatabaseReader, changes: list[tuple[tuple[int, int], int]]
) -> None:
    assert reader.read(changed(changes)) in ("read", "CorruptError", "LimitError")


@given(st.binary(max_size=4 * PAGE_SIZE), st.integers(0, len(RAW)))
def test_a_database_with_other_bytes_at_its_end_is_refused_or_read(
    reader: DatabaseReader, tail: bytes, length: int
) -> None:
    assert reader.read(RAW[:length] + tail) in ("read", "CorruptError", "LimitError")


@given(manifests())
def test_what_a_save_writes_is_accepted(value: Manifest) -> None:
    check_pages(_database(value), _ROWS)


def test_no_more_rows_than_asked_for_are_accepted() -> None:
    check_pages(RAW, 100)
    with pytest.raises(LimitError):
        check_pages(RAW, 99)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 100, PAGE_SIZE, PAGE_SIZE + 50, len(RAW) - 1])
def test_a_database_cut_short_is_refused(length: int) -> None:
    with pytest.raises(CorruptError):
        check_pages(RAW[:length], _ROWS)
