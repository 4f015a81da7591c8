"""Saves and loads of which each effect on the store goes wrong in turn, in every way it can."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from b10_store.remote.folder import FolderRemote, FolderToken
from tests.support.crash_world import World
from tests.support.fault_operations import (
    LOADS,
    SAVE_AND_VISIT,
    SAVE_OF_TIMINGS,
    SAVES,
    prepare_load_from_trash,
    prepare_save_again,
)
from tests.support.fault_runs import FaultRun
from tests.support.faults import Case, Effect, Faults, Lasting, cases
from tests.support.faulty_remote import ODDITIES, PASSING, REFUSALS, REMOVING, FaultyRemote
from tests.support.store_views import load_elsewhere
from tests.support.trees import differences

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.fault_runs import Operation
    from tests.support.faults import Fault

OPERATIONS = (*SAVES, *LOADS)
FEW = (SAVES[0], LOADS[0])
ALIKE = tuple(item for item in SAVES if item.name in ("overtaken save", "save as before"))
"""Their effects are those of others, but for a few."""


def wrapping(faults: Faults) -> AbstractContextManager[object]:
    """Let every remote that the product opens meet the faults."""

    def open_faulty(root: str) -> FaultyRemote:
        return FaultyRemote(FolderRemote(root), faults)

    return mock.patch("b10_transfer.operations.context.FolderRemote", open_faulty)


def sweep(
    folder: Path, operation: Operation, *faults: Fault, lasting: Lasting, only_ends: bool = False
) -> list[str]:
    run = FaultRun(operation, World(folder), wrapping)
    return [line for fault in faults for line in run.sweep(fault, lasting, only_ends=only_ends)]


def test_the_operations_have_every_effect_that_there_is(folder: Path) -> None:
    found: set[str] = set()
    for number, operation in enumerate(OPERATIONS):
        place = folder / str(number)
        place.mkdir()
        found |= {effect.kind for effect in FaultRun(operation, World(place), wrapping).counts}
    struck = {kind for fault in [*PASSING, *ODDITIES] for kind in fault.strikes}
    assert found == struck - REMOVING


@pytest.mark.parametrize("lasting", Lasting, ids=lambda lasting: lasting.name.lower())
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_an_error_of_any_effect_is_told_truly_and_breaks_nothing(
    folder: Path, operation: Operation, lasting: Lasting
) -> None:
    # What fails from then on begins with the first or the last of its kind; --long has the others.
    is_lasting = lasting is not Lasting.ONCE
    assert sweep(folder, operation, *PASSING, lasting=lasting, only_ends=is_lasting) == []


@pytest.mark.parametrize(
    ("operation", "lasting"),
    [(operation, Lasting.ONCE) for operation in OPERATIONS if operation not in ALIKE]
    + [(operation, Lasting.THERE) for operation in FEW],
    ids=str,
)
def test_an_effect_that_is_done_in_part_or_unseen_is_told_truly_and_breaks_nothing(
    folder: Path, operation: Operation, lasting: Lasting
) -> None:
    assert sweep(folder, operation, *ODDITIES, lasting=lasting, only_ends=True) == []


def test_what_was_measured_here_is_not_forgotten_over_a_passing_fault(folder: Path) -> None:
    faults = [fault for fault in [*PASSING, *ODDITIES] if "read" in fault.strikes]
    assert sweep(folder, SAVE_OF_TIMINGS, *faults, lasting=Lasting.ONCE) == []


def test_a_visit_after_a_save_is_never_felt_and_breaks_nothing(folder: Path) -> None:
    run = FaultRun(SAVE_AND_VISIT, World(folder), wrapping)
    (error,) = PASSING
    struck = [
        case
        for case in cases(run.counts, error, Lasting.ONCE)
        if case.effect.place in ("trash", "fenced", "quarantine")
    ]
    assert len(struck) > len(cases(run.counts, error, Lasting.ONCE)) // 6
    assert [f"{case}: {line}" for case in struck for line in run.strike(case)] == []


@pytest.mark.slow
@pytest.mark.parametrize("lasting", Lasting, ids=lambda lasting: lasting.name.lower())
@pytest.mark.parametrize("fault", [*PASSING, *REFUSALS, *ODDITIES], ids=str)
@pytest.mark.parametrize("operation", [*OPERATIONS, SAVE_AND_VISIT], ids=str)
def test_every_fault_of_any_effect_is_told_truly_and_breaks_nothing(
    folder: Path, operation: Operation, fault: Fault, lasting: Lasting
) -> None:
    assert sweep(folder, operation, fault, lasting=lasting) == []


def test_a_listing_that_shows_a_pack_which_is_gone_does_not_make_a_save_rely_on_it(
    folder: Path,
) -> None:
    world = World(folder)
    stored = prepare_save_again(world).stored
    (pack,) = world.host.store.glob("packs/*.pack")
    pack.unlink()
    real = FolderRemote.list

    def list_as_before(remote: FolderRemote, where: str) -> list[str]:
        return sorted({*real(remote, where), *([pack.name] if where == "packs" else [])})

    with mock.patch.object(FolderRemote, "list", list_as_before):
        assert world.host.save().status.name == "SUCCESS"
    assert differences(load_elsewhere(world.host.store), stored) == []


@pytest.mark.parametrize("fault", [*PASSING, *REFUSALS], ids=str)
def test_heartbeats_that_are_missed_do_not_end_a_save(
    folder: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("b10_store.save.session.HEARTBEAT_SECONDS", 0.001)
    world = World(folder)
    here = SAVES[0].prepare(world).here
    missed = threading.Event()
    real = FolderRemote.create

    def miss(token: FolderToken) -> None:
        missed.set()
        raise fault.as_error(repr(token))

    def create_late(remote: FolderRemote, where: str, *rest: Any) -> None:
        if where == "packs":
            missed.clear()
            assert missed.wait(300), "no heartbeat after one that failed"
        real(remote, where, *rest)

    with (
        mock.patch.object(FolderToken, "touch", miss),
        mock.patch.object(FolderRemote, "create", create_late),
    ):
        assert world.host.save().status.name == "SUCCESS"
    assert differences(load_elsewhere(world.host.store), here) == []


def test_a_trash_that_cannot_be_listed_costs_only_what_lies_there(folder: Path) -> None:
    world = World(folder)
    stored = prepare_load_from_trash(world).stored
    case = Case(Effect("list", "trash"), 1, PASSING[0], Lasting.THERE)
    with wrapping(Faults(case)):
        report = world.host.load()
    assert report.status.name == "SUCCESS"
    assert report.loaded + report.unavailable == len(stored)
    assert report.loaded
    assert report.unavailable
