from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import PackId, pack_path
from b10_store.packs import health as pack_health
from b10_store.packs.health import VERIFIED_BYTES, Packs, look_at_packs
from tests.support.counting_remote import CountingRemote
from tests.support.meanwhile import failing
from tests.support.packed import Packed, memory_store, pack_blobs
from tests.support.values import pack_id

if TYPE_CHECKING:
    from b10_store.remote.memory import MemoryRemote


@pytest.fixture
def remote() -> MemoryRemote:
    return memory_store()


@pytest.fixture
def packed(remote: MemoryRemote) -> Packed:
    return pack_blobs(remote, [b"one", b"two"])


def sizes(*packs: Packed) -> dict[PackId, int]:
    return {item.pack: len(item.data) for item in packs}


def packs(*, good: set[PackId], verified: set[PackId], suspects: set[PackId]) -> Packs:
    return Packs(frozenset(good), frozenset(verified), frozenset(suspects))


def test_an_intact_pack_is_good_and_verified(packed: Packed) -> None:
    found = look_at_packs(packed.remote, sizes(packed))
    assert found == packs(good={packed.pack}, verified={packed.pack}, suspects=set())


def test_a_pack_that_nobody_relies_on_is_good_and_not_read(packed: Packed) -> None:
    remote = CountingRemote(packed.remote)
    assert look_at_packs(remote, {}) == packs(good={packed.pack}, verified=set(), suspects=set())
    assert remote.calls == [("list", "packs")]


def test_other_files_are_no_packs(packed: Packed) -> None:
    packed.remote.create("packs", f"{packed.pack}.pack.tmp-00", [])
    packed.remote.create("packs", "notes", [])
    assert look_at_packs(packed.remote, {}).good == {packed.pack}


def test_a_pack_that_is_gone_is_neither_good_nor_suspect(packed: Packed) -> None:
    known = {pack_id(1): 100, **sizes(packed)}
    found = look_at_packs(packed.remote, known)
    assert found == packs(good={packed.pack}, verified={packed.pack}, suspects=set())


def test_a_pack_in_trash_is_not_there(packed: Packed) -> None:
    known = sizes(packed)
    packed.remote.rename(packed.name, f"trash/gc/{packed.pack}.pack")
    assert look_at_packs(packed.remote, known).good == frozenset()


@pytest.mark.parametrize("change", ["shorter", "longer", "other bytes"])
def test_a_pack_that_is_not_what_its_id_says_is_suspect(packed: Packed, change: str) -> None:
    known, data = sizes(packed), packed.data
    changed = {"shorter": data[:-1], "longer": data + b"x", "other bytes": b"X" + data[1:]}
    packed.replace(changed[change])
    found = look_at_packs(packed.remote, known)
    assert found == packs(good=set(), verified=set(), suspects={packed.pack})


def test_a_changed_byte_in_a_pack_beyond_the_budget_is_seen_only_when_suspected(
    packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_health, "VERIFIED_BYTES", 0)
    known = sizes(packed)
    packed.replace(b"X" + packed.data[1:])
    assert look_at_packs(packed.remote, known).good == {packed.pack}
    assert look_at_packs(packed.remote, known).verified == frozenset()
    assert look_at_packs(packed.remote, known, {packed.pack}).suspects == {packed.pack}


@pytest.mark.parametrize("effect", ["stat", "read"])
def test_one_failure_convicts_nobody_and_two_do(packed: Packed, effect: str) -> None:
    known = sizes(packed)
    once = look_at_packs(failing(packed.remote, OSError(5, "broken"), effect, times=1), known)
    assert once == packs(good={packed.pack}, verified={packed.pack}, suspects=set())
    twice = look_at_packs(failing(packed.remote, OSError(5, "broken"), effect, times=2), known)
    assert twice.suspects == {packed.pack}


def test_a_listing_that_fails_is_an_error(packed: Packed) -> None:
    with pytest.raises(OSError, match="broken"):
        look_at_packs(failing(packed.remote, OSError(5, "broken"), "list"), {})


def test_about_the_budget_is_read_and_the_rest_looked_at(
    remote: MemoryRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [pack_blobs(remote, [b"%d" % number]) for number in range(40)]
    known = sizes(*many)
    size = known[many[0].pack]
    monkeypatch.setattr(pack_health, "VERIFIED_BYTES", 10 * size)
    seen: set[PackId] = set()
    for _ in range(30):
        counting = CountingRemote(remote)
        found = look_at_packs(counting, known)
        assert found.good == known.keys()
        assert 9 <= len(found.verified) <= 12
        assert sorted(counting.names("stat")) == sorted(map(pack_path, known))
        assert len(counting.names("read")) == len(found.verified)
        seen |= found.verified
    assert len(seen) > 30, "savers look at the same packs each time"


def test_a_small_store_is_verified_whole(remote: MemoryRemote) -> None:
    many = [pack_blobs(remote, [b"%d" % number]) for number in range(5)]
    assert sum(sizes(*many).values()) < VERIFIED_BYTES
    assert look_at_packs(remote, sizes(*many)).verified == {item.pack for item in many}
