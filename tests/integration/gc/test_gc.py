"""Visits of the garbage collection, from the first save to the last file deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.gc.plan import GcPolicy
from b10_store.gc.trash import Stage, read_trash
from tests.support.aging_stores import AgingMemory
from tests.support.counting_remote import CountingRemote
from tests.support.gc_states import NEW, OLD, OTHER, during_publish, expired_beside_kept, put_pack
from tests.support.gc_world import DAY, HOUR, MINUTE, MONTH, STAGE, WITNESS, GcWorld
from tests.support.meanwhile import Meanwhile, failing

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.save.request import SaveOutcome
    from tests.support.engine_hosts import EngineHost


# The life of what nothing references.


def test_a_pack_that_nothing_references_goes_through_every_stage(both: GcWorld) -> None:
    world = both
    host = world.hosts.new().write(NEW)
    host.save()
    pack = put_pack(world)
    kept = world.files() | {pack: None}
    del kept[pack]
    assert world.visits(23 * HOUR)[0].trashed_packs == 0
    (filled,) = world.visits(2 * HOUR)
    assert (filled.trashed_packs, filled.trashed_bytes) == (1, 4)
    assert (filled.waiting_files, filled.freed_files) == (1, 0)
    assert filled.free_at is not None
    assert filled.free_at - world.remote.now() == pytest.approx(DAY, abs=MINUTE)
    assert world.stages() == [Stage.FILLED]
    (early,) = world.visits(19 * MINUTE)
    assert early.waiting_files == 1
    assert world.stages() == [Stage.FILLED]
    world.visits(2 * MINUTE)
    assert world.stages() == [Stage.WITNESSED]
    world.visits(STAGE)
    assert world.stages() == [Stage.FENCED]
    (waiting,) = world.visits(23 * HOUR)
    assert waiting.freed_files == 0
    assert world.trashed_packs()
    (freed,) = world.visits(HOUR)
    assert (freed.freed_files, freed.freed_bytes) == (1, 4)
    assert (freed.waiting_files, freed.free_at) == (0, None)
    assert world.files() == kept
    assert world.remote.list("trash") == []
    assert world.loaded(host) == NEW


def test_a_visit_takes_a_folder_only_one_stage_further(world: GcWorld) -> None:
    world.hosts.new().write(NEW).save()
    put_pack(world)
    stages: list[list[Stage]] = []
    for _ in range(4):
        world.visits(40 * DAY)
        stages.append(world.stages())
    assert stages == [[Stage.FILLED], [Stage.WITNESSED], [Stage.FENCED], []]


def test_a_visit_to_a_store_in_order_changes_nothing(both: GcWorld) -> None:
    both.hosts.new().write(NEW).save()
    before = both.files()
    for report in both.visits(0, DAY, 20 * DAY):
        assert report.refused == []
        assert report.is_complete
    assert both.files() == before


def test_superseded_manifests_collapse_and_what_they_held_stays(both: GcWorld) -> None:
    world = both
    host = world.hosts.new()
    for number, (path, data) in enumerate(OLD.items()):
        host.write({path: data}).save()
        world.advance(10 * MINUTE)
        assert len(world.names("manifests")) == number + 1
    (young,) = world.visits(0)
    assert young.superseded == 0
    (report,) = world.visits(2 * HOUR)
    assert report.superseded == len(OLD) - 1
    assert len(world.names("manifests")) == 1
    assert world.loaded(host) == OLD
    reports = world.to_the_end()
    assert sum(item.freed_files for item in reports) == len(OLD) - 1
    assert world.names("trash") == set()
    assert world.loaded(host) == OLD


def test_an_address_that_nobody_loads_expires_with_its_packs(both: GcWorld) -> None:
    world = both
    old, kept = expired_beside_kept(world)
    (report,) = world.visits(0, policy=MONTH)
    assert report.expired == (OTHER,)
    assert report.trashed_packs == 1
    assert world.loaded(old) == {}
    assert world.loaded(kept) == NEW
    reports = world.to_the_end(MONTH)
    assert sum(item.freed_files for item in reports) == 2
    assert world.names("trash") == set()
    assert len(world.packs()) == 1
    assert world.loaded(kept) == NEW


def test_a_load_keeps_an_address_from_expiring(world: GcWorld) -> None:
    old = world.hosts.new(address=OTHER).write(OLD)
    old.save()
    world.hosts.new().write(NEW).save()
    for _ in range(5):
        world.advance(20 * DAY)
        assert world.loaded(old) == OLD
        assert OTHER not in world.visit(MONTH).expired
    assert world.loaded(old) == OLD


def test_a_store_above_its_size_loses_what_was_loaded_longest_ago(world: GcWorld) -> None:
    old, kept = expired_beside_kept(world)
    size = sum(world.remote.stat(name).size for name in world.names("packs"))
    assert world.visit(GcPolicy(0, size)).expired == ()
    assert world.visit(GcPolicy(0, size - 1)).expired == (OTHER,)
    world.to_the_end(GcPolicy(0, size - 1))
    assert world.loaded(old) == {}
    assert world.loaded(kept) == NEW


def test_an_expired_address_can_be_saved_again_at_any_stage(world: GcWorld) -> None:
    for visits in range(5):
        world.advance(31 * DAY)
        world.hosts.new().write(NEW | {"again": str(visits).encode()}).save()
        old = world.hosts.new(address=OTHER).write(OLD)
        old.save()
        world.advance(31 * DAY)
        world.visits(*[0, WITNESS, STAGE, 25 * HOUR, STAGE][:visits], policy=MONTH)
        again = world.hosts.new(address=OTHER).write(OLD)
        again.save()
        assert world.loaded(again) == OLD
        world.to_the_end()
        assert world.loaded(again) == OLD
        assert world.names("trash") == set()


def test_a_folder_that_another_visit_took_over_is_left_to_it(world: GcWorld) -> None:
    for content in (b"1", b"2", b"3"):
        put_pack(world, content)
    world.hosts.new().write(NEW).save()
    world.visits(2 * DAY, WITNESS, STAGE)
    world.advance(25 * HOUR)

    def take_over() -> None:
        with pytest.raises(TimeoutError):
            world.visit(remote=failing(world.remote, TimeoutError(), "delete", "trash/"))

    # The younger visit has read the manifests later, so it alone decides.
    report = world.visit(remote=Meanwhile(world.remote, take_over, "delete", ".pack"))
    assert report.freed_files == 0
    assert world.stages() == [Stage.FENCED]
    assert sum(item.freed_files for item in world.to_the_end()) == 3
    assert world.names("trash") == set()


# What is referenced again.


def overtake(world: GcWorld, *, pauses: tuple[float, ...]) -> tuple[EngineHost, SaveOutcome]:
    """A save that relies on a pack which visits move to trash, with pauses, before it publishes."""
    old, _ = expired_beside_kept(world)
    saver = world.hosts.new(
        during_publish(world.remote, lambda: world.visits(*pauses, policy=MONTH)), address=OTHER
    )
    saver.write(OLD | {"new": b"new"})
    outcome = saver.save()
    assert outcome.published is not None
    saver.remote = world.remote
    assert old.address == saver.address
    return saver, outcome


@pytest.mark.parametrize("pauses", [(0,), (0, WITNESS)])
def test_a_pack_that_is_referenced_after_all_goes_back(
    both: GcWorld, pauses: tuple[float, ...]
) -> None:
    world = both
    saver, outcome = overtake(world, pauses=pauses)
    assert outcome.added == 1
    relied_on = world.trashed_packs()
    assert len(relied_on) == 1
    assert world.loaded(saver) == OLD | {"new": b"new"}
    reports = world.to_the_end()
    assert sum(item.restored for item in reports) == 1
    assert relied_on <= world.packs()
    assert world.names("trash") == set()
    assert world.loaded(saver) == OLD | {"new": b"new"}


def test_a_load_finds_in_trash_what_is_not_back_yet(world: GcWorld) -> None:
    saver, _ = overtake(world, pauses=(0,))
    for pause in (0, WITNESS, STAGE, 12 * HOUR, 12 * HOUR, STAGE):
        world.visits(pause)
        assert world.loaded(saver) == OLD | {"new": b"new"}
    assert world.trashed_packs() == set()


def test_a_load_finds_a_pack_that_a_visit_moves_at_any_moment_of_it(tmp_path: Path) -> None:
    """The folder is adopted, and what is referenced goes back, before each effect of a load."""
    aging = AgingMemory()
    world = GcWorld(tmp_path, aging)
    saver, _ = overtake(world, pauses=(0,))
    world.visits(WITNESS, STAGE)
    world.advance(25 * HOUR)
    reset = aging.keep()
    calls = CountingRemote(world.remote)
    world.hosts.new(calls, address=saver.address).load()
    assert calls.names("list").count("trash") == 1
    for number in range(1, len(calls.calls) + 3):
        reset()
        at = Meanwhile(world.remote, world.visit, first=number)
        loader = world.hosts.new(at, address=saver.address)
        loader.load()
        assert loader.tree() == OLD | {"new": b"new"}, f"a visit before call {number}"


def test_a_pack_that_was_uploaded_meanwhile_is_not_replaced_by_the_one_in_trash(
    world: GcWorld,
) -> None:
    _, _ = expired_beside_kept(world)
    world.visits(0, policy=MONTH)
    (pack,) = world.trashed_packs()
    again = world.hosts.new(address=OTHER).write(OLD)
    again.save()
    assert pack in world.packs()
    (folder,) = [item for item in read_trash(world.remote) if item.files]
    world.remote.create(folder.path, f"{pack}.pack", [b"damaged"])
    reports = world.to_the_end()
    assert sum(item.restored for item in reports) == 0
    assert world.names("trash") == set()
    assert world.loaded(again) == OLD
