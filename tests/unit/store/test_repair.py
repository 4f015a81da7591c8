"""What a check does about what it finds, when it may."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.format.manifest_file import decode_manifest
from b10_store.format.names import Address, SnapshotName
from tests.support.blobs import prose
from tests.support.checked_stores import TREE, CheckedStore, flipped, kind_of
from tests.support.counting_remote import CountingRemote
from tests.support.meanwhile import failing
from tests.support.published import publish
from tests.support.values import manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOREVER = 1 << 30
GONE = FileNotFoundError(errno.ENOENT, "No such file or directory")


# Without repair, nothing changes.


def damage_everything(store: CheckedStore) -> None:
    """Damage of each kind, beside an intact copy in trash and in quarantine."""
    for number in range(2, 8):
        store.save(Address(f"{number}" * 32), number=number)
    first, second, third, fourth, *_ = store.in_folder("packs")
    store.move(first, f"trash/0/{first.partition('/')[2]}")
    store.move(second, f"quarantine/{second.partition('/')[2]}")
    store.place.put(third, flipped(store.get(third)))
    store.place.put(fourth, store.get(fourth)[:-5])
    store.place.put(store.in_folder("manifests")[-1], b"damaged")
    store.place.put("FORMAT", b"")


def test_without_repair_nothing_changes(store: CheckedStore) -> None:
    damage_everything(store)
    before = {name: (data, store.place.mtime(name)) for name, data in store.files().items()}
    counting = CountingRemote(store.remote)
    faults = store.check(counting, read_data=True).faults
    assert len(faults) >= 5
    assert {fault.repaired for fault in faults} == {""}
    assert counting.changes == []
    after = {name: (data, store.place.mtime(name)) for name, data in store.files().items()}
    assert after == before


# Repair.


def test_a_repair_of_a_store_in_order_changes_nothing(store: CheckedStore) -> None:
    name = store.in_folder("packs")[0]
    store.place.put(f"trash/1/{name.partition('/')[2]}", store.get(name))
    counting = CountingRemote(store.remote)
    assert store.check(counting, read_data=True, repair=True).faults == []
    assert counting.changes == []


@pytest.mark.parametrize("folder", ["trash/1", "quarantine"])
@pytest.mark.parametrize("read_data", [False, True])
def test_a_missing_pack_is_put_back_from_where_it_lies(
    store: CheckedStore, folder: str, read_data: bool
) -> None:
    name = store.in_folder("packs")[0]
    data = store.get(name)
    spare = f"{folder}/{name.partition('/')[2]}"
    store.move(name, spare)
    (fault,) = store.check(read_data=read_data, repair=True).faults
    assert kind_of(fault) == (name, "MISSING")
    assert fault.repaired == f"put back from {spare}"
    assert store.get(name) == data
    assert spare not in store.place.names()
    assert store.faults(read_data=True) == []


def test_only_an_intact_copy_is_put_back(store: CheckedStore) -> None:
    name = store.in_folder("packs")[0]
    base, data = name.partition("/")[2], store.get(name)
    store.remote.delete(name)
    wrong = {f"trash/1/{base}": data[:-1], f"trash/2/{base}": flipped(data), f"trash/3/{base}": b""}
    for place, content in wrong.items():
        store.place.put(place, content)
    (fault,) = store.check(repair=True).faults
    assert (kind_of(fault), fault.repaired) == ((name, "MISSING"), "")
    assert {place: store.get(place) for place in wrong} == wrong
    store.place.put(f"trash/2b/{base}", data)
    (fault,) = store.check(repair=True).faults
    assert fault.repaired == f"put back from trash/2b/{base}"
    assert store.get(name) == data


@pytest.mark.parametrize("read_data", [False, True])
def test_a_damaged_pack_goes_to_quarantine(store: CheckedStore, read_data: bool) -> None:
    name = store.in_folder("packs")[0]
    damaged = bytes(len(store.get(name)) - 1)
    store.place.put(name, damaged)
    (fault,) = store.check(read_data=read_data, repair=True).faults
    assert fault.repaired.startswith(f"moved to quarantine/{name.partition('/')[2]}; ")
    assert name not in store.place.names()
    assert [store.get(item) for item in store.in_folder("quarantine")] == [damaged]
    (again,) = store.check(read_data=read_data, repair=True).faults
    assert (kind_of(again), again.repaired) == ((name, "MISSING"), "")


def test_a_pack_whose_blobs_are_all_sound_is_written_again(store: CheckedStore) -> None:
    name = store.in_folder("packs")[0]
    data = store.get(name)
    store.place.put(name, data[:-1])
    (fault,) = store.check(repair=True).faults
    assert fault.repaired == "written again from its intact blobs"
    assert store.get(name) == data
    assert store.in_folder("quarantine") == []
    assert store.faults(read_data=True) == []


@pytest.mark.parametrize("folder", ["trash/1", "quarantine"])
def test_an_intact_copy_takes_the_place_of_a_damaged_pack(store: CheckedStore, folder: str) -> None:
    name = store.in_folder("packs")[0]
    base, data = name.partition("/")[2], store.get(name)
    store.place.put(f"{folder}/{base}", data)
    store.place.put(name, flipped(data))
    (fault,) = store.check(read_data=True, repair=True).faults
    assert fault.repaired == f"put back from {folder}/{base}"
    assert store.get(name) == data
    assert [store.get(item) for item in store.in_folder("quarantine")] == [flipped(data)]
    assert store.faults(read_data=True) == []


def test_quarantine_keeps_every_file_that_was_moved_there(store: CheckedStore) -> None:
    name = store.in_folder("packs")[0]
    data = store.get(name)
    for number in range(4):
        store.place.put(name, bytes(len(data) - 1 - number))
        assert store.faults(repair=True) == [(name, "DAMAGED")]
    kept = [store.get(item) for item in store.in_folder("quarantine")]
    assert sorted(map(len, kept)) == [len(data) - 1 - number for number in (3, 2, 1, 0)]


def test_a_copy_with_another_name_in_quarantine_is_found(store: CheckedStore) -> None:
    name = store.in_folder("packs")[0]
    data = store.get(name)
    store.place.put(f"quarantine/{name.partition('/')[2]}", b"damaged")
    store.move(name, f"quarantine/{name.partition('/')[2]}~0123")
    (fault,) = store.check(repair=True).faults
    assert fault.repaired
    assert store.get(name) == data


def test_what_goes_to_quarantine_is_kept_from_then_on(store: CheckedStore) -> None:
    name = store.in_folder("packs")[0]
    long_ago = time.time() - 90 * 86400
    store.place.put(name, b"damaged", mtime=long_ago)
    store.check(repair=True)
    (moved,) = store.in_folder("quarantine")
    assert time.time() - store.place.mtime(moved) < 60


def test_a_damaged_manifest_goes_to_quarantine(store: CheckedStore) -> None:
    name, _ = store.in_folder("manifests")
    store.place.put(name, b"damaged")
    (fault,) = store.check(repair=True).faults
    assert fault.repaired.startswith("moved to quarantine/")
    assert name not in store.place.names()
    assert store.check(repair=True).faults == []


def test_a_pack_is_not_moved_for_a_length_that_a_manifest_made_up(
    store: CheckedStore, tmp_path: Path
) -> None:
    (head,) = store.hosts.new().heads().manifests
    ((own, known),) = head.packs.items()
    liar = manifest(5, head.entries.values(), address=Address("e" * 32))
    lying = type(known)(known.size + 7, known.frames)
    name = SnapshotName(liar.address, liar.name.snapshot)
    forged = type(liar)(name, liar.lineage, {own: lying}, liar.entries)
    publish(store.remote, str(tmp_path), forged)
    assert decode_manifest(store.get(name.manifest_path), name, str(tmp_path)).packs[own] == lying
    before = store.files()
    for read_data in (False, True):
        store.check(read_data=read_data, repair=True)
        assert store.files() == before


def test_a_pack_that_cannot_be_moved_is_told_and_the_rest_is_repaired(store: CheckedStore) -> None:
    first, second = store.in_folder("packs")
    base = second.partition("/")[2]
    store.place.put(first, b"damaged")
    store.move(second, f"trash/1/{base}")
    refused = PermissionError(errno.EACCES, "Permission denied")
    told = store.check(failing(store.remote, refused, "rename", first), repair=True)
    by_file = {fault.name: fault for fault in told.faults}
    assert by_file[first].repaired == ""
    assert "could not be moved" in by_file[first].reason
    assert by_file[second].repaired == f"put back from trash/1/{base}"


def test_a_copy_that_a_collection_takes_away_meanwhile_is_no_error(store: CheckedStore) -> None:
    name = store.in_folder("packs")[0]
    store.move(name, f"trash/1/{name.partition('/')[2]}")
    told = store.check(failing(store.remote, GONE, "rename", times=1), repair=True)
    assert [(kind_of(fault), fault.repaired) for fault in told.faults] == [((name, "MISSING"), "")]


def test_a_repair_on_a_store_that_cannot_be_written_tells_all_the_same(store: CheckedStore) -> None:
    damage_everything(store)
    before = store.files()
    read_only = OSError(errno.EROFS, "Read-only file system")
    remote = failing(store.remote, read_only, "rename touch create delete open_token")
    told = store.check(remote, read_data=True, repair=True)
    assert len(told.faults) == len(store.check(read_data=True).faults)
    assert {fault.repaired for fault in told.faults} == {""}
    assert store.files() == before


LOSSES: dict[str, Callable[[bytes], bytes] | None] = {
    "short": lambda data: data[:-1],
    "flipped": flipped,
    "half": lambda data: data[: len(data) // 2],
    "gone": None,
}


@pytest.mark.parametrize("manifest_too", [False, True])
@pytest.mark.parametrize("change", LOSSES.values(), ids=LOSSES)
def test_after_a_repair_a_save_brings_everything_back(
    tmp_path: Path, change: Callable[[bytes], bytes] | None, manifest_too: bool
) -> None:
    store = CheckedStore(tmp_path)
    host = store.hosts.new().write({**TREE, "large/file.py": prose(3 << 20)})
    host.save()
    (name,) = store.in_folder("packs")
    if change is None:
        store.remote.delete(name)
    else:
        store.place.put(name, change(store.get(name)))
    if manifest_too:
        store.place.put(store.in_folder("manifests")[0], b"damaged")
    store.check(read_data=True, repair=True)
    host.save()
    fresh = store.hosts.new()
    fresh.load()
    assert fresh.tree() == host.tree()
    # Without its manifest nothing references the pack: it is replaced, and not looked at.
    assert store.faults(read_data=True) == []
