"""Looking after stores on disks that are full, on real filesystems of a few MB."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import Address
from b10_transfer import CacheOperationInterrupted
from b10_transfer.operations import upkeep
from tests.support.cache_trees import compiled_graph, noise, snapshot
from tests.support.half_dead import forgetting_changes
from tests.support.mounts import fill, tmpfs
from tests.support.store_views import clock_behind

if TYPE_CHECKING:
    from b10_store.gc.report import GcReport
    from tests.support.sites import Host, Site

MIB = 1 << 20
HOUR, DAY = 3600.0, 86400.0
SMALL = compiled_graph("small")
LARGE = {f"{number:02d}/artifact.bin": noise(MIB, number) for number in range(6)}


def let_pass(site: Site, seconds: float) -> None:
    """Make every file of the store older."""
    for path in site.store.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - seconds
            os.utime(path, (then, then))


def own_address(site: Site, namespace: str = "") -> Address:
    key = site.files("manifests")[0].name.partition("~")[0].partition(".")[0]
    return Address(key, namespace)


def unfinished(site: Site) -> list[str]:
    """Files that an operation should have removed."""
    return [path.name for path in site.store.rglob("*.tmp-*")]


def loaded(site: Site, name: str, **changes: str | None) -> dict[str, bytes]:
    host = site.host(name)
    assert host.load(**changes).unavailable == 0
    return host.tree()


def half_dead(site: Site) -> tuple[Host, dict[str, bytes]]:
    """A store in which a visit repacks some MB, and its content."""
    saver = site.host("saver", LARGE)
    with clock_behind(3 * HOUR):
        saver.save()
    other = site.host("other")
    other.load()
    changed = {name: b"made again " + name.encode() for name in list(LARGE)[:3]}
    other.write(changed)
    with clock_behind(2 * HOUR):
        other.save()
    with forgetting_changes():
        assert upkeep.collect(saver.settings()).superseded == 1
    return saver, {**LARGE, **changed}


# The store.


@pytest.mark.parametrize("room", [0, 4096, 65536])
def test_a_collection_frees_a_full_store(site: Site, room: int) -> None:
    with tmpfs(site.store, size=16 * MIB):
        saver = site.host("saver", SMALL)
        saver.save()
        site.host("large", LARGE).save(B10_CACHE_NAMESPACE="large")
        upkeep.remove(own_address(site, "large"), saver.settings())
        let_pass(site, 2 * DAY)
        fill(site.store, leave=room)
        reports: list[GcReport] = []
        for _ in range(4):
            reports.append(upkeep.collect(saver.settings()))
            let_pass(site, 2 * DAY)
        assert reports[-1].freed_bytes > 6 * MIB
        assert unfinished(site) == []
        assert loaded(site, "loader") == SMALL


@pytest.mark.parametrize("room", [0, 4096, 65536, MIB, 2 * MIB])
def test_a_pack_is_not_repacked_where_there_is_no_room(site: Site, room: int) -> None:
    with tmpfs(site.store, size=16 * MIB):
        saver, expected = half_dead(site)
        packs = site.files("packs")
        ballast = fill(site.store, leave=room)
        (line,) = upkeep.collect(saver.settings()).unwritten
        assert "No space left" in line
        assert site.files("packs") == packs
        assert unfinished(site) == []
        assert site.files("sessions") == []
        assert list(saver.work.iterdir()) == []
        assert loaded(site, "loader") == expected
        ballast.unlink()
        assert upkeep.collect(saver.settings()).rewritten_bytes > 2 * MIB
        assert loaded(site, "later") == expected


def test_what_is_in_a_full_store_can_be_taken_out_and_put_back(site: Site) -> None:
    with tmpfs(site.store, size=16 * MIB):
        saver = site.host("saver", SMALL)
        saver.save()
        site.host("large", LARGE).save(B10_CACHE_NAMESPACE="large")
        # Not for bytes, but for the folder that it makes.
        fill(site.store, leave=0)
        address = own_address(site, "large")
        assert upkeep.addresses(saver.settings()) == [own_address(site), address]
        assert upkeep.restore(address, saver.settings()).manifests == 0
        moved = upkeep.remove(address, saver.settings())
        assert moved == 1
        assert upkeep.restore(address, saver.settings()).manifests == 1
        assert loaded(site, "loader", B10_CACHE_NAMESPACE="large") == LARGE


# The work folder.


@pytest.mark.parametrize("room", [0, 4096])
def test_a_collection_without_room_for_manifests_names_the_work_folder_and_deletes_nothing(
    site: Site, room: int
) -> None:
    saver = site.host("saver", SMALL)
    saver.save()
    pack = site.store / "packs" / f"{'0' * 64}.pack"
    pack.write_bytes(b"nothing references it")
    then = time.time() - 2 * DAY
    os.utime(pack, (then, then))
    before = {name: facts for name, facts in snapshot(site.store).items() if name.endswith("t")}
    with tmpfs(saver.work, size=MIB):
        ballast = fill(saver.work, leave=room)
        with pytest.raises(CacheOperationInterrupted) as caught:
            upkeep.collect(saver.settings())
        assert str(saver.work) in str(caught.value)
        assert list(saver.work.iterdir()) == [ballast]
    assert pack.exists()
    after = {name: facts for name, facts in snapshot(site.store).items() if name.endswith("t")}
    assert after == before
    assert upkeep.collect(saver.settings()).trashed_packs == 1


@pytest.mark.parametrize("room", [256 << 10, MIB, 2 * MIB])
def test_a_rewrite_without_room_in_the_work_folder_leaves_everything_as_it_is(
    site: Site, room: int
) -> None:
    saver, expected = half_dead(site)
    packs, manifests = site.files("packs"), site.files("manifests")
    with tmpfs(saver.work, size=8 * MIB):
        ballast = fill(saver.work, leave=room)
        report = upkeep.collect(saver.settings())
        (line,) = report.unwritten
        assert str(saver.work) in line
        assert report.rewritten_bytes == 0
        assert list(saver.work.iterdir()) == [ballast]
    assert (site.files("packs"), site.files("manifests")) == (packs, manifests)
    assert site.files("sessions") == []
    assert loaded(site, "loader") == expected
    assert upkeep.collect(saver.settings()).rewritten_bytes > 2 * MIB
    assert loaded(site, "later") == expected


@pytest.mark.parametrize("room", [0, 4096])
def test_an_undo_without_room_for_the_manifest_changes_nothing(site: Site, room: int) -> None:
    saver = site.host("saver", SMALL)
    saver.save()
    address = own_address(site)
    upkeep.remove(address, saver.settings())
    before = snapshot(site.store)
    with tmpfs(saver.work, size=MIB):
        fill(saver.work, leave=room)
        with pytest.raises(CacheOperationInterrupted) as caught:
            upkeep.restore(address, saver.settings())
        assert str(saver.work) in str(caught.value)
    assert snapshot(site.store) == before
    assert upkeep.restore(address, saver.settings()).manifests == 1
    assert loaded(site, "loader") == SMALL
