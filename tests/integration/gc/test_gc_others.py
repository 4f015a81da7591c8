"""Visits beside what is not ours, what the dead left, and other visits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from b10_store.gc.trash import Stage, read_trash
from b10_store.remote.folder import FolderRemote
from tests.support.aging_stores import AgingFolder
from tests.support.gc_states import NEW, OLD, OTHER, expired_beside_kept, put_pack
from tests.support.gc_world import DAY, HOUR, KEEP_ALL, MONTH, STAGE, WITNESS, GcWorld
from tests.support.meanwhile import ALWAYS, Meanwhile
from tests.support.values import manifest

if TYPE_CHECKING:
    from pathlib import Path


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
    (filled,) = [item for item in read_trash(world.remote) if item.files]
    world.remote.create(filled.path, "notes.txt", [b"mine"])
    reports = world.to_the_end()
    assert sum(report.freed_files for report in reports) == 1
    after = world.names()
    assert odd <= after
    assert len([name for name in after if name.endswith("/notes.txt")]) == 3
    assert world.loaded(host) == NEW


TRASHED = f"trash/{1:013d}-{'0' * 32}"
"""A folder that a visit, or a removal, made."""


def test_leftovers_of_dead_processes_are_swept_when_they_are_a_day_old(both: GcWorld) -> None:
    world = both
    host = world.hosts.new().write(NEW)
    host.save()
    before = world.names()
    mark = ".tmp-0123456789abcdef"
    leftovers = {
        f"FORMAT{mark}",
        f"packs/new{mark}",
        f"packs/{'a' * 64}.pack{mark}",
        f"manifests/{manifest(1).name}.manifest{mark}",
        f"sessions/probe{mark}",
        f"sessions/probe{mark}-2-lost",
        f"trash/visited{mark}",
        f"{TRASHED}/filled{mark}",
        f"fenced/{manifest(1).name}.session",
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
    pack, found = f"{'a' * 64}.pack", f"{manifest(1).name}.manifest"
    names = {pack, f"{pack}~0123456789abcdef", found, f"{found}~0123456789abcdef"}
    for name in names:
        world.remote.create("quarantine", name, [b"damaged"])
    world.visits(13 * DAY)
    assert world.names("quarantine") == {f"quarantine/{name}" for name in names}
    world.visits(2 * DAY)
    assert world.names("quarantine") == set()


def test_files_of_other_names_are_never_swept(both: GcWorld) -> None:
    """Somebody's own files in a folder of the store, or a folder that is none of the store's."""
    world = both
    world.hosts.new().write(NEW).save()
    mark = ".tmp-0123456789abcdef"
    others = {
        f"{folder}{name}"
        for folder in ("", "packs/", "manifests/", "sessions/", "trash/", "fenced/", "quarantine/")
        for name in ("id_rsa", "model.pack", f"model.bin{mark}", f"probe{mark[:-1]}")
    }
    for name in others:
        folder, _, file = name.rpartition("/")
        world.remote.create(folder, file, [b"precious"])
    reports = world.visits(40 * DAY, 2 * HOUR)
    assert sum(report.swept for report in reports) == 0
    assert others <= world.names()


# Visits that follow dead ones, and visits at the same time.


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_another_host_goes_on_with_what_a_dead_visit_left(both: GcWorld, stages: int) -> None:
    """The folder of a visit that died, at every stage that it may have come to."""
    world = both
    host = world.hosts.new().write(NEW)
    host.save()
    pack = put_pack(world)
    name = pack.rpartition("/")[2]
    world.remote.rename(pack, f"{TRASHED}/{name}")
    for mark, content in [("filled", b""), ("witnessed", b"[]"), ("fenced", b"")][:stages]:
        world.remote.create(TRASHED, mark, [content])
    reports = world.to_the_end()
    assert sum(report.freed_files for report in reports) == 1
    assert world.remote.list("trash") == []
    assert world.loaded(host) == NEW


def test_a_folder_that_another_visit_adopted_is_left_to_it(world: GcWorld) -> None:
    expired_beside_kept(world)
    world.visits(0, WITNESS, STAGE, policy=MONTH)
    world.advance(25 * HOUR)

    faster = Meanwhile(world.remote, lambda: world.visit(MONTH), "rename", "trash/", times=ALWAYS)
    report = world.visit(MONTH, remote=faster)
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
        for pause in (31 * DAY, WITNESS, STAGE, 25 * HOUR):
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
    assert report.freed_files == report.trashed_packs == 0
    assert world.stages() == [Stage.FILLED]
    world.advance(3 * DAY)
    assert sum(report.freed_files for report in world.to_the_end(MONTH)) == 2
    assert world.loaded(old) == {}
    assert world.loaded(kept) == NEW


def test_a_real_folder_keeps_no_empty_folder(tmp_path: Path) -> None:
    remote = FolderRemote(str(tmp_path / "store"))
    world = GcWorld(tmp_path, AgingFolder(tmp_path / "store"))
    world.hosts.new().write(NEW).save()
    remote.rename("sessions", TRASHED)
    assert remote.list("trash") == [f"{TRASHED.partition('/')[2]}/"]
    (tmp_path / "store/trash/somebody's").mkdir()
    world.visit(KEEP_ALL)
    assert remote.list("trash") == ["somebody's/"]
