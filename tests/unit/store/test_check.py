"""What a check finds."""

from __future__ import annotations

import errno
import struct
from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest

from b10_store.errors import UnsupportedFormatError
from b10_store.format.keys import SigningKey
from b10_store.format.names import Address, pack_path
from b10_store.format.seal import PREFIX_SIZE, seal
from b10_store.manifests.problem import Damage
from tests.support.checked_stores import (
    CheckedStore,
    Misreading,
    Shrinking,
    flipped,
    kind_of,
)
from tests.support.counting_remote import CountingRemote
from tests.support.meanwhile import Meanwhile, failing
from tests.support.values import ADDRESS, OTHER_ADDRESS
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b10_store.remote.protocol import Remote
    from tests.support.wrapped_remote import Call

KEY, OTHER_KEY = SigningKey(b"a secret of enough bytes"), SigningKey(b"another one of enough")
FOREVER = 1 << 30
BROKEN = OSError(errno.EIO, "Input/output error")
GONE = FileNotFoundError(errno.ENOENT, "No such file or directory")


def of_another_format(data: bytes) -> bytes:
    """An intact manifest, as a later release may write it."""
    (length,) = struct.unpack_from("<I", data, 8)
    header, body = data[PREFIX_SIZE : PREFIX_SIZE + length], data[PREFIX_SIZE + length :]
    return seal(header.replace(b'"format":1', b'"format":2'), body)


MANIFEST_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flipped": flipped,
    "cut": lambda data: data[:-1],
    "cut in the prefix": lambda data: data[:100],
    "empty": lambda _: b"",
    "longer": lambda data: data + b"x",
    "zeros": lambda data: bytes(len(data)),
}
PACK_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "short": lambda data: data[:-1],
    "long": lambda data: data + b"\0",
    "empty": lambda _: b"",
}


# What is found.


def test_a_store_in_order_has_no_faults(store: CheckedStore) -> None:
    report = store.check()
    assert (report.manifests, report.packs, report.verified_bytes) == (2, 2, 0)
    assert report.faults == []


def test_reading_the_data_verifies_every_byte_of_every_pack(store: CheckedStore) -> None:
    progress: list[int] = []
    report = store.check(read_data=True, on_progress=progress.append)
    sizes = sorted(len(store.get(name)) for name in store.in_folder("packs"))
    assert report.faults == []
    assert report.verified_bytes == sum(sizes)
    assert sorted(progress) == sizes


@pytest.mark.parametrize("change", MANIFEST_DAMAGE.values(), ids=MANIFEST_DAMAGE)
def test_a_damaged_manifest_is_a_fault(
    store: CheckedStore, change: Callable[[bytes], bytes]
) -> None:
    name, _ = store.in_folder("manifests")
    store.place.put(name, change(store.get(name)))
    report = store.check()
    assert [kind_of(fault) for fault in report.faults] == [(name, "DAMAGED")]
    assert (report.manifests, report.packs) == (1, 1)


def test_a_manifest_under_the_name_of_another_is_a_fault(store: CheckedStore) -> None:
    first, second = store.in_folder("manifests")
    store.place.put(first, store.get(second))
    assert store.faults() == [(first, "DAMAGED")]


def test_a_manifest_of_another_format_is_a_fault_and_goes_where_the_store_is_of_this_one(
    store: CheckedStore,
) -> None:
    name, _ = store.in_folder("manifests")
    store.place.put(name, of_another_format(store.get(name)))
    line = store.get("FORMAT")
    store.remote.delete("FORMAT")
    before = store.files()
    assert store.faults(repair=True)[-1] == (name, "UNSUPPORTED")
    assert store.files() == before
    store.place.put("FORMAT", line)
    assert store.faults(repair=True) == [(name, "UNSUPPORTED")]
    assert name not in store.files()


@pytest.mark.parametrize("read_data", [False, True])
@pytest.mark.parametrize("change", PACK_DAMAGE.values(), ids=PACK_DAMAGE)
def test_a_pack_of_another_length_is_a_fault(
    store: CheckedStore, change: Callable[[bytes], bytes], read_data: bool
) -> None:
    name, _ = store.in_folder("packs")
    store.place.put(name, change(store.get(name)))
    report = store.check(read_data=read_data)
    assert [kind_of(fault) for fault in report.faults] == [(name, "DAMAGED")]
    assert "bytes" in report.faults[0].reason
    assert (report.manifests, report.packs) == (2, 1)


def test_a_pack_with_a_wrong_bit_is_found_only_by_reading_it(store: CheckedStore) -> None:
    name, sound = store.in_folder("packs")
    store.place.put(name, flipped(store.get(name)))
    assert store.faults() == []
    report = store.check(read_data=True)
    assert [kind_of(fault) for fault in report.faults] == [(name, "DAMAGED")]
    assert report.verified_bytes == len(store.get(sound))


@pytest.mark.parametrize("read_data", [False, True])
def test_a_pack_that_is_not_there_is_a_fault(store: CheckedStore, read_data: bool) -> None:
    name, _ = store.in_folder("packs")
    store.remote.delete(name)
    assert store.faults(read_data=read_data) == [(name, "MISSING")]


def test_every_fault_is_found_in_one_check(store: CheckedStore) -> None:
    for number in range(2, 8):
        store.save(Address(f"{number}" * 32), number=number)
    manifests, packs = store.in_folder("manifests"), store.in_folder("packs")
    store.place.put(manifests[0], b"damaged")
    for name in packs:
        store.place.put(name, flipped(store.get(name)))
    found = store.faults(read_data=True)
    assert (manifests[0], "DAMAGED") in found
    # The pack of the manifest that cannot be read is not known of.
    assert len([name for name, _ in found if name in packs]) == len(packs) - 1


def test_packs_that_nothing_references_are_no_fault(store: CheckedStore) -> None:
    store.place.put(f"packs/{'0' * 64}.pack", b"of a save that is running")
    store.place.put("packs/notes.txt", b"somebody's")
    report = store.check(read_data=True)
    assert (report.packs, report.faults) == (2, [])


def test_a_format_file_that_is_damaged_is_a_fault(store: CheckedStore) -> None:
    store.place.put("FORMAT", flipped(store.get("FORMAT")))
    assert store.faults() == [("FORMAT", "DAMAGED")]
    store.remote.delete("FORMAT")
    assert store.faults() == [("FORMAT", "MISSING")]


def test_where_there_is_no_store_the_check_says_so(tmp_path: Path) -> None:
    report = CheckedStore(tmp_path).check()
    assert [fault.reason for fault in report.faults] == ["there is no store here"]
    assert (report.manifests, report.packs) == (0, 0)


def test_a_store_of_another_release_is_left_alone(store: CheckedStore) -> None:
    store.place.put("FORMAT", b"b10-transfer store, format 2, check 0000000000000000\n" * 3)
    counting = CountingRemote(store.remote)
    with pytest.raises(UnsupportedFormatError):
        store.check(counting, repair=True)
    assert counting.changes == []


# Signatures.


def test_what_another_key_or_none_signed_is_refused_and_stays(tmp_path: Path) -> None:
    store = CheckedStore(tmp_path)
    store.save(ADDRESS, KEY)
    (signed,) = store.in_folder("manifests")
    store.save(OTHER_ADDRESS, number=1)
    store.save(Address("e" * 32), OTHER_KEY, number=2)
    before = store.files()
    report = store.check(keys=(KEY,), read_data=True, repair=True)
    assert {fault.damage for fault in report.faults} == {Damage.REFUSED}
    assert {fault.name for fault in report.faults} == set(store.in_folder("manifests")) - {signed}
    assert (report.manifests, report.packs) == (1, 1)
    assert store.files() == before
    assert len(store.faults(keys=(KEY, OTHER_KEY))) == 1
    assert store.faults() == []


def test_what_is_refused_and_damaged_is_damaged(tmp_path: Path) -> None:
    store = CheckedStore(tmp_path)
    store.save(ADDRESS)
    (name,) = store.in_folder("manifests")
    store.place.put(name, store.get(name)[:-1])
    assert store.faults(keys=(KEY,)) == [(name, "DAMAGED")]


# One reading is not believed.


def glitches(store: CheckedStore, times: int) -> dict[str, Remote]:
    """Remotes that are wrong in a few looks at one file.

    Each look reads a manifest twice, and repeats what failed in passing.
    """
    remote, manifest_part, pack_part = store.remote, str(ADDRESS), store.in_folder("packs")[0]
    return {
        "a bit of a manifest": Misreading(remote, manifest_part, 2 * times, flipped),
        "a short manifest": Misreading(remote, manifest_part, 2 * times, lambda data: data[:-1]),
        "a manifest that fails": failing(remote, BROKEN, "read", manifest_part, times=2 * times),
        "a bit of a pack": Misreading(remote, pack_part, times, flipped),
        "a pack that fails": failing(remote, BROKEN, "read", pack_part, times=2 * times),
        "a pack of another length": Shrinking(remote, pack_part, times),
        "a pack that is not seen": failing(remote, GONE, "stat", pack_part, times=times),
    }


GLITCHES = [
    *("a bit of a manifest", "a short manifest", "a manifest that fails", "a bit of a pack"),
    *("a pack that fails", "a pack of another length", "a pack that is not seen"),
]


@pytest.mark.parametrize("glitch", GLITCHES)
def test_what_a_second_reading_finds_right_is_no_fault(store: CheckedStore, glitch: str) -> None:
    before = store.files()
    report = store.check(glitches(store, 1)[glitch], read_data=True, repair=True)
    assert report.faults == []
    assert (report.manifests, report.packs) == (2, 2)
    assert store.files() == before


@pytest.mark.parametrize("glitch", GLITCHES)
def test_what_two_readings_find_wrong_is_a_fault(store: CheckedStore, glitch: str) -> None:
    assert len(store.faults(glitches(store, 2)[glitch], read_data=True)) == 1


@pytest.mark.parametrize("glitch", [name for name in GLITCHES if "pack" in name])
def test_a_pack_whose_bytes_are_right_in_the_end_is_never_moved(
    store: CheckedStore, glitch: str
) -> None:
    before = store.files()
    store.check(glitches(store, 2)[glitch], read_data=True, repair=True)
    assert store.files() == before


def test_a_refusal_counts_only_when_it_is_repeated(tmp_path: Path) -> None:
    store = CheckedStore(tmp_path)
    store.save(ADDRESS, KEY)
    # Read to be opened, then to be verified with the key.
    counted = CountingRemote(store.remote)
    store.check(counted, keys=(KEY,))
    assert len([name for name in counted.names("read") if name.startswith("manifests/")]) == 2
    # The first time it is read in three steps: the seal, the rest, and to see that it ended.
    wrong_at_second = chain([False] * 3, repeat(True))

    def change(data: bytes) -> bytes:
        return flipped(data) if next(wrong_at_second) else data

    remote = Misreading(store.remote, "manifests/", 2, change)
    assert store.faults(remote, keys=(KEY,)) == []


@pytest.mark.parametrize(
    ("folder", "effect"), [("manifests", "read"), ("packs", "read"), ("packs", "stat")]
)
def test_what_fails_for_ever_is_unreadable_and_stays_and_the_rest_is_checked(
    store: CheckedStore, folder: str, effect: str
) -> None:
    name, _ = store.in_folder(folder)
    before = store.files()
    report = store.check(failing(store.remote, BROKEN, effect, name), read_data=True, repair=True)
    assert [kind_of(fault) for fault in report.faults] == [(name, "UNREADABLE")]
    assert report.packs == 1
    assert store.files() == before


def test_a_pack_that_nobody_may_open_is_not_intact(store: CheckedStore) -> None:
    name, _ = store.in_folder("packs")
    report = store.check(failing(store.remote, BROKEN, "read", name))
    assert [kind_of(fault) for fault in report.faults] == [(name, "UNREADABLE")]


def test_an_error_while_a_seal_is_verified_does_not_end_the_check(tmp_path: Path) -> None:
    store = CheckedStore(tmp_path)
    store.save(ADDRESS, KEY)
    store.save(OTHER_ADDRESS, KEY, number=1)

    class FailingLater(WrappedRemote):
        """Reads each manifest once and never again."""

        seen: frozenset[str] = frozenset()

        def before(self, call: Call) -> None:
            if call.effect == "read" and call.name.startswith("manifests/"):
                if call.name in self.seen:
                    raise BROKEN
                self.seen |= {call.name}

    found = store.faults(FailingLater(store.remote), keys=(KEY,))
    assert sorted(found) == [(name, "UNREADABLE") for name in store.in_folder("manifests")]


def test_a_store_that_cannot_be_listed_is_an_error(store: CheckedStore) -> None:
    with pytest.raises(OSError, match="Input/output"):
        store.check(failing(store.remote, BROKEN, "list", "manifests"))


# What a collection does meanwhile.


def test_a_manifest_that_was_superseded_meanwhile_is_no_fault(store: CheckedStore) -> None:
    name, _ = store.in_folder("manifests")
    moving = Meanwhile(
        store.remote,
        lambda: store.move(name, "trash/1/gone.manifest"),
        *("list", "manifests"),
        afterwards=True,
    )
    report = store.check(moving, read_data=True)
    assert (report.manifests, report.faults) == (1, [])


def test_a_pack_that_was_collected_with_all_that_references_it_is_no_fault(
    store: CheckedStore,
) -> None:
    (name,) = [name for name in store.in_folder("manifests") if str(ADDRESS) in name]
    (own,) = store.hosts.new().heads().manifests[0].packs

    def collect() -> None:
        for item in (name, pack_path(own)):
            store.move(item, f"trash/1/{item.partition('/')[2]}")

    assert store.faults(Meanwhile(store.remote, collect, "stat", "packs/")) == []
    store.move(f"trash/1/{name.partition('/')[2]}", name)
    assert store.faults() == [(pack_path(own), "MISSING")]
