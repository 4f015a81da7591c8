"""Two things that a storm shows now and then, each made to happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.gc.plan import GcPolicy
from b10_store.gc.trash import read_trash
from b10_store.remote.folder import FolderRemote
from b10_store.store import Store
from tests.support.aging_stores import AgingMemory
from tests.support.gc_world import DAY, HOUR, GcWorld
from tests.support.meanwhile import Meanwhile
from tests.support.shared_mounts import moosefs

if TYPE_CHECKING:
    from pathlib import Path


def test_a_visit_goes_on_when_another_empties_the_folder_that_it_fences(tmp_path: Path) -> None:
    world = GcWorld(tmp_path, AgingMemory())
    world.hosts.new().write({"ab/x.py": b"x"}).save()
    world.remote.create("packs", f"{'5' * 64}.pack", [b"pack"])
    world.visits(2 * DAY, HOUR)
    emptied: list[bool] = []

    def others() -> None:
        # While the first visit is stopped, others fence the folder, and a day later empty it.
        world.visits(0, DAY + HOUR)
        emptied.append(not read_trash(world.remote))

    world.advance(HOUR)
    remote = Meanwhile(world.remote, others, "read", "/witnessed")
    report = Store(remote, str(tmp_path)).collect(GcPolicy(max_age_seconds=0))
    assert emptied == [True]
    assert report.refused == []
    world.to_the_end()
    assert world.names("trash") == set()


@pytest.mark.crash
def test_two_clients_whose_lookups_are_stale_write_into_a_new_store(tmp_path: Path) -> None:
    with moosefs(tmp_path) as mounts:
        first, second = (FolderRemote(str(mount / "store")) for mount in mounts)
        first.open_token("sessions/first").close()
        # From now on the second client knows for a while that there is no such folder.
        assert second.list("packs") == []
        first.create("packs", "first", [b"1"])
        second.create("packs", "second", [b"2"])
        assert sorted(first.list("packs")) == ["first", "second"]
