"""Taking an address out of a store, and putting it back, while everybody else goes on."""

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING

import pytest

from b10_store.format.keys import SigningKey
from b10_store.format.names import Address, pack_path
from b10_store.gc.remove import Restored
from b10_store.gc.trash import Stage, read_trash
from tests.support.aging_stores import AgingFolder, AgingMemory
from tests.support.blobs import prose
from tests.support.gc_states import during_publish
from tests.support.gc_world import DAY, HOUR, MINUTE, MONTH, STAGE, WITNESS, GcWorld
from tests.support.meanwhile import Meanwhile, failing
from tests.support.values import ADDRESS

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.remote.protocol import Remote
    from b10_store.store import Store
    from tests.support.engine_hosts import EngineHost

NAMESPACE = Address(ADDRESS.environment_key, "model")
OTHER = Address("f" * 32, "model")
KEY = SigningKey(b"a secret of enough bytes")
FIRST = {f"a{number}/{number}.py": prose(2000, number) for number in range(3)}
SECOND = {f"b{number}/{number}.py": prose(2000, 100 + number) for number in range(3)}
LARGE = {f"l{number}/shared.py": prose(1 << 20, 500 + number) for number in range(4)}
BOTH = {**FIRST, **SECOND}


@pytest.fixture(params=["memory", "folder"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> GcWorld:
    folder = AgingFolder(tmp_path / "store")
    return GcWorld(tmp_path, folder if request.param == "folder" else AgingMemory())


@pytest.fixture
def hosts(world: GcWorld) -> dict[Address, EngineHost]:
    """Three hosts that saved: two manifests of the first, and one of each of the others."""
    found = {address: world.hosts.new(address=address) for address in (ADDRESS, NAMESPACE, OTHER)}
    found[ADDRESS].write(FIRST).save()
    world.advance(10 * MINUTE)
    found[ADDRESS].write(SECOND).save()
    found[NAMESPACE].write(FIRST).save()
    found[OTHER].write(SECOND).save()
    return found


def store_of(world: GcWorld, remote: Remote | None = None, key: SigningKey | None = None) -> Store:
    return world.hosts.new(remote, key=key).store()


def remove(world: GcWorld, address: Address, remote: Remote | None = None) -> int:
    return store_of(world, remote).remove(address)


def undo(world: GcWorld, address: Address, remote: Remote | None = None) -> Restored:
    return store_of(world, remote).restore(address)


def is_there(host: EngineHost) -> bool:
    """Whether a load would find a manifest; without one its status is DOES_NOT_EXIST."""
    return bool(host.heads().listed)


# Removing.


def test_what_is_removed_is_gone_and_the_others_load_as_before(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    assert remove(world, NAMESPACE) == 1
    assert not is_there(hosts[NAMESPACE])
    assert world.loaded(hosts[NAMESPACE]) == {}
    assert world.loaded(hosts[ADDRESS]) == BOTH
    assert world.loaded(hosts[OTHER]) == SECOND
    assert store_of(world).addresses() == sorted([ADDRESS, OTHER])
    assert store_of(world).addresses(in_trash=True) == [NAMESPACE]


def test_every_manifest_of_an_environment_goes_and_none_of_its_namespaces(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    assert remove(world, ADDRESS) == 2
    assert world.loaded(hosts[ADDRESS]) == {}
    assert world.loaded(hosts[NAMESPACE]) == FIRST
    assert world.loaded(hosts[OTHER]) == SECOND


def test_removing_what_is_not_there_does_nothing(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    before = world.files()
    assert remove(world, Address("1" * 32)) == 0
    assert undo(world, Address("1" * 32)) == Restored()
    assert undo(world, OTHER) == Restored()
    assert world.files() == before
    assert is_there(hosts[OTHER])


def test_what_is_removed_is_collected_and_the_rest_is_not(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    alone = Address("9" * 32)
    world.hosts.new(address=alone).write({"own.py": b"nobody else has this"}).save()
    remove(world, alone)
    reports = world.to_the_end()
    assert sum(report.freed_files for report in reports) == 2 + 1  # and a superseded manifest
    for address, tree in ((ADDRESS, BOTH), (NAMESPACE, FIRST), (OTHER, SECOND)):
        assert world.loaded(hosts[address]) == tree
    assert store_of(world).addresses(in_trash=True) == []


def test_a_removal_that_is_stopped_leaves_what_supersedes_what_is_gone(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    refused = PermissionError(errno.EACCES, "Permission denied")
    newest = str(hosts[ADDRESS].heads().manifests[0].name)
    with pytest.raises(PermissionError):
        remove(world, ADDRESS, failing(world.remote, refused, "rename", newest, times=1))
    assert world.loaded(hosts[ADDRESS]) == BOTH
    assert remove(world, ADDRESS) == 1
    assert world.loaded(hosts[ADDRESS]) == {}
    assert undo(world, ADDRESS).missing == 0
    assert world.loaded(hosts[ADDRESS]) == BOTH


@pytest.mark.parametrize("afterwards", [False, True])
def test_a_removal_goes_on_after_a_passing_error_and_counts_what_went(
    world: GcWorld, hosts: dict[Address, EngineHost], afterwards: bool
) -> None:
    stale = OSError(errno.ESTALE, "Stale file handle")
    remote = failing(world.remote, stale, "rename", times=1, afterwards=afterwards)
    assert remove(world, ADDRESS, remote) == 2
    assert world.loaded(hosts[ADDRESS]) == {}


def test_a_host_that_saves_after_a_removal_starts_again(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    remove(world, ADDRESS)
    fresh = world.hosts.new().write({"new.py": b"new"})
    fresh.save()
    assert world.loaded(fresh) == {"new.py": b"new"}
    world.to_the_end()
    assert world.loaded(fresh) == {"new.py": b"new"}
    assert world.loaded(hosts[OTHER]) == SECOND


def test_a_save_that_runs_meanwhile_publishes_a_whole_manifest(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    removed: list[int] = []
    during = during_publish(world.remote, lambda: removed.append(remove(world, ADDRESS)))
    saver = world.hosts.new(during).write({"new.py": b"new"})
    assert saver.save().published is not None
    assert removed == [2]
    # It had read what was removed: all of that is there again, and loads.
    assert world.loaded(hosts[ADDRESS]) == BOTH | {"new.py": b"new"}
    world.to_the_end()
    assert world.loaded(hosts[ADDRESS]) == BOTH | {"new.py": b"new"}
    assert remove(world, ADDRESS) == 1
    assert world.loaded(hosts[ADDRESS]) == {}


# Undoing.


def after(world: GcWorld, stage: str) -> None:
    """Let a collection get so far with what was removed."""
    pauses = {
        "at once": (),
        "filled": (25 * HOUR,),
        "witnessed": (25 * HOUR, WITNESS),
        "fenced": (25 * HOUR, WITNESS, STAGE),
        "a day later": (25 * HOUR, WITNESS, STAGE, 20 * HOUR),
    }
    reports = world.visits(*pauses[stage])
    stages = [Stage.FILLED, Stage.WITNESSED, Stage.FENCED, Stage.FENCED]
    assert not reports or max(world.stages()) is stages[len(reports) - 1]


@pytest.mark.parametrize("stage", ["at once", "filled", "witnessed", "fenced", "a day later"])
def test_an_undo_within_a_day_brings_everything_back(
    world: GcWorld, hosts: dict[Address, EngineHost], stage: str
) -> None:
    for address in (ADDRESS, NAMESPACE, OTHER):
        remove(world, address)
    # A store without any manifest is not collected: somebody else has one.
    kept = world.hosts.new(address=Address("9" * 32)).write({"own.py": b"own"})
    kept.save()
    after(world, stage)
    for address, tree in ((ADDRESS, BOTH), (NAMESPACE, FIRST), (OTHER, SECOND)):
        restored = undo(world, address)
        assert (restored.manifests, restored.missing, restored.unusable) == (1, 0, ())
        assert world.loaded(hosts[address]) == tree
    world.to_the_end()
    for address, tree in ((ADDRESS, BOTH), (NAMESPACE, FIRST), (OTHER, SECOND)):
        assert world.loaded(hosts[address]) == tree
    assert world.loaded(kept) == {"own.py": b"own"}
    assert undo(world, ADDRESS) == Restored()


def test_an_undo_brings_packs_back_from_trash_and_counts_them(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    expected = {pack for host in hosts.values() for pack in host.stored().packs}
    for address in hosts:
        remove(world, address)
    world.hosts.new(address=Address("9" * 32)).write({"own.py": b"own"}).save()
    after(world, "filled")
    assert world.trashed_packs() == expected
    assert sum(undo(world, address).packs for address in hosts) == len(expected)
    assert expected <= world.packs()


def test_an_undo_after_the_deletion_finds_nothing(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    remove(world, OTHER)
    world.to_the_end()
    assert undo(world, OTHER) == Restored()
    assert not is_there(hosts[OTHER])


def test_an_undo_tells_how_many_packs_are_gone_and_the_next_save_heals(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    world.hosts.new(address=Address("9" * 32)).write({"own.py": b"own"}).save()
    first, second = sorted(hosts[ADDRESS].stored().packs)
    for address in hosts:
        remove(world, address)
    world.remote.delete(pack_path(first))
    assert undo(world, ADDRESS) == Restored(manifests=1, packs=0, missing=1)
    world.remote.delete(pack_path(second))
    assert undo(world, OTHER).missing == 1
    host = hosts[ADDRESS]
    host.save()
    assert world.loaded(host) == BOTH


def test_a_superseded_manifest_stays_in_trash(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    newest = hosts[ADDRESS].heads().manifests[0].name
    remove(world, ADDRESS)
    assert undo(world, ADDRESS).manifests == 1
    assert [name.name for name in hosts[ADDRESS].heads().manifests] == [newest]
    assert len(hosts[ADDRESS].heads().listed) == 1


def test_a_damaged_manifest_in_trash_does_not_keep_the_others_there(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    oldest, newest = (str(name) for name in hosts[ADDRESS].heads().listed)
    remove(world, ADDRESS)
    (folder,) = read_trash(world.remote)
    world.remote.create(folder.path, f"{oldest}.manifest", [b"damaged"])
    assert undo(world, ADDRESS) == Restored(manifests=1, unusable=(oldest,))
    assert world.loaded(hosts[ADDRESS]) == BOTH
    assert newest in str(hosts[ADDRESS].heads().manifests[0].name)


def test_what_comes_back_does_not_expire_at_the_next_visit(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    world.advance(31 * DAY)
    world.hosts.new(address=Address("9" * 32)).write({"own.py": b"own"}).save()
    (report,) = world.visits(0, policy=MONTH)
    assert OTHER in report.expired
    assert undo(world, OTHER).manifests == 1
    (report,) = world.visits(0, policy=MONTH)
    assert OTHER not in report.expired
    assert world.loaded(hosts[OTHER]) == SECOND


def test_a_signed_address_comes_back_signed(world: GcWorld) -> None:
    host = world.hosts.new(key=KEY).write(FIRST)
    host.save()
    store_of(world, key=KEY).remove(ADDRESS)
    assert world.loaded(host) == {}
    assert store_of(world, key=KEY).restore(ADDRESS).manifests == 1
    assert world.loaded(host) == FIRST


def test_what_was_saved_after_the_removal_stays_beside_what_comes_back(
    world: GcWorld, hosts: dict[Address, EngineHost]
) -> None:
    remove(world, ADDRESS)
    world.hosts.new().write({"new.py": b"new"}).save()
    undo(world, ADDRESS)
    assert world.loaded(hosts[ADDRESS]) == BOTH | {"new.py": b"new"}


# An undo and a collection at the same time.


def alone_and_ripe(world: GcWorld) -> EngineHost:
    """Something that was removed and may be deleted by the next visit."""
    world.hosts.new(address=Address("9" * 32)).write({"own.py": b"own"}).save()
    host = world.hosts.new(address=OTHER).write(FIRST)
    host.save()
    host.write(LARGE).save()
    remove(world, OTHER)
    world.visits(25 * HOUR, WITNESS, STAGE)
    world.advance(25 * HOUR)
    return host


def assert_told_truly(world: GcWorld, host: EngineHost, restored: Restored, number: int) -> None:
    """What an undo reports is what loads find, now and when trash is empty."""
    everything = FIRST | LARGE
    for is_later in (False, True):
        if is_later:
            world.to_the_end()
        loaded = world.loaded(host)
        if restored.manifests and not restored.missing:
            assert loaded == everything, number
        else:
            assert loaded.items() <= everything.items(), number
            assert loaded == {} or restored.manifests, number
    host.save()
    assert world.loaded(host) == everything, number


def test_an_undo_at_any_moment_of_a_deletion_tells_truly_what_is_left(tmp_path: Path) -> None:
    aging = AgingMemory()
    world = GcWorld(tmp_path, aging)
    host = alone_and_ripe(world)
    reset = aging.keep()
    seen: list[Restored] = []
    whole = number = 0
    for number in itertools.count():
        reset()
        during = Meanwhile(world.remote, lambda: seen.append(undo(world, OTHER)), first=number + 1)
        world.visit(remote=during)
        if not during.happened:
            break
        whole += bool(seen[-1].manifests and not seen[-1].missing)
        assert_told_truly(world, host, seen[-1], number)
    assert whole >= 10, "before the first deletion everything comes back"
    assert number >= whole + 10


def test_a_deletion_at_any_moment_of_an_undo_leaves_what_that_tells(tmp_path: Path) -> None:
    aging = AgingMemory()
    world = GcWorld(tmp_path, aging)
    host = alone_and_ripe(world)
    reset = aging.keep()
    whole = number = 0
    for number in itertools.count():
        reset()
        during = Meanwhile(world.remote, world.visit, first=number + 1)
        restored = undo(world, OTHER, during)
        if not during.happened:
            break
        whole += bool(restored.manifests and not restored.missing)
        assert_told_truly(world, host, restored, number)
    assert 0 < whole < number


def test_an_undo_finds_what_a_collection_has_renamed_meanwhile(world: GcWorld) -> None:
    host = alone_and_ripe(world)
    (folder,) = [item for item in read_trash(world.remote) if item.files]

    def adopt() -> None:
        world.remote.rename(folder.path, "trash/adopted")

    during = Meanwhile(world.remote, adopt, "read", "trash/")
    restored = undo(world, OTHER, during)
    assert during.happened
    assert (restored.manifests, restored.missing) == (1, 0)
    assert world.loaded(host) == FIRST | LARGE
