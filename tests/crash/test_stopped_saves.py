"""I2, I3: a save that is stopped before each of its effects in turn."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from tests.support.crash_points import Stop, Sweep
from tests.support.crash_world import World, save
from tests.support.store_views import (
    load_elsewhere,
    manifest_alone,
    published,
    store_files,
)
from tests.support.trees import Artifacts, artifacts_of, compiled, differences, put_artifacts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.crash

_SMALL_PACKS = 9
"""One more than a manifest may refer to before they are put together."""


def first_save(world: World) -> tuple[Artifacts, Artifacts]:
    """Prepare a host that has compiled; returns what is stored, and what is here."""
    here = compiled("first", spanning=True, triton_root=True)
    put_artifacts(world.host, here)
    return {}, here


def incremental_save(world: World) -> tuple[Artifacts, Artifacts]:
    """Prepare a save that adds, and puts small packs together."""
    stored: Artifacts = {}
    for number in range(_SMALL_PACKS):
        stored |= dict(list(compiled(f"model {number}").items())[:2])
        put_artifacts(world.host, stored)
        assert world.host.save(wait=False).status.name == "SUCCESS"
    here = stored | compiled("new")
    put_artifacts(world.host, here)
    return stored, here


def check_what_was_stored(
    world: World, before: dict[str, bytes], here: Artifacts, stop: Stop
) -> bool:
    """Every file that was there still is, as it was; returns whether a manifest was added."""
    after = store_files(world.host.store)
    added = published(after) - published(before)
    assert len(added) <= 1, stop
    for name, data in before.items():
        assert after.get(name) == data, f"{stop}: {name} is not what it was"
    for name in added:
        with manifest_alone(world.host.store, name) as alone:
            assert differences(load_elsewhere(alone), here) == [], f"{stop}: {name}"
    return bool(added)


def unsafe_renames(effects: Sequence[str]) -> list[str]:
    """Files of the store that got their name before their bytes were sure to be on the disk.

    A crash of a process does not show that, but a power cut does.
    """
    found: list[str] = []
    for place, effect in enumerate(effects):
        source = effect.removeprefix("rename ").partition(" -> ")[0]
        before = [done.removesuffix(source) for done in effects[:place] if done.endswith(source)]
        is_tried_again = effect in effects[place + 1 :]
        if is_tried_again or not effect.startswith("rename store/"):
            continue
        was_written = any(done.startswith("write") for done in before)
        is_synced = before[-2:] == ["fsync ", "close "]
        if (was_written and not is_synced) or effects[place + 1] != "fsync a folder":
            found.append(effect)
    return found


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (first_save, {"FORMAT.tmp-*": 7, "packs/new.tmp-*": 13, "write the rest of ": 6}),
        (incremental_save, {"packs/new.tmp-*": 9, "write the rest of ": 4}),
    ],
)
def test_a_save_that_is_stopped_anywhere_left_the_old_state_or_the_new(
    folder: Path,
    prepare: Callable[[World], tuple[Artifacts, Artifacts]],
    expected: dict[str, int],
) -> None:
    world = World(folder)
    stored, here = prepare(world)
    world.keep()
    before = store_files(world.host.store)
    sweep = Sweep(functools.partial(save, world.settings), world.folder, world.reset)
    outcomes: set[bool] = set()
    for stop in sweep:
        is_published = check_what_was_stored(world, before, here, stop)
        outcomes.add(is_published)
        loaded = load_elsewhere(world.host.store)
        assert differences(loaded, here if is_published else stored) == [], str(stop)
        assert differences(artifacts_of(world.host), here) == [], str(stop)
        report = world.host.save(wait=False)
        assert report.status.name == ("SKIPPED" if is_published else "SUCCESS"), str(stop)
        assert report.problems == (), str(stop)
        assert differences(load_elsewhere(world.host.store), here) == [], str(stop)
    assert outcomes == {False, True}
    assert differences(load_elsewhere(world.host.store), here) == []
    assert sweep.lacks({**expected, "sessions/": 8, "fsync ": 5}) == {}
    assert unsafe_renames(sweep.effects) == []
