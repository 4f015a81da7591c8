"""The folders of trash: what is read of them, and when they are ripe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.gc.trash import Stage, TrashFolder, read_trash
from b10_store.remote.memory import MemoryRemote
from tests.support.clocks import SleepingClock
from tests.support.referrers import DAY, NOW, named
from tests.support.values import pack_id
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.wrapped_remote import Call

MINUTE = 60.0
PACK = f"{pack_id(1)}.pack"
MANIFEST = f"{named(5)}.manifest"


def folder(marks: Mapping[Stage, float]) -> TrashFolder:
    return TrashFolder("x", frozenset(), marks)


def test_the_last_mark_is_the_stage_in_whatever_order_they_were_made() -> None:
    assert folder({}).stage is Stage.FILLING
    assert folder({Stage.FILLED: 5}).stage is Stage.FILLED
    assert folder({Stage.WITNESSED: 1, Stage.FILLED: 5}).stage is Stage.WITNESSED
    assert folder({Stage.FENCED: 0}).stage is Stage.FENCED


@pytest.mark.parametrize(("stage", "minutes"), [(Stage.FILLED, 20), (Stage.WITNESSED, 10)])
def test_witness_and_fence_are_some_minutes_after_the_stage_before(
    stage: Stage, minutes: float
) -> None:
    marked = folder({Stage.FILLED: NOW - DAY, stage: NOW})
    assert not marked.is_due(NOW)
    assert not marked.is_due(NOW + (minutes - 0.01) * MINUTE)
    assert marked.is_due(NOW + minutes * MINUTE)
    assert marked.due_at() == NOW + minutes * MINUTE


def test_a_fenced_folder_is_due_a_day_after_it_was_filled() -> None:
    marked = folder({Stage.FILLED: NOW, Stage.FENCED: NOW + 20 * MINUTE})
    assert not marked.is_due(NOW + 23.99 * 60 * MINUTE)
    assert marked.is_due(NOW + DAY)


def test_a_folder_that_was_fenced_late_still_waits_ten_minutes() -> None:
    marked = folder({Stage.FILLED: NOW, Stage.FENCED: NOW + DAY})
    assert not marked.is_due(NOW + DAY + 9.99 * MINUTE)
    assert marked.is_due(NOW + DAY + 10 * MINUTE)


def test_a_fenced_folder_without_its_first_mark_waits_a_day_from_the_last() -> None:
    marked = folder({Stage.FENCED: NOW})
    assert not marked.is_due(NOW + 23.99 * 60 * MINUTE)
    assert marked.is_due(NOW + DAY)


@pytest.mark.parametrize("stage", [Stage.FILLED, Stage.WITNESSED, Stage.FENCED])
def test_nothing_is_ripe_when_the_clock_went_back(stage: Stage) -> None:
    marked = folder({Stage.FILLED: NOW, stage: NOW})
    assert not marked.is_due(NOW - 300 * DAY)


def test_a_folder_that_is_being_filled_is_taken_along_at_any_time() -> None:
    assert folder({}).is_due(0.0)


def test_trash_is_read_with_its_marks_and_without_what_is_not_ours() -> None:
    clock = SleepingClock()
    remote = MemoryRemote(clock.time)
    remote.create("trash", "visited", [])
    remote.create("trash/b", PACK, [b"pack"])
    clock.seconds += 5
    remote.create("trash/a", "filled", [])
    clock.seconds += 7
    remote.create("trash/a", "witnessed", [b"[]"])
    for name in (
        PACK,
        MANIFEST,
        "filled.tmp-0123456789abcdef",
        "notes.txt",
        "x.pack",
        "filling",
    ):
        remote.create("trash/a", name, [])
    remote.create("trash/a/deeper", PACK, [])
    first, second = read_trash(remote)
    assert first == TrashFolder(
        "a",
        frozenset({PACK, MANIFEST}),
        {Stage.FILLED: clock.started + 5, Stage.WITNESSED: clock.started + 12},
        frozenset({"filled.tmp-0123456789abcdef"}),
    )
    assert first.path == "trash/a"
    assert second == TrashFolder("b", frozenset({PACK}), {})


def test_a_store_without_trash_has_no_folders() -> None:
    assert read_trash(MemoryRemote(SleepingClock().time)) == []


@pytest.mark.parametrize("effect", ["list", "stat"])
def test_a_folder_that_another_visit_takes_away_meanwhile_is_left_to_it(effect: str) -> None:
    remote = MemoryRemote(SleepingClock().time)
    for name in ("a", "b"):
        remote.create(f"trash/{name}", "filled", [])
        remote.create(f"trash/{name}", PACK, [])

    class Adopted(WrappedRemote):
        def before(self, call: Call) -> None:
            if call.effect == effect and call.name.startswith("trash/a"):
                self.inner.rename("trash/a", "trash/c")

    found = read_trash(Adopted(remote))
    assert [item.name for item in found if item.files] == ["b"]
