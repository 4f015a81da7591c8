from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b10_store.digest import digest_of
from b10_store.format.frame import FrameTable
from b10_store.format.names import FRAME_RAW_LIMIT
from b10_store.packs.reader import Fetcher, Wanted
from tests.support.blobs import CollectedStream, Collector, prose
from tests.support.cache_trees import noise
from tests.support.counting_remote import CountingRemote
from tests.support.packed import Packed, fetch, memory_store, pack_blobs
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from b10_store.digest import Digest
    from b10_store.remote.protocol import Range

MIB = FRAME_RAW_LIMIT
CONTENTS = (
    *(prose(300_000, seed) for seed in range(8)),
    b"",
    noise(3 * MIB + 11),
    *(noise(600_000, seed) for seed in range(5)),
    prose(5 * MIB),
    b"the last",
)
PACKED = pack_blobs(memory_store(), CONTENTS)
"""Never changed by a test: `fresh` makes one that may be."""


def fresh() -> Packed:
    return pack_blobs(memory_store(), CONTENTS)


@given(st.sets(st.sampled_from(PACKED.wanted)))
def test_exactly_the_blobs_asked_for_are_delivered_by_one_open(wanted: set[Wanted]) -> None:
    remote = CountingRemote(PACKED.remote)
    sink = Collector()
    fetched = fetch(remote, PACKED.name, PACKED.frames, sorted(wanted), sink)
    assert fetched.delivered == sink.blobs.keys() == {item.digest for item in wanted}
    assert all(digest_of(data) == digest for digest, data in sink.blobs.items())
    assert (fetched.damaged, fetched.error) == (set(), None)
    assert len(remote.calls) <= 1


def test_nothing_but_empty_blobs_needs_no_read() -> None:
    remote = CountingRemote(PACKED.remote)
    empty = [item for item in PACKED.wanted if item.size == 0]
    sink = Collector()
    assert fetch(remote, PACKED.name, PACKED.frames, empty, sink).delivered == {digest_of(b"")}
    assert remote.calls == []


class RangeRecorder(WrappedRemote):
    """Notes which ranges were asked for."""

    ranges: Sequence[Range] = ()

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        self.ranges = ranges
        yield from self.inner.read(name, ranges)


def test_near_frames_are_read_at_once_and_far_ones_are_not_read_through() -> None:
    packed = pack_blobs(memory_store(), [noise(MIB, seed) for seed in range(20)])
    remote = RangeRecorder(packed.remote)
    wanted = [packed.wanted[index] for index in (0, 1, 9, *range(12, 20))]
    assert len(fetch(remote, packed.name, packed.frames, wanted, Collector()).delivered) == 11
    starts = [packed.frames.stored_start(index) for index in range(21)]
    asked = [
        (starts.index(part.start), starts.index(part.start + part.length)) for part in remote.ranges
    ]
    assert asked[:2] == [(0, 2), (9, 10)]
    assert max(part.length for part in remote.ranges) <= 4 << 20
    assert asked[2][0] == 12
    assert asked[-1][1] == 20


def test_a_damaged_frame_costs_only_the_blobs_in_it() -> None:
    packed = fresh()
    for index in range(len(packed.frames.sizes)):
        data = bytearray(PACKED.data)
        data[packed.frames.stored_start(index)] ^= 0x40
        packed.replace(bytes(data))
        fetched, sink = packed.fetch()
        inside = {
            item.digest
            for item in packed.wanted
            if index in packed.frames.covering(item.offset, item.size)
        }
        assert fetched.damaged == inside
        assert fetched.delivered == {item.digest for item in packed.wanted} - inside
        assert sink.blobs.keys() == fetched.delivered
        assert set(sink.discarded) <= inside


def test_no_changed_byte_of_a_frame_lets_wrong_bytes_through() -> None:
    contents = [prose(400, seed) for seed in range(4)]
    packed = pack_blobs(memory_store(), contents)
    good = packed.data
    for position in range(packed.stored_size):
        data = bytearray(good)
        data[position] ^= 0x10
        packed.replace(bytes(data))
        fetched, sink = packed.fetch()
        assert fetched.delivered | fetched.damaged == {item.digest for item in packed.wanted}
        assert sink.blobs.keys() == fetched.delivered
        assert all(digest_of(content) == digest for digest, content in sink.blobs.items())


def test_a_pack_cut_short_gives_what_it_still_has() -> None:
    packed = fresh()
    for length in range(0, packed.stored_size, 400_001):
        packed.replace(PACKED.data[:length])
        fetched, sink = packed.fetch()
        whole = {
            item.digest
            for item in packed.wanted
            if packed.frames.stored_start(
                packed.frames.covering(item.offset, item.size)[-1] + 1 if item.size else 0
            )
            <= length
        }
        assert fetched.delivered == sink.blobs.keys() == whole
        assert fetched.damaged == {item.digest for item in packed.wanted} - whole


def test_an_empty_file_in_place_of_a_pack_has_only_the_empty_blob() -> None:
    packed = fresh()
    packed.replace(b"")
    fetched, _ = packed.fetch()
    assert fetched.delivered == {digest_of(b"")}
    assert len(fetched.damaged) == len(CONTENTS) - 1


def test_a_pack_that_is_not_there_damages_nothing() -> None:
    packed = fresh()
    packed.remote.delete(packed.name)
    fetched, sink = packed.fetch()
    assert isinstance(fetched.error, FileNotFoundError)
    assert fetched.damaged == set()
    assert fetched.delivered == sink.blobs.keys() == {digest_of(b"")}


@pytest.mark.parametrize("shift", [1, -1, 299_999, 1 << 50])
def test_bytes_at_another_place_are_not_delivered(shift: int) -> None:
    item = PACKED.wanted[1]
    moved = item._replace(offset=item.offset + shift)
    fetched, sink = PACKED.fetch([moved])
    assert (fetched.damaged, sink.blobs) == ({item.digest}, {})


@pytest.mark.parametrize("place", [(0, -1), (-1, 1), (1 << 70, 0), (0, 1 << 70)])
def test_a_place_outside_the_pack_is_damage(place: tuple[int, int]) -> None:
    digest = PACKED.wanted[0].digest
    fetched, sink = PACKED.fetch([Wanted(digest, *place)])
    assert (fetched.damaged, sink.blobs) == ({digest}, {})


def test_bytes_of_another_digest_are_not_delivered() -> None:
    other = digest_of(b"something else")
    for item in PACKED.wanted:
        fetched, sink = PACKED.fetch([item._replace(digest=other)])
        assert (fetched.damaged, fetched.delivered, sink.blobs) == ({other}, set(), {})
        spans = len(PACKED.frames.covering(item.offset, item.size)) > 1
        assert sink.discarded == [other] * spans


def test_a_frame_table_that_is_not_the_packs_delivers_nothing_wrong() -> None:
    sizes = list(PACKED.frames.sizes)
    sizes[0], sizes[1] = sizes[1], sizes[0]
    sink = Collector()
    fetched = fetch(PACKED.remote, PACKED.name, FrameTable(tuple(sizes)), PACKED.wanted, sink)
    assert all(digest_of(data) == digest for digest, data in sink.blobs.items())
    assert fetched.damaged


class BreakingRemote(WrappedRemote):
    """Reads fail after some ranges."""

    def __init__(self, inner: Packed, good: int) -> None:
        super().__init__(inner.remote)
        self._good = good

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        for count, part in enumerate(self.inner.read(name, ranges)):
            if count == self._good:
                raise OSError(5, "the server is gone")
            yield part


def test_a_read_that_breaks_off_keeps_what_came_and_says_why() -> None:
    sink = Collector()
    remote = BreakingRemote(PACKED, good=1)
    fetched = fetch(remote, PACKED.name, PACKED.frames, PACKED.wanted, sink)
    assert fetched.error is not None
    assert fetched.error.strerror == "the server is gone"
    assert fetched.damaged == set()
    assert digest_of(b"") in fetched.delivered
    assert 1 < len(fetched.delivered) < len(CONTENTS)
    assert fetched.delivered == sink.blobs.keys()


class FullSink(Collector):
    """Has no room for one blob."""

    def __init__(self, digest: Digest) -> None:
        super().__init__()
        self._refused = digest

    def put(self, blobs: Sequence[tuple[Digest, bytes]]) -> None:
        if self._refused in dict(blobs):
            raise ZeroDivisionError
        super().put(blobs)

    def stream(self, digest: Digest) -> CollectedStream:
        if digest == self._refused:
            raise ZeroDivisionError
        return super().stream(digest)


def test_what_the_sink_raises_ends_the_fetch() -> None:
    for item in PACKED.wanted:
        with pytest.raises(ZeroDivisionError):
            fetch(PACKED.remote, PACKED.name, PACKED.frames, PACKED.wanted, FullSink(item.digest))


@pytest.mark.parametrize("position", range(len(CONTENTS)))
def test_what_the_sink_raises_ends_the_fetches_of_other_packs_too(position: int) -> None:
    wanted = PACKED.wanted[position]
    sink = Collector()
    with ThreadPoolExecutor(2) as pool:
        fetcher = Fetcher(PACKED.remote, pool, 1)
        with pytest.raises(ZeroDivisionError):
            fetcher.fetch(PACKED.name, PACKED.frames, [wanted], FullSink(wanted.digest))
        rest = [item for item in PACKED.wanted if item.size]
        fetched = fetcher.fetch(PACKED.name, PACKED.frames, rest, sink)
    assert (fetched.delivered, fetched.damaged, sink.blobs) == (set(), set(), {})
