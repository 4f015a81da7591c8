"""Saves and loads of which each effect on the store goes wrong in turn, in every way it can."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest

from b10_store.folder_remote import FolderRemote
from tests.support.crash_world import World
from tests.support.fault_operations import LOADS, SAVES
from tests.support.fault_runs import FaultRun
from tests.support.faults import Lasting
from tests.support.faulty_remote import ODDITIES, PASSING, REFUSALS, FaultyRemote

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.fault_runs import Operation
    from tests.support.faults import Fault, Faults

OPERATIONS = (*SAVES, *LOADS)


def wrapping(faults: Faults) -> AbstractContextManager[object]:
    """Let every remote that the product opens meet the faults."""
    return mock.patch(
        "b10_transfer.context.FolderRemote",
        lambda root: FaultyRemote(FolderRemote(root), faults),
    )


def sweep(folder: Path, operation: Operation, *faults: Fault, lasting: Lasting) -> list[str]:
    run = FaultRun(operation, World(folder), wrapping)
    return [line for fault in faults for line in run.sweep(fault, lasting)]


@pytest.mark.parametrize("lasting", Lasting, ids=lambda lasting: lasting.name.lower())
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_an_error_of_any_effect_is_told_truly_and_breaks_nothing(
    folder: Path, operation: Operation, lasting: Lasting
) -> None:
    assert sweep(folder, operation, *PASSING, lasting=lasting) == []


@pytest.mark.parametrize("lasting", [Lasting.ONCE, Lasting.THERE], ids=["once", "for ever"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_an_effect_that_is_done_in_part_or_unseen_is_told_truly_and_breaks_nothing(
    folder: Path, operation: Operation, lasting: Lasting
) -> None:
    assert sweep(folder, operation, *ODDITIES, lasting=lasting) == []


@pytest.mark.slow
@pytest.mark.parametrize("lasting", Lasting, ids=lambda lasting: lasting.name.lower())
@pytest.mark.parametrize("fault", [*REFUSALS, *ODDITIES], ids=str)
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_every_fault_of_any_effect_is_told_truly_and_breaks_nothing(
    folder: Path, operation: Operation, fault: Fault, lasting: Lasting
) -> None:
    assert sweep(folder, operation, fault, lasting=lasting) == []
