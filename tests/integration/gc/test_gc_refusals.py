"""I7: where a visit of the garbage collection must not conclude, or cannot finish."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import Address, pack_path
from b10_store.gc import visit as gc_module
from tests.support.aging_stores import AgingMemory
from tests.support.clocks import SleepingClock
from tests.support.counting_remote import CountingRemote
from tests.support.gc_states import NEW, OLD, ripe_in_every_way
from tests.support.gc_world import HOUR, MONTH, GcWorld
from tests.support.meanwhile import failing
from tests.support.packed import whole_file
from tests.support.published import damage
from tests.support.values import entry, manifest
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from pathlib import Path


def assert_all_is_kept(world: GcWorld, before: dict[str, bytes]) -> None:
    """Nothing was deleted, and but for trash nothing moved."""
    after = world.files()
    gone = [name for name in before if name not in after]
    assert all(name.startswith("trash/") for name in gone), gone
    assert sorted(after.values()) == sorted(before.values())


def test_nothing_is_deleted_when_a_manifest_cannot_be_read(both: GcWorld) -> None:
    world = both
    kept = ripe_in_every_way(world)
    damaged = manifest(5, [entry("a")], address=Address("e" * 32))
    damage(world.remote, damaged)
    before = world.files()
    for report in world.visits(0, 25 * HOUR, 25 * HOUR):
        (reason,) = report.refused
        assert damaged.name.manifest_path in reason
        assert (report.freed_files, report.trashed_packs, report.superseded) == (0, 0, 0)
        assert report.waiting_files == 2
    assert_all_is_kept(world, before)
    assert world.loaded(kept) == NEW | OLD
    world.remote.delete(damaged.name.manifest_path)
    assert sum(report.freed_files for report in world.to_the_end()) >= 3
    assert world.names("trash") == set()


def test_nothing_is_deleted_when_there_is_no_manifest(both: GcWorld) -> None:
    world = both
    ripe_in_every_way(world)
    for name in world.names("manifests"):
        world.remote.delete(name)
    before = world.files()
    for report in world.visits(0, 25 * HOUR, 25 * HOUR):
        assert "no manifest" in report.refused[0]
        assert report.freed_files == 0
    assert_all_is_kept(world, before)


def test_nothing_is_touched_where_there_is_no_store(world: GcWorld) -> None:
    world.remote.create("packs", "my own.txt", [b"mine"])
    report = world.visit()
    assert report.refused == ["there is no store here"]
    assert world.names() == {"packs/my own.txt"}


class Copying(WrappedRemote):
    """A mount whose rename leaves the source."""

    def rename(self, source: str, target: str) -> None:
        folder, _, name = target.rpartition("/")
        self.inner.create(folder, name, [whole_file(self.inner, source)])


class Forgiving(WrappedRemote):
    """A mount that reports no error for a source that is gone."""

    def rename(self, source: str, target: str) -> None:
        try:
            self.inner.rename(source, target)
        except FileNotFoundError:
            return


@pytest.mark.parametrize("mount", [Copying, Forgiving])
def test_nothing_is_changed_on_a_mount_that_renames_otherwise(
    both: GcWorld, mount: type[WrappedRemote]
) -> None:
    world = both
    ripe_in_every_way(world)
    before = world.files()
    report = world.visit(MONTH, remote=mount(world.remote))
    assert report.refused == ["the mount does not rename as it should"]
    assert world.files() == before


def test_a_dry_run_tells_all_and_changes_nothing(
    world: GcWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ripe_in_every_way(world)
    clock = SleepingClock(world.remote.now())
    monkeypatch.setattr(gc_module, "time", clock)
    before = world.files()
    counting = CountingRemote(world.remote)
    told = world.visit(MONTH, remote=counting, dry_run=True)
    assert counting.changes == []
    assert world.files() == before
    assert told.refused == []
    assert told.trashed_packs == 1
    assert told.superseded == len(OLD)
    assert (told.waiting_files, told.freed_files) == (2, 0)
    done = world.visit(MONTH)
    assert (done.trashed_packs, done.trashed_bytes) == (1, told.trashed_bytes)
    assert (done.superseded, done.expired) == (told.superseded, told.expired)


@pytest.mark.parametrize("seconds", [0.0, -5.0])
def test_a_visit_without_time_does_no_harm_and_says_so(both: GcWorld, seconds: float) -> None:
    world = both
    kept = ripe_in_every_way(world)
    before = world.files()
    report = world.visit(MONTH, seconds=seconds)
    assert not report.is_complete
    assert report.freed_files == report.trashed_packs == report.superseded == 0
    assert_all_is_kept(world, before)
    assert world.loaded(kept) == NEW | OLD
    assert sum(report.freed_files for report in world.to_the_end(MONTH)) >= 3


def test_a_visit_whose_time_runs_out_anywhere_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    for allowed in range(200):
        folder = tmp_path / str(allowed)
        folder.mkdir()
        world = GcWorld(folder, AgingMemory())
        kept = ripe_in_every_way(world)
        clock = Impatient(allowed)
        manifests, packs = world.names("manifests"), world.names("packs")
        monkeypatch.setattr(gc_module, "time", clock)
        report = world.visit(MONTH, seconds=1)
        monkeypatch.undo()
        # What it tells is what it did, not what it would have done.
        assert report.trashed_packs == len(packs - world.names("packs"))
        assert report.superseded == len(manifests - world.names("manifests"))
        assert world.loaded(kept) == NEW | OLD
        assert report.is_complete == (clock.asked <= allowed + 1)
        world.to_the_end(MONTH)
        assert world.names("trash") == set()
        assert world.loaded(kept) == NEW | OLD
        asked = allowed
        if report.is_complete:
            break
    assert asked > 5


class Impatient(SleepingClock):
    """Time is up when it was asked for so often."""

    def __init__(self, allowed: int) -> None:
        super().__init__()
        self.asked = 0
        self._allowed = allowed

    def monotonic(self) -> float:
        self.asked += 1
        return 0.0 if self.asked <= self._allowed + 1 else 5.0


def test_a_visit_to_a_mount_that_fails_raises_and_the_next_goes_on(world: GcWorld) -> None:
    kept = ripe_in_every_way(world)

    for place in range(1, 60):
        remote = failing(world.remote, TimeoutError(), first=place, times=1)
        with contextlib.suppress(OSError):
            world.visit(MONTH, remote=remote)
        assert world.loaded(kept) == NEW | OLD
        assert pack_path(next(iter(kept.stored().packs))) in world.names("packs")
    world.to_the_end(MONTH)
    assert world.names("trash") == set()
    assert world.loaded(kept) == NEW | OLD
