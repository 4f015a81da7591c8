"""Visits of the garbage collection, from the first save to the last file deleted."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from b10_store import gc as gc_module
from b10_store.envelope import SigningKey
from b10_store.folder_remote import FolderRemote
from b10_store.gc_plan import GcPolicy
from b10_store.layout import Address, pack_path
from b10_store.trash import Stage, read_trash
from tests.support.aging_stores import AgingFolder, AgingMemory
from tests.support.blobs import prose
from tests.support.clocks import SleepingClock
from tests.support.counting_remote import CountingRemote
from tests.support.gc_world import DAY, HOUR, KEEP_ALL, MINUTE, MONTH, STAGE, GcWorld
from tests.support.packed import whole_file
from tests.support.published import damage, publish
from tests.support.values import entry, manifest
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b10_store.gc_report import GcReport
    from b10_store.layout import PackId
    from b10_store.remote import Remote
    from b10_store.save_request import SaveOutcome
    from tests.support.engine_hosts import EngineHost
    from tests.support.wrapped_remote import Call

OTHER = Address("f" * 32, "model")
KEY = SigningKey(b"a secret of enough bytes")
OLD = {f"a{number}/{number}.py": prose(2000, number) for number in range(4)}
NEW = {f"b{number}/{number}.py": prose(2000, 100 + number) for number in range(4)}


@pytest.fixture(params=["memory", "folder"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> GcWorld:
    """A world around each kind of store."""
    folder = AgingFolder(tmp_path / "store")
    return GcWorld(tmp_path, folder if request.param == "folder" else AgingMemory())


@pytest.fixture
def world(tmp_path: Path) -> GcWorld:
    return GcWorld(tmp_path, AgingMemory())


def put_pack(world: GcWorld, content: bytes = b"pack") -> str:
    """A pack that nothing references, as a saver leaves it that died; returns its name."""
    name = f"{content.hex():0>64}.pack"
    world.remote.create("packs", name, [content])
    return f"packs/{name}"


def expired_beside_kept(world: GcWorld) -> tuple[EngineHost, EngineHost]:
    """One address that nobody loaded for long, and one that was saved just now."""
    old = world.hosts.new(address=OTHER).write(OLD)
    old.save()
    world.advance(31 * DAY)
    kept = world.hosts.new().write(NEW)
    kept.save()
    return old, kept


class DuringPublish(WrappedRemote):
    """Something happens while a saver is about to publish, once."""

    def __init__(self, inner: Remote, happen: Callable[[], object]) -> None:
        super().__init__(inner)
        self._happen: Callable[[], object] | None = happen

    def before(self, call: Call) -> None:
        happen = self._happen
        if call.effect == "rename" and call.name.startswith("sessions/") and happen is not None:
            self._happen = None
            happen()


# The life of what nothing references.


def test_a_pack_that_nothing_references_goes_through_every_stage(both: GcWorld) -> None:
    world = both
    host = world.hosts.new().write(NEW)
    host.save()
    pack = put_pack(world)
    kept = world.files() | {pack: None}
    del kept[pack]
    assert world.visits(23 * HOUR)[0].condemned_packs == 0
    (condemned,) = world.visits(2 * HOUR)
    assert (condemned.condemned_packs, condemned.condemned_bytes) == (1, 4)
    assert (condemned.waiting_files, condemned.freed_files) == (1, 0)
    assert condemned.free_at is not None
    assert condemned.free_at - world.remote.now() == pytest.approx(DAY, abs=MINUTE)
    assert world.stages() == [Stage.CONDEMNED]
    (early,) = world.visits(9 * MINUTE)
    assert early.waiting_files == 1
    assert world.stages() == [Stage.CONDEMNED]
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
    stages = []
    for _ in range(4):
        world.visits(40 * DAY)
        stages.append(world.stages())
    assert stages == [[Stage.CONDEMNED], [Stage.WITNESSED], [Stage.FENCED], []]


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
    assert report.condemned_packs == 1
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


def test_an_expired_address_can_be_saved_anew_at_any_stage(world: GcWorld) -> None:
    for visits in range(5):
        world.advance(31 * DAY)
        world.hosts.new().write(NEW | {"again": str(visits).encode()}).save()
        old = world.hosts.new(address=OTHER).write(OLD)
        old.save()
        world.advance(31 * DAY)
        world.visits(*[0, STAGE, STAGE, 25 * HOUR, STAGE][:visits], policy=MONTH)
        again = world.hosts.new(address=OTHER).write(OLD)
        again.save()
        assert world.loaded(again) == OLD
        world.to_the_end()
        assert world.loaded(again) == OLD
        assert world.names("trash") == set()


def test_what_saves_moved_away_is_taken_along_and_vanishes(both: GcWorld) -> None:
    world = both
    host = world.hosts.new()
    for path, data in OLD.items():
        host.write({path: data}).save()
        world.advance(2 * HOUR)
    filled = len(read_trash(world.remote))
    assert filled >= 2
    assert set(world.stages()) == {Stage.FILLING}
    (report,) = world.visits(0)
    assert world.stages() == [Stage.CONDEMNED]
    assert report.waiting_files == len(OLD) - 1
    world.to_the_end()
    assert world.remote.list("trash") == []
    assert world.loaded(host) == OLD


# What is referenced again.


def overtake(world: GcWorld, *, pauses: tuple[float, ...]) -> tuple[EngineHost, SaveOutcome]:
    """A save that relies on a pack which visits condemn, with pauses, before it publishes."""
    old, _ = expired_beside_kept(world)
    saver = world.hosts.new(
        DuringPublish(world.remote, lambda: world.visits(*pauses, policy=MONTH)), address=OTHER
    )
    saver.write(OLD | {"new": b"new"})
    outcome = saver.save()
    assert outcome.published is not None
    saver.remote = world.remote
    assert old.address == saver.address
    return saver, outcome


@pytest.mark.parametrize("pauses", [(0,), (0, STAGE), (0, STAGE, STAGE)])
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
    for pause in (0, STAGE, STAGE, 12 * HOUR, 12 * HOUR, STAGE):
        world.visits(pause)
        assert world.loaded(saver) == OLD | {"new": b"new"}
    assert world.trashed_packs() == set()


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


# Sessions.


def test_a_stalled_save_is_fenced_and_starts_over_and_loses_nothing(both: GcWorld) -> None:
    world = both
    seen: list[list[GcReport]] = []
    old, _ = expired_beside_kept(world)

    def stall() -> None:
        seen.append(world.visits(0, 31 * MINUTE, STAGE, 25 * HOUR, STAGE, policy=MONTH))

    saver = world.hosts.new(DuringPublish(world.remote, stall), address=OTHER)
    saver.write(OLD | {"new": b"new"})
    outcome = saver.save()
    (reports,) = seen
    assert [report.fenced for report in reports] == [0, 0, 1, 0, 0]
    assert sum(report.freed_files for report in reports) == 2
    # Fenced: it had found OLD in the store, and now uploads it.
    assert outcome.added == len(OLD) + 1
    assert world.names("sessions") == set()
    assert world.loaded(old) == OLD | {"new": b"new"}
    world.to_the_end()
    assert world.loaded(old) == OLD | {"new": b"new"}
    assert world.names("fenced") == set()


def test_a_live_save_is_waited_for_a_day_and_then_fenced(world: GcWorld) -> None:
    expired_beside_kept(world)
    fenced: list[int] = []

    def go_on() -> None:
        # Its heartbeat, as any host sees it.
        world.visits(0, policy=MONTH)
        for _ in range(60):
            world.advance(29 * MINUTE)
            for name in world.names("sessions"):
                world.remote.touch(name)
            fenced.append(world.visit(MONTH).fenced)
            if fenced[-1]:
                break

    saver = world.hosts.new(DuringPublish(world.remote, go_on), address=OTHER)
    saver.write(OLD | {"new": b"new"})
    assert saver.save().published is not None
    # Witnessed at the first of these visits, and fenced at the first one over a day later.
    assert fenced == [0] * 50 + [1]
    assert world.loaded(saver) == OLD | {"new": b"new"}


def test_a_session_that_began_after_the_witness_is_not_fenced(world: GcWorld) -> None:
    expired_beside_kept(world)
    world.visits(0, STAGE, policy=MONTH)
    token = world.remote.open_token(f"sessions/{manifest(1).name}.session")
    (report,) = world.visits(2 * HOUR, policy=MONTH)
    assert report.fenced == 0
    assert world.stages() == [Stage.FENCED]
    assert len(world.names("sessions")) == 1
    token.close()


def test_a_witness_that_is_damaged_is_written_anew_and_forgets_nobody(world: GcWorld) -> None:
    for content in (b"", b'["half', b"{}", b"5", b"\xff\xfe", b"[" * 100_000):
        old, _ = expired_beside_kept(world)
        assert old.heads().manifests

        def spoil(content: bytes = content) -> None:
            world.visits(0, STAGE, policy=MONTH)
            (folder,) = [item for item in read_trash(world.remote) if item.files]
            world.remote.create(folder.path, "witnessed", [content])
            world.visits(STAGE, policy=MONTH)
            assert world.stages() == [Stage.WITNESSED]
            reports = world.visits(31 * MINUTE, 25 * HOUR, policy=MONTH)
            assert [report.fenced for report in reports] == [1, 0]

        saver = world.hosts.new(DuringPublish(world.remote, spoil), address=OTHER)
        saver.write(OLD | {"new": b"new"})
        saver.save()
        assert world.loaded(saver) == OLD | {"new": b"new"}, content
        world.to_the_end()
        assert world.names("trash") == set()


def test_the_token_of_a_dead_process_does_not_stay(world: GcWorld) -> None:
    world.hosts.new().write(NEW).save()
    world.remote.open_token(f"sessions/{manifest(1).name}.session").close()
    world.visits(23 * HOUR)
    assert len(world.names("sessions")) == 1
    world.visits(2 * HOUR, 25 * HOUR)
    assert world.names("sessions") | world.names("fenced") == set()


# Where nothing is concluded.


def ripe_in_every_way(world: GcWorld) -> EngineHost:
    """A store in which a visit would fence, delete, condemn and sweep."""
    old, kept = expired_beside_kept(world)
    world.visits(0, STAGE, STAGE, policy=MONTH)
    put_pack(world, b"unreferenced")
    world.remote.create("sessions", "x.session.tmp-1", [b""])
    world.remote.create("quarantine", "x.pack", [b""])
    world.advance(20 * DAY)
    for path, data in OLD.items():
        kept.write({path: data}).save()
    world.advance(2 * HOUR)
    assert old.address != kept.address
    return kept


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
        assert (report.freed_files, report.condemned_packs, report.superseded) == (0, 0, 0)
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
    assert told.condemned_packs == 1
    assert told.superseded == len(OLD)
    assert (told.waiting_files, told.freed_files) == (2, 0)
    done = world.visit(MONTH)
    assert (done.condemned_packs, done.condemned_bytes) == (1, told.condemned_bytes)
    assert (done.superseded, done.expired) == (told.superseded, told.expired)


@pytest.mark.parametrize("seconds", [0.0, -5.0])
def test_a_visit_without_time_does_no_harm_and_says_so(both: GcWorld, seconds: float) -> None:
    world = both
    kept = ripe_in_every_way(world)
    before = world.files()
    report = world.visit(MONTH, seconds=seconds)
    assert not report.is_complete
    assert report.freed_files == report.condemned_packs == report.superseded == 0
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
        monkeypatch.setattr(gc_module, "time", clock)
        report = world.visit(MONTH, seconds=1)
        monkeypatch.undo()
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


# What is not ours, and what others leave.


def test_odd_files_are_left_alone(both: GcWorld) -> None:
    world = both
    host = world.hosts.new().write(NEW)
    host.save()
    odd = {
        "packs/notes.txt",
        "packs/deadbeef.pack",
        f"packs/deeper/{'a' * 64}.pack",
        "manifests/README",
        "sessions/mine.session",
        "trash/mine",
        "trash/visited",
        "trash/folder/notes.txt",
        "trash/folder/deeper/x",
        "mine/x",
        "mine.txt",
    }
    for name in odd:
        folder, _, file = name.rpartition("/")
        world.remote.create(folder, file, [b"mine"])
    put_pack(world)
    world.visits(25 * HOUR)
    (folder,) = [item for item in read_trash(world.remote) if item.files]
    world.remote.create(folder.path, "notes.txt", [b"mine"])
    reports = world.to_the_end()
    assert sum(report.freed_files for report in reports) == 1
    after = world.names()
    assert odd <= after
    assert len([name for name in after if name.endswith("/notes.txt")]) == 3
    assert world.loaded(host) == NEW


def test_leftovers_of_dead_processes_are_swept_when_they_are_a_day_old(both: GcWorld) -> None:
    world = both
    host = world.hosts.new().write(NEW)
    host.save()
    before = world.names()
    leftovers = {
        "FORMAT.tmp-1",
        "packs/new.tmp-1",
        f"packs/{'a' * 64}.pack.tmp-1",
        f"manifests/{manifest(1).name}.manifest.tmp-1",
        "sessions/probe.tmp-1",
        "trash/visited.tmp-1",
        "trash/1/condemned.tmp-1",
        "fenced/x.session",
    }
    for name in leftovers:
        folder, _, file = name.rpartition("/")
        world.remote.create(folder, file, [b"part"])
    (report,) = world.visits(23 * HOUR)
    assert report.swept == 0
    assert world.names() == before | leftovers
    reports = world.visits(2 * HOUR, 0)
    assert [report.swept for report in reports] == [len(leftovers), 0]
    assert world.names() == before
    assert world.remote.list("trash") == []


def test_quarantine_is_kept_for_two_weeks(world: GcWorld) -> None:
    world.hosts.new().write(NEW).save()
    world.remote.create("quarantine", "x.pack", [b"damaged"])
    world.visits(13 * DAY)
    assert world.names("quarantine")
    world.visits(2 * DAY)
    assert world.names("quarantine") == set()


# Visits that follow dead ones, and visits at the same time.


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_another_host_goes_on_with_what_a_dead_visit_left(both: GcWorld, stages: int) -> None:
    """The folder of a visit that died, at every stage that it may have come to."""
    world = both
    host = world.hosts.new().write(NEW)
    host.save()
    pack = put_pack(world)
    name = pack.rpartition("/")[2]
    world.remote.rename(pack, f"trash/of-the-dead/{name}")
    for mark, content in [("condemned", b""), ("witnessed", b"[]"), ("fenced", b"")][:stages]:
        world.remote.create("trash/of-the-dead", mark, [content])
    reports = world.to_the_end()
    assert sum(report.freed_files for report in reports) == 1
    assert world.remote.list("trash") == []
    assert world.loaded(host) == NEW


def test_a_folder_that_another_visit_adopted_is_left_to_it(world: GcWorld) -> None:
    expired_beside_kept(world)
    world.visits(0, STAGE, STAGE, policy=MONTH)
    world.advance(25 * HOUR)

    class Faster(WrappedRemote):
        def before(self, call: Call) -> None:
            if call.effect == "rename" and call.name.startswith("trash/"):
                world.visit(MONTH)

    report = world.visit(MONTH, remote=Faster(world.remote))
    assert report.freed_files == 0
    assert world.names("trash") == set()


def test_visits_at_the_same_time_do_no_harm(tmp_path: Path) -> None:
    world = GcWorld(tmp_path, AgingFolder(tmp_path / "store"))
    kept = world.hosts.new().write(NEW)
    kept.save()
    freed: list[int] = []
    errors: list[BaseException] = []
    for round_ in range(3):
        world.hosts.new(address=OTHER).write(OLD | {"x": b"%d" % round_}).save()
        put_pack(world, b"%d" % round_)
        for pause in (31 * DAY, STAGE, STAGE, 25 * HOUR):
            world.advance(pause)
            assert world.loaded(kept) == NEW
            visit_together(world, 4, freed, errors)
            assert errors == []
            assert world.loaded(kept) == NEW
    freed += [report.freed_files for report in world.to_the_end(MONTH)]
    assert world.loaded(kept) == NEW
    assert world.remote.list("trash") == []
    # A manifest and two packs a round, none twice.
    assert sum(freed) == 9


def visit_together(
    world: GcWorld, count: int, freed: list[int], errors: list[BaseException]
) -> None:
    together = threading.Barrier(count)

    def run() -> None:
        together.wait()
        try:
            freed.append(world.visit(MONTH).freed_files)
        except BaseException as error:  # noqa: BLE001  # shown by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Clocks.


def test_a_clock_that_goes_back_only_delays(both: GcWorld) -> None:
    world = both
    old, kept = expired_beside_kept(world)
    world.visits(0, policy=MONTH)
    (report,) = world.visits(-3 * DAY, policy=MONTH)
    assert report.freed_files == report.condemned_packs == 0
    assert world.stages() == [Stage.CONDEMNED]
    world.advance(3 * DAY)
    assert sum(report.freed_files for report in world.to_the_end(MONTH)) == 2
    assert world.loaded(old) == {}
    assert world.loaded(kept) == NEW


# Keys.


def signed_and_plain(world: GcWorld) -> tuple[EngineHost, EngineHost]:
    """One address with a chain that is signed and a chain that is not."""
    signing, plain = world.hosts.new(key=KEY), world.hosts.new()
    for number in range(3):
        signing.write({f"signed{number}": prose(2000, number)}).save()
        plain.write({f"plain{number}": prose(2000, 50 + number)}).save()
        world.advance(10 * MINUTE)
    return signing, plain


def manifests_of(host: EngineHost) -> int:
    return len([name for name in host.heads().listed if name.address == host.address])


@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_only_what_this_host_trusts_is_superseded_and_all_of_it_counts(
    world: GcWorld, keys: tuple[SigningKey, ...]
) -> None:
    signing, plain = signed_and_plain(world)
    assert manifests_of(plain) == 6
    packs = world.packs()
    world.advance(2 * HOUR)
    report = world.visit(keys=keys)
    assert report.refused == []
    assert report.superseded == 2
    assert manifests_of(plain) == 4
    for pause in (STAGE, 25 * HOUR, STAGE, STAGE, 25 * HOUR):
        world.advance(pause)
        assert world.visit(keys=keys).refused == []
    assert world.packs() == packs
    assert world.loaded(signing) == signing.tree()
    names = {item.identity.path for item in plain.stored().entries.values()}
    assert names == {*signing.tree(), *plain.tree()}


def test_packs_of_what_is_signed_with_an_unknown_key_are_kept(world: GcWorld) -> None:
    other_key = SigningKey(b"another secret of enough bytes")
    signing = world.hosts.new(key=other_key).write(OLD)
    signing.save()
    world.hosts.new(key=KEY).write(NEW).save()
    packs: set[PackId] = world.packs()
    for _ in range(5):
        world.advance(2 * DAY)
        assert world.visit(keys=(KEY,)).refused == []
    assert world.packs() == packs
    assert world.loaded(signing) == OLD


def test_a_planted_manifest_makes_nothing_superseded(world: GcWorld) -> None:
    signing = world.hosts.new(key=KEY)
    for path, data in OLD.items():
        signing.write({path: data}).save()
    world.advance(2 * HOUR)
    listed = [name.snapshot for name in signing.heads().listed]
    planted = manifest(
        round((world.remote.now() - 1.5 * HOUR) * 1000), [entry("x")], parents=listed
    )
    publish(world.remote, str(signing.scratch), planted)
    report = world.visit(keys=(KEY,))
    assert report.superseded == len(OLD) - 1
    assert world.loaded(signing) == OLD


# The mount.


def test_a_visit_to_a_mount_that_fails_raises_and_the_next_goes_on(world: GcWorld) -> None:
    kept = ripe_in_every_way(world)

    class Failing(WrappedRemote):
        left = 0

        def before(self, call: Call) -> None:
            if call.effect != "now":
                self.left -= 1
                if self.left == 0:
                    raise TimeoutError

    for place in range(1, 60):
        failing = Failing(world.remote)
        failing.left = place
        with contextlib.suppress(OSError):
            world.visit(MONTH, remote=failing)
        assert world.loaded(kept) == NEW | OLD
        assert pack_path(next(iter(kept.stored().packs))) in world.names("packs")
    world.to_the_end(MONTH)
    assert world.names("trash") == set()
    assert world.loaded(kept) == NEW | OLD


def test_a_real_folder_keeps_no_empty_folder(tmp_path: Path) -> None:
    remote = FolderRemote(str(tmp_path / "store"))
    world = GcWorld(tmp_path, AgingFolder(tmp_path / "store"))
    world.hosts.new().write(NEW).save()
    remote.rename("sessions", "trash/left-by-a-save")
    assert remote.list("trash") == ["left-by-a-save/"]
    world.visit(KEEP_ALL)
    assert remote.list("trash") == []
