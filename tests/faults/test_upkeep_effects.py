"""Visits, checks and removals of which each effect on the store goes wrong in turn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from b10_transfer.operations import upkeep
from tests.support.aging_stores import AgingMemory
from tests.support.fault_upkeep_operations import OPERATIONS, RESTORING, REWRITE
from tests.support.fault_upkeep_runs import UpkeepRun
from tests.support.fault_upkeep_worlds import UpkeepWorld
from tests.support.faults import Case, Effect, Faults, Lasting
from tests.support.faulty_remote import ODDITIES, PASSING, REFUSALS, FaultyRemote

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.fault_upkeep_runs import Upkeep
    from tests.support.faults import Fault


def wrapping(world: UpkeepWorld, faults: Faults) -> AbstractContextManager[object]:
    """Let the remote that the upkeep opens meet the faults."""
    remote = FaultyRemote(world.remote, faults)
    return mock.patch("b10_transfer.operations.context.FolderRemote", return_value=remote)


@pytest.fixture
def world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> UpkeepWorld:
    """An empty store in memory, by whose time a dry run goes too."""
    world = UpkeepWorld(folder, AgingMemory())
    clock = SimpleNamespace(time=world.remote.now, monotonic=lambda: 0.0)
    monkeypatch.setattr("b10_store.gc.visit.time", clock)
    return world


def sweep(
    world: UpkeepWorld,
    operation: Upkeep,
    *faults: Fault,
    lasting: Lasting,
    only_ends: bool = False,
) -> list[str]:
    run = UpkeepRun(operation, world, wrapping)
    return [line for fault in faults for line in run.sweep(fault, lasting, only_ends=only_ends)]


def test_the_operations_have_every_effect_that_there_is(folder: Path) -> None:
    found: set[str] = set()
    for number, operation in enumerate(OPERATIONS):
        place = folder / str(number)
        place.mkdir()
        run = UpkeepRun(operation, UpkeepWorld(place, AgingMemory()), wrapping)
        found |= {effect.kind for effect in run.counts}
    assert found == {kind for fault in [*PASSING, *ODDITIES] for kind in fault.strikes}


@pytest.mark.parametrize("lasting", Lasting, ids=lambda lasting: lasting.name.lower())
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_an_error_of_any_effect_is_told_truly_and_breaks_nothing(
    world: UpkeepWorld, operation: Upkeep, lasting: Lasting
) -> None:
    # What fails from then on begins with the first or the last of its kind; --long has the others.
    is_lasting = lasting is not Lasting.ONCE
    assert sweep(world, operation, *PASSING, lasting=lasting, only_ends=is_lasting) == []


@pytest.mark.parametrize(
    ("operation", "lasting"),
    [(operation, Lasting.ONCE) for operation in OPERATIONS] + [(RESTORING, Lasting.THERE)],
    ids=str,
)
def test_an_effect_that_is_done_in_part_or_unseen_is_told_truly_and_breaks_nothing(
    world: UpkeepWorld, operation: Upkeep, lasting: Lasting
) -> None:
    assert sweep(world, operation, *ODDITIES, lasting=lasting, only_ends=True) == []


@pytest.mark.slow
@pytest.mark.parametrize("lasting", Lasting, ids=lambda lasting: lasting.name.lower())
@pytest.mark.parametrize("fault", [*PASSING, *REFUSALS, *ODDITIES], ids=str)
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_every_fault_of_any_effect_is_told_truly_and_breaks_nothing(
    world: UpkeepWorld, operation: Upkeep, fault: Fault, lasting: Lasting
) -> None:
    assert sweep(world, operation, fault, lasting=lasting) == []


def test_a_visit_tells_of_a_pack_that_it_could_not_read_to_repack_it(
    world: UpkeepWorld,
) -> None:
    REWRITE.prepare(world)
    case = Case(Effect("read", "packs"), 1, PASSING[0], Lasting.ONCE)
    with wrapping(world, Faults(case)):
        report = upkeep.collect(world.settings)
    assert report.rewritten_bytes or report.unwritten
