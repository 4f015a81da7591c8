from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

import pytest

from b10_store.digest import digest_of
from b10_store.format.frame import FrameTable
from b10_store.format.manifest import Location, Manifest, Pack
from b10_store.format.names import Address, parse_pack_name
from b10_store.manifests.reader import ManifestReader
from b10_store.save import dedup
from b10_store.save.dedup import find_elsewhere
from tests.support.blobs import HeldBlob
from tests.support.cache_trees import noise
from tests.support.counting_remote import CountingRemote
from tests.support.meanwhile import failing
from tests.support.packed import memory_store, whole_file, write
from tests.support.published import publish
from tests.support.values import ADDRESS, OTHER_ADDRESS, entry, manifest
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from b10_store.digest import Digest
    from b10_store.format.names import PackId
    from b10_store.remote.memory import MemoryRemote
    from b10_store.remote.protocol import Remote
    from tests.support.wrapped_remote import Call

MIB = 1 << 20
UNLISTED = b"in the pack alone"


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found does not depend on how busy this machine is."""
    monkeypatch.setattr(dedup, "_SECONDS", 60.0)


@pytest.fixture
def remote() -> MemoryRemote:
    return memory_store()


def blobs_of(sizes: list[int]) -> list[bytes]:
    return [noise(size, seed) for seed, size in enumerate(sizes)]


def store_elsewhere(
    remote: Remote,
    scratch: str,
    contents: list[bytes],
    *,
    address: Address = OTHER_ADDRESS,
    milliseconds: int = 1,
    shift: int = 0,
) -> Manifest:
    """Another environment with these blobs in one pack; its manifest is wrong by `shift` bytes."""
    written = write(remote, [HeldBlob.of(content) for content in [*contents, UNLISTED]])
    entries = [
        entry(f"{number}", size=len(content))._replace(
            digest=digest_of(content),
            location=Location(pack, offset + shift),
        )
        for number, content in enumerate(contents)
        for pack, offset in [written.locations[digest_of(content)]]
    ]
    value = dataclasses.replace(
        manifest(milliseconds, entries, address=address), packs=dict(written.packs)
    )
    publish(remote, scratch, value)
    return value


def find(
    remote: Remote, scratch: str, contents: list[bytes], good: set[PackId] | None = None
) -> tuple[dict[Digest, Location], dict[PackId, Pack]]:
    return find_elsewhere(
        remote,
        ManifestReader(remote, scratch, ()),
        ADDRESS,
        {digest_of(content): len(content) for content in contents},
        listed_packs(remote) if good is None else good,
    )


def listed_packs(remote: Remote) -> set[PackId]:
    parsed = (parse_pack_name(name) for name in remote.list("packs"))
    return {pack for pack in parsed if pack is not None}


def test_nothing_is_found_in_an_empty_store(remote: MemoryRemote, scratch: str) -> None:
    assert find(remote, scratch, [b"blob"]) == ({}, {})


def test_blobs_of_another_address_are_found_where_they_are(
    remote: MemoryRemote, scratch: str
) -> None:
    contents = blobs_of([5000, 600_000, 2 * MIB])
    elsewhere = store_elsewhere(remote, scratch, contents)
    locations, packs = find(remote, scratch, [*contents, b"new"])
    expected = {item.digest: item.location for item in elsewhere.entries.values()}
    assert locations == expected
    assert packs == elsewhere.packs


def test_the_own_address_is_not_looked_at(remote: MemoryRemote, scratch: str) -> None:
    contents = blobs_of([2 * MIB])
    store_elsewhere(remote, scratch, contents, address=ADDRESS)
    counting = CountingRemote(remote)
    assert find(counting, scratch, contents) == ({}, {})
    assert counting.names("read") == []


def test_another_namespace_of_the_same_environment_is_looked_at(
    remote: MemoryRemote, scratch: str
) -> None:
    contents = blobs_of([2 * MIB])
    store_elsewhere(
        remote, scratch, contents, address=Address(ADDRESS.environment_key, "namespace")
    )
    assert len(find(remote, scratch, contents)[0]) == 1


def test_a_pack_of_which_a_tenth_is_reused_is_worth_it(remote: MemoryRemote, scratch: str) -> None:
    contents = blobs_of([10_000] * 9 + [10_000 - len(UNLISTED)])
    store_elsewhere(remote, scratch, contents)
    assert len(find(remote, scratch, contents[:1])[0]) == 1


def test_a_pack_of_which_less_than_a_tenth_is_reused_is_not(
    remote: MemoryRemote, scratch: str
) -> None:
    contents = blobs_of([10_000] * 11)
    store_elsewhere(remote, scratch, contents)
    assert find(remote, scratch, contents[:1]) == ({}, {})
    assert len(find(remote, scratch, contents[:2])[0]) == 2


def test_a_mebibyte_that_is_reused_is_worth_it_in_a_pack_of_any_size(
    remote: MemoryRemote, scratch: str
) -> None:
    contents = blobs_of([MIB - 1, MIB, *([MIB] * 20)])
    store_elsewhere(remote, scratch, contents)
    assert find(remote, scratch, contents[:1]) == ({}, {})
    assert set(find(remote, scratch, contents[1:2])[0]) == {digest_of(contents[1])}


def test_a_pack_that_is_not_known_to_be_there_does_not_count(
    remote: MemoryRemote, scratch: str
) -> None:
    contents = blobs_of([2 * MIB])
    store_elsewhere(remote, scratch, contents)
    assert find(remote, scratch, contents, good=set()) == ({}, {})


def test_a_blob_of_another_size_does_not_count(remote: MemoryRemote, scratch: str) -> None:
    contents = blobs_of([2 * MIB])
    store_elsewhere(remote, scratch, contents)
    reader = ManifestReader(remote, scratch, ())
    wanted = {digest_of(contents[0]): 2 * MIB - 1}
    assert find_elsewhere(remote, reader, ADDRESS, wanted, listed_packs(remote)) == ({}, {})


def test_a_manifest_that_the_pack_itself_contradicts_is_not_believed(
    remote: MemoryRemote, scratch: str
) -> None:
    contents = blobs_of([5000, 600_000])
    store_elsewhere(remote, scratch, contents, shift=1)
    assert find(remote, scratch, contents) == ({}, {})


def test_a_pack_with_other_frames_than_the_manifest_says_is_not_believed(
    remote: MemoryRemote, scratch: str
) -> None:
    contents = blobs_of([600_000, 700_000])
    honest = store_elsewhere(remote, scratch, contents)
    ((pack, known),) = honest.packs.items()
    lying = Pack(known.size, FrameTable(tuple(reversed(known.frames.sizes))))
    assert lying != known
    publish(remote, scratch, dataclasses.replace(honest, packs={pack: lying}))
    assert find(remote, scratch, contents) == ({}, {})


@pytest.mark.parametrize("kept", [0, 100, -1, -60])
def test_a_pack_without_a_whole_footer_is_not_believed(
    remote: MemoryRemote, scratch: str, kept: int
) -> None:
    contents = blobs_of([2 * MIB])
    store_elsewhere(remote, scratch, contents)
    (name,) = remote.list("packs")
    remote.create("packs", name, [whole_file(remote, f"packs/{name}")[:kept]])
    assert find(remote, scratch, contents) == ({}, {})


def test_a_pack_that_vanishes_meanwhile_is_not_used(remote: MemoryRemote, scratch: str) -> None:
    contents = blobs_of([2 * MIB])
    store_elsewhere(remote, scratch, contents)
    vanishing = failing(remote, FileNotFoundError(), "read", "packs/")
    assert find(vanishing, scratch, contents) == ({}, {})


def test_a_damaged_manifest_spoils_nothing_but_itself(remote: MemoryRemote, scratch: str) -> None:
    contents = blobs_of([2 * MIB])
    store_elsewhere(remote, scratch, contents)
    bad = manifest(2, address=Address("e" * 32))
    folder, _, name = bad.name.manifest_path.partition("/")
    remote.create(folder, name, [b"damaged"])
    assert len(find(remote, scratch, contents)[0]) == 1


def test_a_work_folder_that_cannot_be_used_finds_nothing(
    remote: MemoryRemote, scratch: str
) -> None:
    contents = blobs_of([2 * MIB])
    store_elsewhere(remote, scratch, contents)
    assert find(remote, f"{scratch}/missing", contents) == ({}, {})


def test_only_the_newest_manifest_of_an_address_is_read(remote: MemoryRemote, scratch: str) -> None:
    contents = blobs_of([2 * MIB])
    old = store_elsewhere(remote, scratch, contents, milliseconds=1)
    new = store_elsewhere(remote, scratch, blobs_of([3 * MIB]), milliseconds=2)
    counting = CountingRemote(remote)
    assert find(counting, scratch, contents) == ({}, {})
    assert new.name.manifest_path in counting.names("read")
    assert old.name.manifest_path not in counting.names("read")


def test_a_blob_that_two_others_have_is_found_once(remote: MemoryRemote, scratch: str) -> None:
    contents = blobs_of([2 * MIB, 3 * MIB])
    store_elsewhere(remote, scratch, contents)
    store_elsewhere(remote, scratch, list(reversed(contents)), address=Address("e" * 32))
    assert len(remote.list("packs")) == 2
    locations, packs = find(remote, scratch, contents)
    assert len(locations) == 2
    assert packs.keys() == {location.pack for location in locations.values()}


def test_at_most_64_addresses_are_read_the_newest(remote: MemoryRemote, scratch: str) -> None:
    for number in range(70):
        publish(remote, scratch, manifest(number, address=Address(f"{number:032x}")))
    counting = CountingRemote(remote)
    find(counting, scratch, [b"blob"])
    read = counting.names("read")
    assert len(read) == 64
    assert sorted(int(name.rpartition("~")[2][:13]) for name in read) == list(range(6, 70))


class Slow(WrappedRemote):
    """Answers after it was told to."""

    def __init__(self, inner: Remote) -> None:
        super().__init__(inner)
        self.go_on = threading.Event()

    def before(self, call: Call) -> None:
        if call.effect == "read":
            self.go_on.wait(300)


def test_a_slow_store_is_not_waited_for(
    remote: MemoryRemote, scratch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = blobs_of([2 * MIB])
    store_elsewhere(remote, scratch, contents)
    monkeypatch.setattr(dedup, "_SECONDS", 0.05)
    slow = Slow(remote)
    try:
        assert find(slow, scratch, contents) == ({}, {})
    finally:
        slow.go_on.set()
