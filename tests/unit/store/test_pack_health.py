from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import PackId, pack_path
from b10_store.packs.health import Packs, look_at_packs
from tests.support.counting_remote import CountingRemote
from tests.support.meanwhile import failing
from tests.support.packed import Packed, memory_store, pack_blobs
from tests.support.values import pack_id

if TYPE_CHECKING:
    from b10_store.remote.memory import MemoryRemote

BROKEN = OSError(5, "broken")


@pytest.fixture
def remote() -> MemoryRemote:
    return memory_store()


@pytest.fixture
def packed(remote: MemoryRemote) -> Packed:
    return pack_blobs(remote, [b"one", b"two"])


def sizes(*packs: Packed) -> dict[PackId, int]:
    return {item.pack: len(item.data) for item in packs}


def packs(*, good: set[PackId], verified: set[PackId]) -> Packs:
    return Packs(frozenset(good), frozenset(verified))


def test_lengths_are_compared_and_nothing_is_read(remote: MemoryRemote) -> None:
    many = [pack_blobs(remote, [b"%d" % number]) for number in range(5)]
    counting = CountingRemote(remote)
    known = sizes(*many)
    assert look_at_packs(counting, known) == packs(good=set(known), verified=set())
    assert sorted(counting.names("stat")) == sorted(map(pack_path, known))
    assert counting.names("read") == []


def test_a_pack_that_nobody_relies_on_is_good_and_not_read(packed: Packed) -> None:
    remote = CountingRemote(packed.remote)
    found = look_at_packs(remote, {}, {packed.pack})
    assert found == packs(good={packed.pack}, verified=set())
    assert remote.calls == [("list", "packs")]


def test_other_files_are_no_packs(packed: Packed) -> None:
    packed.remote.create("packs", f"{packed.pack}.pack.tmp-00", [])
    packed.remote.create("packs", "notes", [])
    assert look_at_packs(packed.remote, {}).good == {packed.pack}


@pytest.mark.parametrize("suspects", [set[PackId](), {pack_id(1)}])
def test_a_pack_that_is_gone_is_not_good(packed: Packed, suspects: set[PackId]) -> None:
    known = {pack_id(1): 100, **sizes(packed)}
    assert look_at_packs(packed.remote, known, suspects) == packs(
        good={packed.pack}, verified=set()
    )


def test_a_pack_in_trash_is_not_there(packed: Packed) -> None:
    known = sizes(packed)
    packed.remote.rename(packed.name, f"trash/gc/{packed.pack}.pack")
    assert look_at_packs(packed.remote, known).good == frozenset()


@pytest.mark.parametrize("change", ["shorter", "longer"])
def test_a_pack_of_another_length_is_not_good(packed: Packed, change: str) -> None:
    known, data = sizes(packed), packed.data
    packed.replace({"shorter": data[:-1], "longer": data + b"x"}[change])
    assert look_at_packs(packed.remote, known) == packs(good=set(), verified=set())


def test_a_changed_byte_is_seen_in_a_suspect(packed: Packed) -> None:
    known = sizes(packed)
    packed.replace(b"X" + packed.data[1:])
    assert look_at_packs(packed.remote, known).good == {packed.pack}
    assert look_at_packs(packed.remote, known, {packed.pack}) == packs(good=set(), verified=set())


def test_a_suspect_that_is_intact_is_verified(remote: MemoryRemote, packed: Packed) -> None:
    other = pack_blobs(remote, [b"three"])
    counting = CountingRemote(remote)
    found = look_at_packs(counting, sizes(packed, other), {packed.pack})
    assert found == packs(good={packed.pack, other.pack}, verified={packed.pack})
    assert counting.names("read") == [packed.name]


@pytest.mark.parametrize("effect", ["stat", "read"])
def test_one_failure_convicts_nobody_and_two_do(packed: Packed, effect: str) -> None:
    known = sizes(packed)
    once = look_at_packs(failing(packed.remote, BROKEN, effect, times=1), known, known)
    assert once == packs(good={packed.pack}, verified={packed.pack})
    twice = look_at_packs(failing(packed.remote, BROKEN, effect, times=2), known, known)
    assert twice == packs(good=set(), verified=set())


def test_a_listing_that_fails_is_an_error(packed: Packed) -> None:
    with pytest.raises(OSError, match="broken"):
        look_at_packs(failing(packed.remote, BROKEN, "list"), {})
