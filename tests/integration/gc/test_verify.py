"""Packs that a visit of the garbage collection reads, and damage that it finds."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import pack_path
from b10_store.gc import verify
from b10_store.gc.report import GcReport
from tests.support.cache_trees import noise
from tests.support.checked_stores import flipped
from tests.support.counting_remote import CountingRemote
from tests.support.gc_world import DAY, HOUR
from tests.support.meanwhile import failing
from tests.support.packed import whole_file

if TYPE_CHECKING:
    from b10_store.format.names import PackId
    from tests.support.gc_world import GcWorld

SIZE = 20_000


def fill(world: GcWorld, packs: int) -> list[PackId]:
    host = world.hosts.new()
    for number in range(packs):
        host.write({f"{number}": noise(SIZE, number)}).save()
    return sorted(host.stored().packs)


def damage(world: GcWorld, pack: PackId) -> None:
    world.remote.create(
        "packs", f"{pack}.pack", [flipped(whole_file(world.remote, pack_path(pack)))]
    )


def test_a_visit_names_a_pack_that_is_damaged_and_changes_nothing_of_it(both: GcWorld) -> None:
    first, second = fill(both, 2)
    damage(both, first)
    both.advance(DAY + HOUR)
    before = both.files("packs")
    report = both.visit()
    assert report.damaged == [f"{pack_path(first)}: its bytes do not match its name"]
    assert report.verified_bytes == sum(map(len, before.values()))
    assert both.files("packs") == before
    assert second in both.packs()


def test_what_was_written_within_a_day_is_not_read(world: GcWorld) -> None:
    fill(world, 1)
    world.advance(DAY - HOUR)
    remote = CountingRemote(world.remote)
    assert world.visit(remote=remote).verified_bytes == 0
    assert not any(name.startswith("packs/") for name in remote.names("read"))


def test_a_dry_run_reads_no_pack(world: GcWorld) -> None:
    fill(world, 1)
    world.advance(DAY + HOUR)
    assert world.visit(dry_run=True).verified_bytes == 0


def test_about_the_bound_is_read_and_each_pack_some_day(
    world: GcWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs = fill(world, 8)
    world.advance(DAY + HOUR)
    monkeypatch.setattr(verify, "VERIFIED_BYTES", 2 * SIZE)
    seen: set[str] = set()
    for _ in range(100):
        remote, report = CountingRemote(world.remote), GcReport()
        verify.verify_some(remote, packs, report, world.remote.now(), lambda: True)
        assert len(remote.names("read")) == 2
        seen |= set(remote.names("read"))
    assert seen == set(map(pack_path, packs))


@pytest.mark.parametrize("looks", range(4))
def test_without_time_nobody_is_convicted(world: GcWorld, looks: int) -> None:
    (pack,) = fill(world, 1)
    damage(world, pack)
    world.advance(DAY + HOUR)
    asked, report = iter([True] * looks), GcReport()
    verify.verify_some(world.remote, [pack], report, world.remote.now(), lambda: next(asked, False))
    assert (report.damaged, report.verified_bytes) == ([], 0)


@pytest.mark.parametrize(("times", "is_named"), [(1, False), (1 << 30, True)])
def test_one_failed_look_convicts_nobody(world: GcWorld, times: int, is_named: bool) -> None:
    (pack,) = fill(world, 1)
    world.advance(DAY + HOUR)
    error = OSError(errno.EACCES, "Permission denied")
    denying = failing(world.remote, error, "read", part=pack, times=times)
    assert bool(world.visit(remote=denying).damaged) is is_named
