"""Visits, checks and removals of which each system call on the store goes wrong in turn."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from tests.support.fault_upkeep_operations import (
    REMOVAL,
    REPAIR,
    RESTORING,
    REWRITE,
    VISIT,
    WITNESSING,
)
from tests.support.fault_upkeep_runs import UpkeepRun
from tests.support.fault_upkeep_worlds import KeptFolder, UpkeepWorld
from tests.support.faults import Lasting
from tests.support.faulty_calls import CALLS, FOLDERS, OTHER_CALLS, SHORT, FaultyCalls

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.support.fault_upkeep_runs import Upkeep
    from tests.support.faults import Fault, Faults

FEW = (WITNESSING, REWRITE, REPAIR, REMOVAL, RESTORING)
"""With all system calls that there are, but for those of files that are deleted."""


@contextlib.contextmanager
def patching(world: UpkeepWorld, faults: Faults) -> Generator[None]:
    """Let the system calls of the store's remote meet the faults."""
    calls = FaultyCalls(str(world.keeper.store), faults)
    with (
        calls.put_in_place(),
        mock.patch("b10_transfer.operations.context.FolderRemote", return_value=world.remote),
    ):
        yield


@pytest.fixture
def world(folder: Path) -> UpkeepWorld:
    """An empty store in a real folder."""
    return UpkeepWorld(folder, KeptFolder(folder / "store"))


def sweep(
    world: UpkeepWorld, operation: Upkeep, *faults: Fault, lasting: Lasting, only_ends: bool = False
) -> list[str]:
    run = UpkeepRun(operation, world, patching)
    return [line for fault in faults for line in run.sweep(fault, lasting, only_ends=only_ends)]


@pytest.mark.parametrize("operation", FEW, ids=str)
def test_a_system_call_that_goes_wrong_once_is_told_truly_and_breaks_nothing(
    world: UpkeepWorld, operation: Upkeep
) -> None:
    assert sweep(world, operation, *CALLS, lasting=Lasting.ONCE, only_ends=True) == []


@pytest.mark.parametrize("operation", FEW, ids=str)
def test_what_is_read_and_written_bit_by_bit_or_in_folders_that_cannot_be_flushed_is_whole(
    world: UpkeepWorld, operation: Upkeep
) -> None:
    found = sweep(world, operation, *SHORT, *FOLDERS, lasting=Lasting.EVERYWHERE, only_ends=True)
    assert found == []


@pytest.mark.slow
@pytest.mark.parametrize("lasting", Lasting, ids=lambda lasting: lasting.name.lower())
@pytest.mark.parametrize("fault", [*CALLS, *OTHER_CALLS], ids=str)
@pytest.mark.parametrize("operation", [VISIT, *FEW], ids=str)
def test_every_fault_of_any_system_call_is_told_truly_and_breaks_nothing(
    world: UpkeepWorld, operation: Upkeep, fault: Fault, lasting: Lasting
) -> None:
    assert sweep(world, operation, fault, lasting=lasting) == []
