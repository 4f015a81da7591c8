"""I9, I10: a load that is stopped before each of its effects in turn."""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import TOUCH_INTERVAL_SECONDS
from tests.support.cache_trees import leftovers
from tests.support.crash_points import Stop, Sweep
from tests.support.crash_world import World, load, load_without_links
from tests.support.store_views import store_files
from tests.support.trees import (
    Artifact,
    Artifacts,
    artifacts_of,
    compiled,
    differences,
    out_of_order,
    put_artifacts,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b10_transfer.settings import Settings

pytestmark = pytest.mark.crash


def store_model(world: World, tree: Artifacts) -> None:
    saver = world.other_host()
    put_artifacts(saver, tree)
    assert saver.save().status.name == "SUCCESS"
    long_ago = time.time() - 2 * TOUCH_INTERVAL_SECONDS
    for manifest in saver.store.glob("manifests/*"):
        os.utime(manifest, (long_ago, long_ago))


def made_beside(stored: Artifacts) -> Artifacts:
    """Files of the loading host in the same folders, one of them at the path of a stored one."""
    own: Artifacts = {}
    for name in stored:
        folder = name.rpartition("/")[0]
        own[f"{folder}/own.txt"] = Artifact(f"made here, in {folder}".encode())
    first = next(name for name in stored if name.endswith(".py"))
    own[first] = Artifact(b"compiled here, to other bytes")
    return own


def check_stopped_load(world: World, whole: Artifacts, own: Artifacts, stop: Stop) -> None:
    here = artifacts_of(world.host)
    torn = [line for line in differences(here, whole) if not line.startswith("missing: ")]
    assert torn == [], str(stop)
    assert own.keys() <= here.keys(), str(stop)
    brought, stored = (
        {name: artifact for name, artifact in tree.items() if name not in own}
        for tree in (here, whole)
    )
    assert out_of_order(brought, stored) == [], str(stop)


def check_next_load(world: World, whole: Artifacts, stop: Stop) -> None:
    report = world.host.load()
    assert report.status.name in ("SUCCESS", "SKIPPED"), str(stop)
    assert (report.problems, report.unavailable) == ((), 0), str(stop)
    assert differences(artifacts_of(world.host), whole) == [], str(stop)
    assert leftovers(world.host.root) == [], str(stop)
    assert leftovers(world.host.triton) == [], str(stop)


def sweep_loads(
    world: World, operation: Callable[[Settings], object], stored: Artifacts, own: Artifacts
) -> Sweep:
    put_artifacts(world.host, own)
    world.keep()
    in_store = store_files(world.host.store)
    whole = {**stored, **own}
    sweep = Sweep(functools.partial(operation, world.settings), world.folder, world.reset)
    for stop in sweep:
        assert store_files(world.host.store) == in_store, str(stop)
        check_stopped_load(world, whole, own, stop)
        check_next_load(world, whole, stop)
    assert differences(artifacts_of(world.host), whole) == []
    assert world.host.save().status.name == ("SUCCESS" if own else "SKIPPED")
    return sweep


def test_a_load_into_an_empty_root_may_be_stopped_anywhere(folder: Path) -> None:
    world = World(folder)
    stored = compiled("model", spanning=True, triton_root=True)
    store_model(world, stored)
    sweep = sweep_loads(world, load, stored, {})
    lacking = sweep.lacks(
        {
            "open host/inductor/.b10_transfer/staging-*": len(stored) - 3,
            "open host/triton/.b10_transfer/staging-*": 3,
            "write the rest of ": len(stored),
            "rename host/inductor/.b10_transfer/staging-*": 4,
            "loaded.": 6,
            "hashed.": 6,
            "utime store/manifests/": 1,
        }
    )
    assert lacking == {}


@pytest.mark.parametrize(
    ("operation", "effect"), [(load, "link host/"), (load_without_links, "rename host/")]
)
def test_a_load_beside_files_of_a_compiler_may_be_stopped_anywhere(
    folder: Path, operation: Callable[[Settings], object], effect: str
) -> None:
    world = World(folder)
    stored = compiled("model")
    store_model(world, stored)
    own = made_beside(stored)
    sweep = sweep_loads(world, operation, stored, own)
    moved = [name for name in stored if name not in own]
    assert sweep.count(effect) >= len(moved)
