"""What follows when nothing fails any more: visits, savers that go on, repairs, and their end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from unittest import mock

from b10_store.remote.folder_names import TEMPORARY_MARK
from b10_transfer.operations import upkeep
from tests.support.fault_upkeep_states import Part
from tests.support.gc_world import DAY, HOUR, MINUTE, MONTH, STAGE, WITNESS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from b10_store.check.check import CheckReport
    from tests.support.fault_upkeep_states import Expectation
    from tests.support.fault_upkeep_worlds import Stalled, Stored, UpkeepWorld


def loads(world: UpkeepWorld, expected: Expectation, *, is_blinded: bool = False) -> Iterator[str]:
    """What new hosts do not get that they must get, or get that they must not.

    Args:
        world: the store, as it is now.
        expected: what hosts saved.
        is_blinded: whether the filesystem lied all the time: then what is whole may have been
            taken for damaged, and only what is loaded must be right.
    """
    for stored, part in expected.stored:
        yield from _load(world, stored, Part.INTACT if is_blinded else part)


def saver_goes_on_at_once(world: UpkeepWorld, expected: Expectation) -> Iterator[str]:
    """Savers that stood still publish now, if they can; then the visits go on to the end."""
    published = [item.stored for item in expected.stalled if _goes_on(world, item)]
    yield from _to_the_end(world, expected, published)


def saver_goes_on_in_between(world: UpkeepWorld, expected: Expectation) -> Iterator[str]:
    """One visit later savers that stood still publish; then the visits go on to the end."""
    world.store.visits(WITNESS, policy=MONTH)
    yield from saver_goes_on_at_once(world, expected)


def saver_goes_on_after_all(world: UpkeepWorld, expected: Expectation) -> Iterator[str]:
    """The visits go on to the end; then savers that stood still publish, if they can."""
    yield from _to_the_end(world, expected)
    for stalled in expected.stalled:
        if _goes_on(world, stalled):
            yield from _load(world, stalled.stored, Part.WHOLE)
    yield from _clean(world)


def saver_wakes_up(world: UpkeepWorld, expected: Expectation) -> Iterator[str]:
    """Savers that stood still show signs of life for most of a day, and then publish.

    What was in trash before is deleted by then, and no session is fenced yet for its age alone.
    """
    for pause in (WITNESS, STAGE, 12 * HOUR, 11 * HOUR + 10 * MINUTE):
        world.store.advance(pause)
        for stalled in expected.stalled:
            with contextlib.suppress(FileNotFoundError):
                world.remote.touch(stalled.name.session_path)
        world.store.visit(MONTH)
    yield from saver_goes_on_at_once(world, expected)


def everything_goes_on(world: UpkeepWorld, expected: Expectation) -> Iterator[str]:
    """Visits lose nothing; then a repair, and a save of every host, make everything whole."""
    before = [world.store.loaded(stored.host) for stored, _ in expected.stored]
    world.store.visits(25 * HOUR, WITNESS, 25 * HOUR, policy=MONTH)
    if before != [world.store.loaded(stored.host) for stored, _ in expected.stored]:
        yield "new hosts get something else after visits"
    _check(world, repair=True)
    for stored, _ in expected.stored:
        stored.host.save()
    yield from _to_the_end(world, expected)


def put_back(world: UpkeepWorld, expected: Expectation) -> Iterator[str]:
    """What is removed once more is put back; then the visits go on to the end."""
    assert expected.target is not None
    address = expected.target.host.address
    with _healthy(world):
        upkeep.remove(address, world.settings)
    if world.store.loaded(expected.target.host):
        yield "it is there although it was removed"
    with _healthy(world):
        restored = upkeep.restore(address, world.settings)
    if restored.missing or restored.unusable:
        yield f"{restored}"
    yield from _to_the_end(world, expected)


def _to_the_end(
    world: UpkeepWorld, expected: Expectation, published: Sequence[Stored] = ()
) -> Iterator[str]:
    """As many visits as everything needs that is in trash."""
    for report in world.store.to_the_end(MONTH):
        if report.refused or report.unwritten or not report.is_complete:
            yield f"a later visit says {report}"
    for stored in published:
        yield from _load(world, stored, Part.WHOLE)
    yield from _whole(world, expected)
    yield from _clean(world)
    yield from _empty(world)


def _whole(world: UpkeepWorld, expected: Expectation) -> Iterator[str]:
    for stored, _ in expected.stored:
        yield from _load(world, stored, Part.WHOLE)


def _clean(world: UpkeepWorld) -> Iterator[str]:
    faults = _check(world).faults
    if faults:
        yield f"a later check finds {faults}"


def _empty(world: UpkeepWorld) -> Iterator[str]:
    """Nothing is left but what manifests reference."""
    world.store.advance(15 * DAY)
    report = world.store.visits(0, STAGE, policy=MONTH)[-1]
    if report.trashed_packs or report.superseded or report.expired or report.rewritten_bytes:
        yield f"the last visit still finds {report}"
    for name in world.store.names():
        folder = name.partition("/")[0] if "/" in name else ""
        if TEMPORARY_MARK in name or folder in ("trash", "sessions", "fenced", "quarantine"):
            yield f"{name} was never swept"
    packs = set(world.store.packs())
    if packs != world.referenced_packs():
        yield f"packs that nothing references: {packs - world.referenced_packs()}"


def _load(world: UpkeepWorld, stored: Stored, part: Part) -> Iterator[str]:
    found = world.store.loaded(stored.host)
    wrong = [name for name, data in found.items() if stored.tree.get(name) != data]
    missing = stored.tree.keys() - found.keys()
    if wrong:
        yield f"a new host of {stored.host.address} gets other bytes of {wrong}"
    if missing and (part is Part.WHOLE or (part is Part.WHOLE_OR_NOTHING and found)):
        yield f"a new host of {stored.host.address} does not get {sorted(missing)}"


def _goes_on(world: UpkeepWorld, stalled: Stalled) -> bool:
    """Whether a saver that stood still could publish."""
    with contextlib.suppress(FileNotFoundError):
        world.remote.rename(stalled.name.session_path, stalled.name.manifest_path)
        return True
    return False


def _check(world: UpkeepWorld, *, repair: bool = False) -> CheckReport:
    with _healthy(world):
        return upkeep.check(world.settings, read_data=True, repair=repair)


def _healthy(world: UpkeepWorld) -> AbstractContextManager[object]:
    """Let the upkeep use the store while nothing fails."""
    return mock.patch("b10_transfer.operations.context.FolderRemote", return_value=world.remote)
