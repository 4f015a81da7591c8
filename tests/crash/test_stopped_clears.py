"""I10: a clear that is stopped before each of its effects in turn, in the opposite order."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from tests.support.cache_trees import leftovers
from tests.support.crash_points import Sweep
from tests.support.crash_world import World, clear
from tests.support.store_views import load_elsewhere, store_files
from tests.support.trees import artifacts_of, compiled, differences, out_of_order, put_artifacts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.crash


def test_a_clear_that_is_stopped_anywhere_leaves_whole_files_only(folder: Path) -> None:
    world = World(folder)
    tree = compiled("model", triton_root=True)
    put_artifacts(world.host, tree)
    assert world.host.save().status.name == "SUCCESS"
    world.keep()
    in_store = store_files(world.host.store)
    sweep = Sweep(functools.partial(clear, world.settings), world.folder, world.reset)
    for stop in sweep:
        here = artifacts_of(world.host)
        changed = [line for line in differences(here, tree) if not line.startswith("missing: ")]
        assert changed == [], str(stop)
        assert out_of_order(here, tree) == [], str(stop)
        assert store_files(world.host.store) == in_store, str(stop)
        assert world.host.load().status.name in ("SUCCESS", "SKIPPED"), str(stop)
        assert differences(artifacts_of(world.host), tree) == [], str(stop)
        assert leftovers(world.host.root) + leftovers(world.host.triton) == [], str(stop)
        clear(world.settings)
        assert not world.host.root.exists(), str(stop)
        assert not world.host.triton.exists(), str(stop)
    assert sweep.lacks({"rename ": 5, "remove ": len(tree), "rmdir ": 10}) == {}
    assert differences(load_elsewhere(world.host.store), tree) == []


def test_after_a_clear_that_was_stopped_the_next_clear_removes_the_rest(folder: Path) -> None:
    world = World(folder)
    put_artifacts(world.host, compiled("model", triton_root=True))
    world.keep()
    for stop in Sweep(functools.partial(clear, world.settings), world.folder, world.reset):
        clear(world.settings)
        assert not world.host.root.exists(), str(stop)
        assert not world.host.triton.exists(), str(stop)
