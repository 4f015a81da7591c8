"""No interleaving of saves and gcs loses what was saved; without any one protection, one does.

The model holds I1 and I2 of docs/architecture.md; its flaws break I4 to I7, one at a time.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

import pytest

from specs.checker import Step, TooManyStatesError, explore
from specs.protocol import Protocol
from specs.scenario import FINE, WRONG_AGES, Flaw, Scenario, Timing

if TYPE_CHECKING:
    from specs.checker import Found

CLOSE = Timing(stale=2, stage=2, age=2)

SOUND = {
    "two savers of one pack, a gc": Scenario((0, 0), 1, timing=FINE),
    "two savers of two packs, a gc": Scenario((0, 1), 1, packs=2),
    "two savers, each begins twice, a gc": Scenario((0, 0), 1, attempts=2, timing=FINE),
    "three savers, a gc": Scenario((0, 0, 0), 1),
    "one saver, two gcs": Scenario((0,), 2, timing=FINE),
    "two savers, a gc that expires": Scenario((0, None), 1, expires=True, timing=FINE),
    "two savers, a gc that expires and unites": Scenario(
        (0, None), 1, expires=True, supersedes=True
    ),
}

UNIONS = {
    "three savers, two gcs": Scenario((None,) * 3, 2, packs=0, supersedes=True),
    "three savers, a gc, fine": Scenario((None,) * 3, 1, packs=0, supersedes=True, timing=FINE),
    "two savers, a gc": Scenario((0, None), 1, supersedes=True, timing=FINE),
}

# The pack of an old manifest went to trash before that was published. Saver 0 reads the manifest
# and carries its entry on; saver 1 has the bytes, stores them once more, and supersedes it.
LATE = Scenario((None, None), 2, supersedes=True, late=True, owners=(1,))

LARGE = {
    "four savers, a gc": Scenario((None,) * 4, 1, packs=0, supersedes=True),
    "a manifest whose pack lies in trash": LATE,
    "a manifest whose pack lies in trash, fine": LATE._replace(timing=FINE),
    "three savers, a gc that unites": Scenario((0, None, None), 1, supersedes=True),
    "two savers, two gcs that unite": Scenario((0, None), 2, supersedes=True),
    "three savers of one pack, a gc, fine": Scenario((0, 0, 0), 1, timing=FINE),
    "two savers, each begins twice, two gcs": Scenario((0, 0), 2, attempts=2),
    "two savers, two gcs": Scenario((0, 0), 2),
    "two savers, two gcs, fine": Scenario((0, 0), 2, timing=FINE),
}

LOSES_A_PACK = {
    Flaw.NO_FENCE: Scenario((0,), 1),
    Flaw.NO_WITNESS: Scenario((0,), 1),
    Flaw.LATE_WITNESS: Scenario((0,), 1),
    Flaw.BY_NAME: Scenario((0,), 1),
    Flaw.LATE_SESSION: Scenario((0,), 1),
    Flaw.EARLY_BELIEF: Scenario((0,), 1),
    Flaw.TRASH_COUNTS: Scenario((0,), 1),
    Flaw.UNREADABLE_IGNORED: Scenario((0,), 1),
    Flaw.SHARED_TRASH: Scenario((0,), 2),
}

LOSES_AN_ENTRY = (Flaw.NO_AGE, *WRONG_AGES, Flaw.DROPPED_ENTRIES)


def show(title: str, found: Found | None) -> None:
    """For readers of the traces: `pytest -s`, or `-rP`."""
    sys.stdout.write(f"\n{title}\n{found}\n")


@functools.cache
def assert_safe(scenario: Scenario, limit: int = 1_000_000) -> frozenset[str]:
    """Explore, and return all steps that were taken. Many tests begin with the same scenario."""
    explored = Protocol(scenario).explore(limit=limit)
    assert explored.found is None, f"{scenario}\n{explored.found}"
    return explored.labels


@pytest.mark.parametrize("name", SOUND)
def test_no_interleaving_loses_a_pack_that_a_published_manifest_references(name: str) -> None:
    labels = assert_safe(SOUND[name])

    # Everything that could go wrong was tried.
    steps = "\n".join(labels)
    assert "deletes pack 0" in steps
    assert "moves pack 0 back" in steps
    assert "fences session 0" in steps
    assert "it was fenced" in steps
    assert "dies" in steps


@pytest.mark.parametrize("name", UNIONS)
def test_no_interleaving_hides_an_entry_whose_manifest_was_superseded(name: str) -> None:
    labels = assert_safe(UNIONS[name])

    assert any("to trash" in label for label in labels)
    assert any("with the entries of (0, 1" in label for label in labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_larger_crowds_lose_nothing_either(name: str) -> None:
    assert_safe(LARGE[name], limit=6_000_000)


@pytest.mark.parametrize("flaw", LOSES_A_PACK)
def test_without_one_protection_some_interleaving_loses_a_pack(flaw: Flaw) -> None:
    scenario = LOSES_A_PACK[flaw]
    assert_safe(scenario)

    found = Protocol(scenario._replace(flaw=flaw)).explore().found

    show(f"{flaw.name}: {flaw.value}", found)
    assert found is not None
    assert found.fault == "pack 0 is lost: manifest 0 references it"
    assert "deletes pack 0" in found.trace[-1]


@pytest.mark.parametrize("flaw", LOSES_AN_ENTRY)
def test_without_one_protection_a_load_may_miss_an_entry(flaw: Flaw) -> None:
    scenario = Scenario((None,) * 3, 1, packs=0, supersedes=True)
    assert_safe(scenario)

    found = Protocol(scenario._replace(flaw=flaw)).explore().found

    show(f"{flaw.name}: {flaw.value}", found)
    assert found is not None
    assert found.fault.startswith("a load may miss the entries of")
    assert "to trash" in found.trace[-1]


@pytest.mark.slow
@pytest.mark.parametrize("flaw", [Flaw.NO_AGE, Flaw.AGE_OF_SESSION])
def test_what_a_load_may_miss_a_gc_may_miss_and_delete(flaw: Flaw) -> None:
    """One gc moves the superseded manifest away while another does not see the newer one yet."""
    protocol = Protocol(Scenario((0, None), 2, supersedes=True, flaw=flaw))

    found = protocol.explore(protocol.lost_pack, limit=6_000_000).found

    show(f"{flaw.name}: {flaw.value}", found)
    assert found is not None
    assert "deletes pack 0" in found.trace[-1]


@pytest.mark.slow
def test_a_manifest_that_goes_to_trash_before_its_pack_is_put_back_loses_it() -> None:
    """A saver that nobody witnessed carries an entry on whose manifest nobody sees any more."""
    found = Protocol(LATE._replace(flaw=Flaw.TRASH_FORGOTTEN)).explore().found

    show("trash forgotten", found)
    assert found is not None
    assert found.fault == "pack 0 is lost: manifest 0 references it"
    assert any("stores the entries of (2,) once more" in step for step in found.trace)
    assert "moves manifest 2 to trash" in " ".join(found.trace)
    assert "deletes pack 0" in found.trace[-1]


def test_stages_no_further_apart_than_a_view_may_be_stale_lose_a_pack() -> None:
    """One may miss the move of the pack, the other the token: both are stale at once."""
    assert_safe(Scenario((0,), 1, timing=FINE))

    found = Protocol(Scenario((0,), 1, timing=CLOSE)).explore().found

    show("stages too close", found)
    assert found is not None
    assert "deletes pack 0" in found.trace[-1]


def test_two_gcs_adopt_from_each_other_and_take_over_what_nobody_marked() -> None:
    labels = assert_safe(Scenario((0,), 2))

    assert "gc 0: adopts folder 1" in labels or "gc 1: adopts folder 0" in labels
    assert any("which nobody marked" in label for label in labels)


def test_states_that_stand_for_others_hide_no_fault() -> None:
    for scenario in (Scenario((0, 0), 1), Scenario((0,), 2), Scenario((0, None), 1)):
        few = Protocol(scenario).explore()
        all_of_them = Protocol(scenario, reduces=False).explore()
        assert few.found is None
        assert all_of_them.found is None
        assert few.states < all_of_them.states


def test_the_checker_finds_a_shortest_trace() -> None:
    def up(state: int) -> list[Step[int]]:
        return [Step("one", state + 1), Step("three", state + 3)]

    explored = explore(0, [up], lambda state: "seven" if state == 7 else None, limit=100)

    assert explored.found is not None
    assert explored.found.fault == "seven"
    assert sorted(explored.found.trace) == ["one", "three", "three"]
    assert str(explored.found).splitlines()[-1] == "  => seven"


def test_the_checker_visits_every_interleaving_once() -> None:
    def left(state: tuple[int, int]) -> list[Step[tuple[int, int]]]:
        return [Step("left", (state[0] + 1, state[1]))] if state[0] < 3 else []

    def right(state: tuple[int, int]) -> list[Step[tuple[int, int]]]:
        return [Step("right", (state[0], state[1] + 1))] if state[1] < 4 else []

    explored = explore((0, 0), [left, right], lambda _: None, limit=100)

    assert explored.states == 4 * 5
    assert explored.labels == {"left", "right"}


def test_the_checker_does_not_call_an_unfinished_search_a_proof() -> None:
    def on(state: int) -> list[Step[int]]:
        return [Step("on", state + 1)]

    with pytest.raises(TooManyStatesError):
        explore(0, [on], lambda _: None, limit=50)
