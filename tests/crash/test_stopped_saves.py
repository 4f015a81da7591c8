"""A save that is stopped before each of its effects in turn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.crash_points import Stop, Sweep
from tests.support.sites import Host
from tests.support.store_views import (
    clock_behind,
    load_elsewhere,
    manifest_alone,
    published,
    store_files,
)
from tests.support.trees import Artifacts, artifacts_of, compiled, differences, put_artifacts

pytestmark = pytest.mark.crash

_HOUR = 3600.0


class World:
    """A store and the host that saves, kept twice: to work on, and as they were."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "world"
        self.host = Host(self.folder / "store", self.folder / "host")
        self._kept = folder / "kept"
        self.old: Artifacts = {}
        self.new: Artifacts = {}

    def keep(self, old: Artifacts, new: Artifacts) -> None:
        """The state in which each save begins is the present one."""
        self.old, self.new = old, new
        self.folder.rename(self._kept)
        self.before = store_files(self._kept / "store")

    def reset(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self._kept, self.folder)

    def save(self) -> None:
        self.host.save(wait=False)


def check_nothing_is_lost(world: World, stop: Stop) -> bool:
    """Returns whether the new manifest was published."""
    after = store_files(world.host.store)
    new_manifests = published(after) - published(world.before)
    assert len(new_manifests) <= 1, stop
    for name, data in world.before.items():
        moved = [other for other in after if other.endswith("/" + Path(name).name)]
        assert moved == [name] or (
            new_manifests and name.startswith("manifests/") and moved[0].startswith("trash/")
        ), f"{stop}: {name} is at {moved}"
        assert after[moved[0]] == data, f"{stop}: {name} changed"
    for name in new_manifests:
        alone = manifest_alone(world.host.store, name)
        assert differences(load_elsewhere(alone), world.new) == [], f"{stop}: {name}"
    return bool(new_manifests)


def check_stopped_save(world: World, stop: Stop) -> None:
    is_published = check_nothing_is_lost(world, stop)
    stored = world.new if is_published else world.old
    assert differences(load_elsewhere(world.host.store), stored) == [], str(stop)
    assert differences(artifacts_of(world.host), world.new) == [], str(stop)
    report = world.host.save(wait=False)
    assert report.status.name == ("SKIPPED" if is_published else "SUCCESS"), str(stop)
    assert report.problems == (), str(stop)
    assert differences(load_elsewhere(world.host.store), world.new) == [], str(stop)


def test_a_first_save_stopped_anywhere_leaves_nothing_or_everything(tmp_path: Path) -> None:
    world = World(tmp_path)
    tree = compiled("first", spanning=True, triton_root=True)
    put_artifacts(world.host, tree)
    world.keep({}, tree)
    sweep = Sweep(world.save, world.folder, world.reset)
    for stop in sweep:
        check_stopped_save(world, stop)
    print(len(sweep.effects), "\n".join(sweep.effects))
