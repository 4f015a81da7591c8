from __future__ import annotations

import contextlib
import itertools
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from b10_store.errors import CorruptError, LimitError
from b10_store.format.frame import (
    FRAME_LIMIT,
    STORED_LIMIT,
    FrameTable,
    compress_frame,
    decompress_frame,
)
from b10_store.format.names import FRAME_RAW_LIMIT
from tests.support.blobs import prose
from tests.support.cache_trees import noise
from tests.support.strategies import FRAME_TABLES
from tests.support.zstd_frames import GIB, TIB, ZSTD_MAGIC, zstd_frame

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY_LIMIT = 8 << 20


@pytest.mark.parametrize("size", [1, 2, 1000, FRAME_RAW_LIMIT - 1, FRAME_RAW_LIMIT])
@pytest.mark.parametrize("make", [noise, prose])
def test_a_frame_gives_back_what_it_was_made_of(size: int, make: Callable[[int], bytes]) -> None:
    raw = make(size)
    stored = compress_frame(raw)
    assert len(stored) <= STORED_LIMIT
    assert zstandard.get_frame_parameters(stored).content_size == size
    assert decompress_frame(stored, size) == raw
    assert decompress_frame(memoryview(stored), size) == raw


def test_the_frames_built_by_hand_are_real() -> None:
    assert decompress_frame(zstd_frame(300_000, 300_000), 300_000) == bytes(300_000)


@pytest.mark.parametrize(
    ("stored", "raw_size"),
    [
        (zstd_frame(GIB, GIB), 1000),
        (zstd_frame(GIB, GIB), FRAME_RAW_LIMIT),
        (zstd_frame(TIB, 1000), 1000),
        (zstd_frame(TIB, 1000), FRAME_RAW_LIMIT),
        (zstd_frame((1 << 64) - 1, 1000), 1000),
        (zstd_frame((1 << 64) - 2, 1000), 1000),
        (zstd_frame(1000, GIB), 1000),
        (zstd_frame(1000, 999), 1000),
        (zstd_frame(1000, 1001), 1000),
        (zstd_frame(1000, 1000), 999),
        (zstd_frame(1000, 1000), 1001),
        (zstd_frame(None, GIB), 1000),
        (zstd_frame(None, 1000), 1000),
        (zstd_frame(0, 0), 1000),
    ],
)
def test_a_frame_that_is_not_what_it_says_is_refused_without_room_for_it(
    stored: bytes, raw_size: int
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError):
            decompress_frame(stored, raw_size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_LIMIT


@pytest.mark.parametrize(
    "extra",
    [b"\0", compress_frame(b"more"), struct.pack("<II", 0x184D2A5B, 4) + b"more", ZSTD_MAGIC],
)
def test_bytes_behind_a_frame_are_refused(extra: bytes) -> None:
    with pytest.raises(CorruptError):
        decompress_frame(compress_frame(b"content") + extra, len(b"content"))


def test_a_skippable_frame_is_no_frame() -> None:
    with pytest.raises(CorruptError):
        decompress_frame(struct.pack("<II", 0x184D2A50, 7) + b"content", 7)


def test_a_frame_that_needs_a_dictionary_is_refused() -> None:
    words = zstandard.ZstdCompressionDict(prose(4000), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    trained = zstandard.train_dictionary(2000, [prose(300, seed) for seed in range(300)])
    assert trained.dict_id()
    assert not words.dict_id()
    for dictionary in (trained, words):
        raw = prose(4000)
        stored = zstandard.ZstdCompressor(dict_data=dictionary).compress(raw)
        with pytest.raises(CorruptError):
            decompress_frame(stored, len(raw))


def test_every_truncation_of_a_frame_is_refused() -> None:
    raw = prose(2000)
    stored = compress_frame(raw)
    for length in range(len(stored)):
        with pytest.raises(CorruptError):
            decompress_frame(stored[:length], len(raw))


@given(st.binary(max_size=200), st.integers(1, FRAME_RAW_LIMIT))
def test_any_bytes_are_a_frame_of_the_right_size_or_refused(stored: bytes, raw_size: int) -> None:
    for data in (stored, ZSTD_MAGIC + stored):
        with contextlib.suppress(CorruptError):
            assert len(decompress_frame(data, raw_size)) == raw_size


@given(FRAME_TABLES)
def test_a_frame_table_survives_its_encoding(table: FrameTable) -> None:
    encoded = table.encode()
    assert len(encoded) == 8 * len(table.sizes)
    assert FrameTable.decode(encoded) == FrameTable.decode(memoryview(encoded)) == table


def test_an_empty_table_holds_nothing() -> None:
    table = FrameTable.decode(b"")
    assert (table.stored_start(0), table.raw_size) == (0, 0)
    assert list(table.covering(0, 0)) == []


@given(FRAME_TABLES, st.data())
def test_the_frames_that_cover_a_range_are_those_that_hold_a_byte_of_it(
    table: FrameTable, data: st.DataObject
) -> None:
    offset = data.draw(st.integers(0, table.raw_size))
    size = data.draw(st.integers(0, table.raw_size - offset))
    expected = [
        index
        for index, (_, raw) in enumerate(table.sizes)
        if max(offset, table.raw_start(index)) < min(offset + size, table.raw_start(index) + raw)
    ]
    assert list(table.covering(offset, size)) == expected


@pytest.mark.parametrize(
    ("offset", "size"), [(-1, 1), (0, -1), (0, 21), (20, 1), (21, 0), (5, 1 << 60), (1 << 60, 0)]
)
def test_a_range_outside_the_pack_is_refused(offset: int, size: int) -> None:
    table = FrameTable(((5, 10), (5, 10)))
    with pytest.raises(CorruptError):
        table.covering(offset, size)


@given(FRAME_TABLES)
def test_frames_lie_one_behind_the_other(table: FrameTable) -> None:
    stored = raw = 0
    for index, (stored_size, raw_size) in enumerate(table.sizes):
        assert (table.stored_start(index), table.raw_start(index)) == (stored, raw)
        stored += stored_size
        raw += raw_size
    assert (table.stored_start(len(table.sizes)), table.raw_size) == (stored, raw)


@given(FRAME_TABLES, st.lists(st.floats(0, 1), max_size=5))
def test_the_shares_of_a_pack_cut_into_parts_add_up_to_its_size(
    table: FrameTable, fractions: list[float]
) -> None:
    cuts = [0, *sorted(int(part * table.raw_size) for part in fractions), table.raw_size]
    shares = [table.stored_share(start, end - start) for start, end in itertools.pairwise(cuts)]
    assert sum(shares) == pytest.approx(table.stored_start(len(table.sizes)))


@pytest.mark.parametrize(
    "sizes",
    [(0, 1), (1, 0), (1, FRAME_RAW_LIMIT + 1), (STORED_LIMIT + 1, 1), (1, (1 << 32) - 1)],
)
def test_a_table_with_an_empty_or_too_large_frame_is_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(LimitError):
        FrameTable((sizes,))
    with pytest.raises(LimitError):
        FrameTable.decode(struct.pack("<IIII", 5, 5, *sizes))


def test_a_table_of_more_frames_than_any_pack_has_is_refused() -> None:
    row = struct.pack("<II", 1, 1)
    assert len(FrameTable.decode(row * FRAME_LIMIT).sizes) == FRAME_LIMIT
    with pytest.raises(LimitError):
        FrameTable.decode(row * (FRAME_LIMIT + 1))


@pytest.mark.parametrize("length", [1, 7, 9, 15])
def test_a_table_of_a_broken_length_is_refused(length: int) -> None:
    with pytest.raises(CorruptError):
        FrameTable.decode(bytes(length))
