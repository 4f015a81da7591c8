"""Saves and loads of which each system call on the store goes wrong in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.crash_world import World
from tests.support.fault_operations import LOADS, SAVES
from tests.support.fault_runs import FaultRun
from tests.support.faults import Lasting
from tests.support.faulty_calls import CALLS, FOLDERS, OTHER_CALLS, SHORT, FaultyCalls

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.fault_runs import Operation
    from tests.support.faults import Fault, Faults

FEW = (SAVES[0], LOADS[0])
"""A save and a load with every system call that there is."""


def sweep(
    folder: Path, operation: Operation, *faults: Fault, lasting: Lasting, only_ends: bool = False
) -> list[str]:
    world = World(folder)

    def patching(faults: Faults) -> AbstractContextManager[object]:
        return FaultyCalls(str(world.host.store), faults).put_in_place()

    run = FaultRun(operation, world, patching)
    return [line for fault in faults for line in run.sweep(fault, lasting, only_ends=only_ends)]


@pytest.mark.parametrize("operation", FEW, ids=str)
def test_a_system_call_that_goes_wrong_once_is_told_truly_and_breaks_nothing(
    folder: Path, operation: Operation
) -> None:
    assert sweep(folder, operation, *CALLS, lasting=Lasting.ONCE, only_ends=True) == []


@pytest.mark.parametrize("operation", FEW, ids=str)
def test_what_is_read_and_written_bit_by_bit_or_in_folders_that_cannot_be_flushed_is_whole(
    folder: Path, operation: Operation
) -> None:
    found = sweep(folder, operation, *SHORT, *FOLDERS, lasting=Lasting.EVERYWHERE, only_ends=True)
    assert found == []


@pytest.mark.slow
@pytest.mark.parametrize("lasting", Lasting, ids=lambda lasting: lasting.name.lower())
@pytest.mark.parametrize("fault", [*CALLS, *OTHER_CALLS], ids=str)
@pytest.mark.parametrize("operation", [*SAVES, *LOADS], ids=str)
def test_every_fault_of_any_system_call_is_told_truly_and_breaks_nothing(
    folder: Path, operation: Operation, fault: Fault, lasting: Lasting
) -> None:
    assert sweep(folder, operation, fault, lasting=lasting) == []
