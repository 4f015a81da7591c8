"""I1, I2: a visit that repacks a half-dead pack, stopped before each of its effects in turn."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from b10_transfer.operations import upkeep
from tests.support.cache_trees import read_tree
from tests.support.crash_points import Stop, Sweep
from tests.support.crash_world import World
from tests.support.half_dead import collect, forgetting_changes, model
from tests.support.sites import Host
from tests.support.store_views import clock_behind, published, store_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cache_trees import Tree

pytestmark = pytest.mark.crash

_HOUR = 3600.0


def half_dead_store(world: World) -> Tree:
    """A store whose first pack is half dead; returns what loads bring."""
    tree = model(0)
    world.host.write(tree)
    with clock_behind(5 * _HOUR):
        world.host.save(wait=False)
    other = world.other_host()
    other.load()
    changed = {name: data + b" made again" for name, data in list(tree.items())[:3]}
    other.write(changed)
    with clock_behind(3 * _HOUR):
        other.save(wait=False)
    with forgetting_changes():
        assert upkeep.collect(world.settings).superseded == 1
    assert len(published(store_files(world.host.store))) == 1
    return {**tree, **changed}


def loaded(world: World) -> Tree:
    """What a host gets that has nothing yet."""
    host = Host(world.host.store, world.folder / "new")
    report = host.load()
    assert report.problems == ()
    assert report.unavailable == 0
    return read_tree(host.root)


def check_everything_is_there(world: World, expected: Tree, stop: Stop) -> None:
    assert loaded(world) == expected, stop
    report = upkeep.check(world.settings, read_data=True)
    assert report.faults == [], stop


def test_a_rewrite_that_is_stopped_anywhere_loses_nothing(folder: Path) -> None:
    world = World(folder)
    expected = half_dead_store(world)
    before = published(store_files(world.host.store))
    world.keep()
    sweep = Sweep(functools.partial(collect, world.settings), world.folder, world.reset)
    published_late = 0
    for stop in sweep:
        added = published(store_files(world.host.store)) - before
        assert len(added) <= 1, stop
        published_late += len(added)
        check_everything_is_there(world, expected, stop)
    # Bytes come into local files, into a new pack, and with a token that becomes a manifest.
    assert (
        sweep.lacks({"b10-rewrite-": 4, "packs/": 3, "sessions/": 4, " -> store/manifests/": 1})
        == {}
    )
    assert published_late > 0
    assert loaded(world) == expected
