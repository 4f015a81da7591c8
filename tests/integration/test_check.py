"""Stores in real folders that are damaged, checked, repaired and saved to again."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import QUARANTINE_SECONDS
from b10_transfer import CacheError, CacheOperationInterrupted, OperationStatus
from b10_transfer.operations import upkeep
from tests.support.cache_trees import compiled_graph, noise, snapshot
from tests.support.checked_stores import flipped, kind_of
from tests.support.mounts import fill, read_only, tmpfs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b10_store.check.check import CheckReport
    from tests.support.sites import Host, Site

    Where = Callable[[Site], Path]
    Harm = Callable[[Path], None]

MIB = 1 << 20
TREE = {**compiled_graph("model"), "ab/large.bin": noise(3 * MIB)}
OTHER_TREE = compiled_graph("other")


@pytest.fixture
def saver(site: Site) -> Host:
    """A host that saved, and another one beside it in a namespace of its own."""
    site.host("other", OTHER_TREE).save(B10_CACHE_NAMESPACE="other")
    host = site.host("saver", TREE)
    host.save()
    return host


def own_manifest(site: Site) -> Path:
    (found,) = [path for path in site.files("manifests") if ".other" not in path.name]
    return found


def own_pack(site: Site) -> Path:
    return max(site.files("packs"), key=lambda path: path.stat().st_size)


def check(host: Host, *, read_data: bool = False, repair: bool = False) -> CheckReport:
    return upkeep.check(host.settings(), read_data=read_data, repair=repair)


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    path.write_bytes(flipped(path.read_bytes()))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HARM = [cut, flip, empty, link, pipe]
CASES = [
    *((own_manifest, harm, "DAMAGED") for harm in HARM),
    *((own_pack, harm, "DAMAGED") for harm in [*HARM, folder]),
    (own_pack, remove, "MISSING"),
]


def shown(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("where", "harm", "kind"), CASES, ids=shown)
def test_each_damage_is_found_and_without_repair_nothing_changes(
    site: Site, saver: Host, where: Where, harm: Harm, kind: str
) -> None:
    damaged = where(site)
    harm(damaged)
    before = snapshot(site.store)
    report = check(saver, read_data=True)
    name = damaged.relative_to(site.store).as_posix()
    assert [kind_of(fault) for fault in report.faults] == [(name, kind)]
    assert snapshot(site.store) == before


@pytest.mark.parametrize(("where", "harm", "kind"), CASES, ids=shown)
def test_after_a_repair_the_next_save_brings_everything_back(
    site: Site, saver: Host, where: Where, harm: Harm, kind: str
) -> None:
    harm(where(site))
    (fault,) = check(saver, read_data=True, repair=True).faults
    assert bool(fault.repaired) == (kind == "DAMAGED")
    saver.save()
    loader = site.host("loader")
    assert loader.load().status is OperationStatus.SUCCESS
    assert loader.tree() == TREE
    assert check(saver, read_data=True).faults == []
    assert upkeep.collect(saver.settings()).refused == []


def harm_one_artifact(path: Path) -> None:
    """Change a byte in the middle of a pack's large artifact, whose frames are its own."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


WITHOUT_LARGE = {path: data for path, data in TREE.items() if path != "ab/large.bin"}


def test_a_repair_copies_out_what_is_sound_before_it_sets_a_pack_aside(
    site: Site, saver: Host
) -> None:
    pack = own_pack(site)
    harm_one_artifact(pack)
    (fault,) = check(saver, read_data=True, repair=True).faults
    # The library is that of the other namespace, and lies in its pack.
    assert fault.repaired == (
        f"moved to quarantine/{pack.name}; {len(WITHOUT_LARGE) - 1} of its blobs copied out "
        "first, 1 missing until a host that has them saves"
    )
    loader = site.host("loader")
    report = loader.load()
    assert (report.loaded, report.unavailable) == (len(WITHOUT_LARGE), 1)
    assert loader.tree() == WITHOUT_LARGE
    saver.save()
    healed = site.host("healed")
    healed.load()
    assert healed.tree() == TREE
    assert check(saver, read_data=True).faults == []


def test_a_repair_copies_for_every_namespace_that_shares_the_pack(site: Site, saver: Host) -> None:
    site.host("sharing", TREE).save(B10_CACHE_NAMESPACE="shares")
    harm_one_artifact(own_pack(site))
    check(saver, read_data=True, repair=True)
    loader = site.host("loader")
    loader.load(B10_CACHE_NAMESPACE="shares")
    assert loader.tree() == WITHOUT_LARGE


def test_without_the_key_a_pack_of_signed_manifests_stays(site: Site) -> None:
    host = site.host("signer", TREE)
    host.save(B10_CACHE_SIGNING_KEY="x" * 40)
    pack = own_pack(site)
    harm_one_artifact(pack)
    (fault,) = check(host, read_data=True, repair=True).faults
    assert fault.repaired == ""
    assert "no key is set here" in fault.reason
    assert pack.exists()
    loader = site.host("loader")
    loader.load(B10_CACHE_SIGNING_KEY="x" * 40)
    assert loader.tree() == WITHOUT_LARGE


@pytest.mark.parametrize("harm", [cut, flip, link, remove], ids=shown)
def test_a_pack_that_trash_has_is_put_back_without_any_save(
    site: Site, saver: Host, harm: Harm
) -> None:
    pack = own_pack(site)
    trash = site.store / "trash" / "1795320206416-ec4a7010b551a613ef9021755231e3d1"
    trash.mkdir(parents=True)
    (trash / pack.name).write_bytes(pack.read_bytes())
    harm(pack)
    (fault,) = check(saver, read_data=True, repair=True).faults
    assert fault.repaired.startswith("put back from trash/")
    loader = site.host("loader")
    loader.load()
    assert loader.tree() == TREE
    assert check(saver, read_data=True).faults == []


def test_what_was_put_aside_stays_for_its_time_and_then_goes(site: Site, saver: Host) -> None:
    pack = own_pack(site)
    flip(pack)
    long_ago = time.time() - 3 * QUARANTINE_SECONDS
    os.utime(pack, (long_ago, long_ago))
    check(saver, read_data=True, repair=True)
    (aside,) = site.files("quarantine")
    upkeep.collect(saver.settings())
    assert site.files("quarantine") == [aside]
    too_old = time.time() - QUARANTINE_SECONDS - 60
    os.utime(aside, (too_old, too_old))
    upkeep.collect(saver.settings())
    assert site.files("quarantine") == []


def test_a_collection_goes_on_when_a_damaged_manifest_was_put_aside(
    site: Site, saver: Host
) -> None:
    cut(own_manifest(site))
    assert upkeep.collect(saver.settings()).refused
    check(saver, repair=True)
    assert upkeep.collect(saver.settings()).refused == []


def test_a_check_of_a_store_that_is_read_only_works_and_a_repair_says_why_not(
    site: Site, saver: Host
) -> None:
    flip(own_pack(site))
    with read_only(site.store):
        assert len(check(saver, read_data=True).faults) == 1
        (fault,) = check(saver, read_data=True, repair=True).faults
        assert fault.repaired == ""
        assert "Read-only file system" in fault.reason
    assert own_pack(site).exists()


def test_a_store_that_is_no_folder_is_an_error(site: Site) -> None:
    host = site.host("host", TREE)
    site.store.write_bytes(b"a file")
    with pytest.raises(CacheError, match=str(site.store)):
        check(host)


# Space.


@pytest.mark.parametrize("room", [0, 4096])
def test_a_work_folder_without_room_is_named_and_nothing_changes(
    site: Site, saver: Host, room: int
) -> None:
    flip(own_pack(site))
    before = snapshot(site.store)
    with tmpfs(saver.work, size=MIB):
        ballast = fill(saver.work, leave=room)
        with pytest.raises(CacheOperationInterrupted) as caught:
            check(saver, read_data=True, repair=True)
        assert str(saver.work) in str(caught.value)
        assert list(saver.work.iterdir()) == [ballast]
    assert snapshot(site.store) == before


def test_a_repair_needs_no_room_in_the_store(site: Site) -> None:
    with tmpfs(site.store, size=16 * MIB):
        saver = site.host("saver", TREE)
        saver.save()
        (pack,) = site.files("packs")
        spare = site.store / "trash" / "1795320206416-ec4a7010b551a613ef9021755231e3d1" / pack.name
        spare.parent.mkdir(parents=True)
        spare.write_bytes(pack.read_bytes())
        flip(pack)
        (site.store / "quarantine").mkdir()
        fill(site.store, leave=0)
        (fault,) = check(saver, read_data=True, repair=True).faults
        assert fault.repaired.startswith("put back from trash/")
        loader = site.host("loader")
        loader.load()
        assert loader.tree() == TREE
