from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from b10_store.digest import digest_of
from b10_store.errors import CorruptError, LimitError
from b10_store.format.names import pack_path
from b10_store.format.pack_footer import read_footer
from tests.support.blobs import prose
from tests.support.counting_remote import CountingRemote
from tests.support.packed import memory_store, pack_blobs

if TYPE_CHECKING:
    from tests.support.packed import Packed

TAIL = struct.Struct("<32sI8s")
MAGIC = b"B10PACK1"


@pytest.fixture
def packed() -> Packed:
    return pack_blobs(memory_store(), [prose(3000), b"", b"short"])


def footer_of(
    frames: list[tuple[int, int]],
    blobs: list[tuple[bytes, int, int]],
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A footer with a right digest, whatever it says."""
    tables = b"".join(
        [struct.pack("<II", *frame) for frame in frames]
        + [struct.pack("<32sQQ", *blob) for blob in blobs]
    )
    body = tables + struct.pack("<II", *(counts or (len(frames), len(blobs))))
    length = 8 + len(body) + TAIL.size
    head = struct.pack("<II", 0x184D2A5B, length - 8)
    return head + body + TAIL.pack(bytes.fromhex(digest_of(body)), length, MAGIC)


def test_a_footer_written_by_hand_after_the_documented_layout_is_read() -> None:
    remote = memory_store()
    digest = bytes(range(32))
    remote.create("packs", "a", [b"f" * 11, footer_of([(5, 10), (6, 20)], [(digest, 7, 15)])])
    frames, blobs = read_footer(remote, "packs/a")
    assert frames.sizes == ((5, 10), (6, 20))
    assert blobs == {digest.hex(): (7, 15)}


def test_a_footer_is_read_with_one_read_of_the_end_where_it_is_short(packed: Packed) -> None:
    remote = CountingRemote(packed.remote)
    read_footer(remote, packed.name)
    assert remote.calls == [("read", packed.name)]


def test_a_long_footer_takes_a_second_read() -> None:
    contents = [b"%d" % number for number in range(3000)]
    packed = pack_blobs(memory_store(), contents)
    remote = CountingRemote(packed.remote)
    _, blobs = read_footer(remote, packed.name)
    assert len(blobs) == 3000
    assert len(remote.calls) == 2


def test_every_truncated_pack_is_refused(packed: Packed) -> None:
    data = packed.data
    for length in range(len(data)):
        packed.replace(data[:length])
        with pytest.raises(CorruptError):
            read_footer(packed.remote, packed.name)


def test_every_changed_byte_of_a_footer_is_refused(packed: Packed) -> None:
    data = packed.data
    tables = len(data) - (60 + 8 + 3 * 48) + 8
    for position in range(tables, len(data)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= change
            packed.replace(bytes(damaged))
            with pytest.raises(CorruptError):
                read_footer(packed.remote, packed.name)


@pytest.mark.parametrize(
    "length", [0, 1, 8, 30, 43, 44, 51, 52, 59, 61, 100_000, 65 << 20, (1 << 32) - 1]
)
def test_a_footer_of_any_other_declared_length_is_refused(packed: Packed, length: int) -> None:
    data = packed.data
    packed.replace(data[: -len(MAGIC) - 4] + struct.pack("<I", length) + MAGIC)
    with pytest.raises(CorruptError):
        read_footer(packed.remote, packed.name)


@pytest.mark.parametrize("counts", [(0, 0), (2, 0), (0, 1), (1, 2), (7, 0), ((1 << 32) - 1,) * 2])
def test_a_footer_whose_counts_do_not_fit_is_refused(counts: tuple[int, int]) -> None:
    remote = memory_store()
    remote.create("packs", "a", [footer_of([(5, 10)], [(bytes(32), 0, 10)], counts)])
    with pytest.raises((CorruptError, LimitError)):
        read_footer(remote, "packs/a")


@pytest.mark.parametrize("frame", [(0, 1), (1, 0), (1, 1 << 21), ((1 << 32) - 1, 1)])
def test_a_footer_with_an_unacceptable_frame_is_refused(frame: tuple[int, int]) -> None:
    remote = memory_store()
    remote.create("packs", "a", [footer_of([frame], [])])
    with pytest.raises(LimitError):
        read_footer(remote, "packs/a")


def test_a_file_that_is_no_pack_is_refused() -> None:
    remote = memory_store()
    for content in (b"", b"x", bytes(1000), prose(100_000), MAGIC, bytes(44) + MAGIC):
        remote.create("packs", "a", [content])
        with pytest.raises(CorruptError):
            read_footer(remote, "packs/a")


def test_a_pack_that_is_not_there_is_not_found(packed: Packed) -> None:
    packed.remote.delete(packed.name)
    with pytest.raises(FileNotFoundError):
        read_footer(packed.remote, pack_path(packed.pack))
