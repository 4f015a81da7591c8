from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from b10_store.digest import Digest, digest_of
from b10_store.errors import SizeLimitError
from b10_store.format.names import FRAME_RAW_LIMIT, PACK_CLOSE_SIZE, pack_id_of, pack_path
from b10_store.format.pack_footer import read_footer
from b10_store.packs.reader import Wanted
from b10_store.remote.folder import FolderRemote
from tests.support.blobs import Collector, HeldBlob, prose
from tests.support.cache_trees import noise
from tests.support.packed import fetch, memory_store, pack_blobs, whole_file, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from b10_store.packs.writer import Upload, Written
    from b10_store.remote.protocol import Remote

MIB = FRAME_RAW_LIMIT
_SIZES = st.one_of(
    st.integers(0, 300),
    st.sampled_from([0, 1, 200_000, MIB // 2, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 7]),
)
_CONTENTS = st.lists(
    st.tuples(_SIZES, st.integers(0, 3), st.sampled_from([noise, prose])).map(
        lambda drawn: drawn[2](drawn[0], drawn[1])
    ),
    unique=True,
    max_size=10,
)


def read_back(remote: Remote, written: Written, blobs: list[HeldBlob]) -> dict[Digest, bytes]:
    """Every blob, by what the packs' own footers say."""
    sink = Collector()
    for pack, known in written.packs.items():
        name = pack_path(pack)
        frames, listed = read_footer(remote, name)
        here = [blob for blob in blobs if written.locations[blob.digest].pack == pack]
        places = {blob.digest: (written.locations[blob.digest].offset, blob.size) for blob in here}
        assert frames == known.frames
        assert listed == places
        assert remote.stat(name).size == known.size
        assert pack_id_of(digest_of(whole_file(remote, name))) == pack
        wanted = [Wanted(digest, *place) for digest, place in places.items()]
        assert fetch(remote, name, frames, wanted, sink).damaged == set()
    return sink.blobs


@given(_CONTENTS)
def test_any_blobs_come_back_from_packs(contents: list[bytes]) -> None:
    remote = memory_store()
    blobs = [HeldBlob.of(content) for content in contents]
    written = write(remote, blobs)
    assert written.changed == []
    assert read_back(remote, written, blobs) == {blob.digest: blob.data for blob in blobs}
    names = sorted(f"packs/{name}" for name in remote.list("packs"))
    assert names == sorted(map(pack_path, written.packs))
    assert written.stored_bytes == sum(remote.stat(name).size for name in names)


@given(_CONTENTS.filter(bool))
def test_a_pack_unpacks_to_its_raw_stream_with_plain_zstd(contents: list[bytes]) -> None:
    remote = memory_store()
    packed = pack_blobs(remote, contents)
    with zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(packed.data), read_across_frames=True
    ) as reader:
        raw = reader.read()
    assert len(raw) == packed.frames.raw_size == sum(map(len, contents))
    for content, item in zip(contents, packed.wanted, strict=True):
        assert raw[item.offset : item.offset + item.size] == content


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd program")
def test_the_zstd_program_unpacks_a_pack(tmp_path: Path) -> None:
    contents = [prose(5000), noise(MIB + 3), b"", prose(20)]
    packed = pack_blobs(FolderRemote(str(tmp_path)), contents)
    command = ["zstd", "-d", "-c", str(tmp_path / packed.name)]
    unpacked = subprocess.run(command, capture_output=True, check=True).stdout
    assert unpacked == b"".join(contents)


def test_small_blobs_share_frames_and_large_ones_have_their_own() -> None:
    packed = pack_blobs(
        memory_store(), [noise(10), noise(20), noise(MIB + 5), noise(30), noise(MIB - 1), noise(7)]
    )
    assert [raw for _, raw in packed.frames.sizes] == [30, MIB, 5, 30, MIB - 1, 7]


def test_no_blob_under_a_frame_is_cut() -> None:
    contents = [noise(300_000, seed) for seed in range(20)]
    packed = pack_blobs(memory_store(), contents)
    assert {len(packed.frames.covering(item.offset, item.size)) for item in packed.wanted} == {1}
    assert [raw for _, raw in packed.frames.sizes] == [900_000] * 6 + [600_000]


def test_thousands_of_blobs_come_back() -> None:
    remote = memory_store()
    contents = [b"%d" % number for number in range(20_000)]
    packed = pack_blobs(remote, contents)
    _, listed = read_footer(remote, packed.name)
    assert len(listed) == 20_000
    fetched, sink = packed.fetch()
    assert len(fetched.delivered) == 20_000
    assert sink.blobs == {digest_of(content): content for content in contents}


def test_a_pack_closes_at_its_size_but_never_inside_a_blob() -> None:
    remote = memory_store()
    sizes = [PACK_CLOSE_SIZE - MIB, 100, 5 * MIB, MIB // 2, 20 * MIB]
    blobs = [HeldBlob.of(noise(size)) for size in sizes]
    written = write(remote, blobs)
    packs = [written.locations[blob.digest].pack for blob in blobs]
    assert packs[0] == packs[1] == packs[2]
    assert packs[3] == packs[4] != packs[0]
    assert written.packs[packs[0]].size > PACK_CLOSE_SIZE
    assert read_back(remote, written, blobs) == {blob.digest: blob.data for blob in blobs}


def test_the_same_blobs_make_the_same_pack() -> None:
    contents = [prose(5000), b"", noise(2 * MIB)]
    one, two = (pack_blobs(memory_store(), contents) for _ in range(2))
    assert one.data == two.data


def test_no_blobs_make_no_pack() -> None:
    remote = memory_store()
    written = write(remote, [])
    assert (written.packs, written.stored_bytes, remote.list("packs")) == ({}, 0, [])


def test_packs_over_the_limit_are_refused_and_the_one_being_written_is_gone() -> None:
    remote = memory_store()
    contents = [noise(2 * MIB, seed) for seed in range(20)]
    with pytest.raises(SizeLimitError, match=r"takes 40\.0 MB .* limit of 38\.1 MB") as caught:
        write(remote, [HeldBlob.of(content) for content in contents], limit=40_000_000)
    (left,) = remote.list("packs")
    assert remote.stat(f"packs/{left}").size < 40_000_000
    # What would have done, but for the footers.
    assert 40 * MIB < caught.value.needed < 41 * MIB


def test_packs_that_take_exactly_the_limit_are_written() -> None:
    blobs = [HeldBlob.of(noise(2 * MIB))]
    size = write(memory_store(), blobs).stored_bytes
    assert write(memory_store(), blobs, limit=size).stored_bytes == size
    with pytest.raises(SizeLimitError):
        write(memory_store(), blobs, limit=size - 1)


@dataclasses.dataclass(frozen=True, slots=True)
class VanishingBlob:
    """A blob of which some bytes can be read, and then an error comes."""

    digest: Digest
    size: int
    readable: int

    def read(self) -> Iterator[bytes]:
        for _ in range(0, self.readable, MIB):
            yield bytes(min(self.readable, MIB))
        raise FileNotFoundError


_SAID = 3 * MIB + 5
_CHANGED: dict[str, Upload] = {
    "small, other bytes": HeldBlob(digest_of(b"was"), 3, b"now"),
    "small, grown": HeldBlob(digest_of(b"was"), 3, b"was and more"),
    "small, grown beyond a frame": HeldBlob(digest_of(b"was"), 3, noise(5 * MIB)),
    "small, shrunk": HeldBlob(digest_of(b"was"), 3, b"wa"),
    "small, emptied": HeldBlob(digest_of(b"was"), 3, b""),
    "small, gone": VanishingBlob(digest_of(b"was"), 3, 0),
    "empty, grown": HeldBlob(digest_of(b""), 0, b"now"),
    "one frame, other bytes": HeldBlob(digest_of(noise(MIB)), MIB, noise(MIB, 1)),
    "one frame, grown": HeldBlob(digest_of(noise(MIB)), MIB, noise(MIB) + b"x"),
    "large, other bytes": HeldBlob(digest_of(noise(_SAID)), _SAID, noise(_SAID, 1)),
    "large, grown": HeldBlob(digest_of(noise(_SAID)), _SAID, noise(_SAID) + noise(2 * MIB)),
    "large, shrunk": HeldBlob(digest_of(noise(_SAID)), _SAID, noise(_SAID)[: 2 * MIB]),
    "large, emptied": HeldBlob(digest_of(noise(_SAID)), _SAID, b""),
    "large, gone": VanishingBlob(digest_of(noise(_SAID)), _SAID, 0),
    "large, gone half-way": VanishingBlob(digest_of(noise(_SAID)), _SAID, 2 * MIB),
}


@pytest.mark.parametrize("changed", _CHANGED.values(), ids=_CHANGED)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_blob_that_changed_since_it_was_hashed_is_left_out(
    changed: Upload, position: int
) -> None:
    remote = memory_store()
    others = [HeldBlob.of(prose(1000)), HeldBlob.of(noise(MIB + 9))]
    uploads = [*others[:position], changed, *others[position:]]
    written = write(remote, uploads)
    assert written.changed == [changed.digest]
    assert changed.digest not in written.locations
    assert read_back(remote, written, others) == {blob.digest: blob.data for blob in others}


@pytest.mark.parametrize(
    "name", ["small, other bytes", "small, gone", "large, emptied", "large, gone"]
)
def test_nothing_is_written_when_nothing_of_the_blobs_is_left(name: str) -> None:
    remote = memory_store()
    written = write(remote, [_CHANGED[name]])
    assert written.changed == [_CHANGED[name].digest]
    assert remote.list("packs") == []


def test_an_error_of_the_store_leaves_no_pack(tmp_path: Path) -> None:
    (tmp_path / "packs").write_bytes(b"a file where the folder should be")
    with pytest.raises(OSError, match="packs"):
        write(FolderRemote(str(tmp_path)), [HeldBlob.of(noise(5 * MIB))])
