"""Loads of the engine: what a store that is damaged, moved or being changed still gives."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from b10_store.errors import NoSpaceError
from b10_store.remote.memory import MemoryRemote
from b10_store.tree.placement import RestoreTarget
from tests.support.blobs import prose
from tests.support.cache_trees import noise
from tests.support.clocks import TickingClock
from tests.support.counting_remote import CountingRemote
from tests.support.meanwhile import Meanwhile, failing
from tests.support.packed import rewrite, the_pack
from tests.support.published import damage
from tests.support.staged import leftovers, paths, placed_paths
from tests.support.values import ADDRESS
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from b10_store.load import LoadOutcome
    from tests.support.engine_hosts import EngineHost
    from tests.support.wrapped_remote import Call

TREE = {f"a{number}/{number}.py": prose(2000, number) for number in range(12)}
LARGE = {"big.bin": noise(3 << 20), "b/big.bin": noise(3 << 20), **TREE}
DAY = 86_400.0


@pytest.fixture
def remote() -> MemoryRemote:
    return MemoryRemote(TickingClock(time.time()).time)


def test_files_that_share_a_blob_all_come(saver: EngineHost, loader: EngineHost) -> None:
    saver.write(LARGE).save()
    outcome = loader.load()
    assert loader.tree() == LARGE
    assert (outcome.damaged, outcome.unread) == ({}, {})
    assert leftovers(loader.root) == []


def test_a_load_adds_to_what_is_here(saver: EngineHost, loader: EngineHost) -> None:
    saver.write(TREE).save()
    loader.write({"a0/0.py": b"mine", "own": b"mine"}).load()
    assert loader.tree() == {**TREE, "a0/0.py": b"mine", "own": b"mine"}


def test_a_load_of_an_empty_store_brings_nothing(loader: EngineHost) -> None:
    counting = CountingRemote(loader.remote)
    loader.remote = counting
    assert loader.load().placed.placed == []
    assert counting.changes == []


def test_a_load_changes_nothing_in_the_store(saver: EngineHost, loader: EngineHost) -> None:
    saver.write(TREE).save()
    counting = CountingRemote(loader.remote)
    loader.remote = counting
    loader.load()
    assert counting.changes == []


def test_a_load_once_a_day_refreshes_the_time_of_last_load(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote
) -> None:
    outcome = saver.write(TREE).save()
    assert outcome.published is not None
    name = outcome.published.manifest_path
    vars(remote)["_nodes"][name].mtime -= DAY + 60
    old = remote.stat(name).mtime
    loader.load()
    assert remote.stat(name).mtime > old + DAY
    counting = CountingRemote(remote)
    loader.remote = counting
    loader.load()
    assert counting.changes == []


def test_a_store_that_cannot_be_written_loads(saver: EngineHost, loader: EngineHost) -> None:
    outcome = saver.write(TREE).save()
    assert outcome.published is not None
    vars(saver.remote)["_nodes"][outcome.published.manifest_path].mtime -= 2 * DAY
    loader.remote = failing(saver.remote, OSError(30, "read-only"), "touch")
    loader.load()
    assert loader.tree() == TREE


def test_a_damaged_pack_costs_only_what_lies_in_the_damaged_frame(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote
) -> None:
    saver.write(TREE).save()
    (pack,) = saver.stored().packs
    saver.write({"late.py": b"in another pack"}).save()
    rewrite(remote, f"packs/{pack}.pack", bytes(1000))
    outcome = loader.load()
    assert loader.tree() == {"late.py": b"in another pack"}
    assert len(outcome.damaged) == len(TREE)
    assert set(outcome.damaged.values()) == {pack}


class Flaky(WrappedRemote):
    """The first read of each file of a folder gives wrong bytes, or fails."""

    def __init__(self, inner: MemoryRemote, folder: str) -> None:
        super().__init__(inner)
        self._folder = folder
        self._seen: set[str] = set()

    def before(self, call: Call) -> None:
        if call.effect == "read" and call.name.startswith(self._folder):
            first = call.name not in self._seen
            self._seen.add(call.name)
            if first:
                raise OSError(116, "stale file handle")


def test_what_fails_once_is_read_again_through_a_fresh_open(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote
) -> None:
    saver.write(TREE).save()
    loader.remote = Flaky(remote, "packs/")
    outcome = loader.load()
    assert loader.tree() == TREE
    assert (outcome.damaged, outcome.unread) == ({}, {})


def test_a_pack_that_gc_moved_to_trash_is_found_there(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote
) -> None:
    saver.write(LARGE).save()
    name = the_pack(remote)
    remote.create("trash/aa", "unrelated", [b""])
    remote.rename(name, f"trash/bb/{name.partition('/')[2]}")
    loader.load()
    assert loader.tree() == LARGE


def test_damage_in_trash_is_damage(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote
) -> None:
    saver.write(TREE).save()
    name = the_pack(remote)
    rewrite(remote, name, bytes(5000))
    remote.rename(name, f"trash/bb/{name.partition('/')[2]}")
    outcome = loader.load()
    assert len(outcome.damaged) == len(TREE)
    assert loader.tree() == {}


def test_a_pack_that_is_nowhere_is_a_miss_and_no_damage(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote
) -> None:
    saver.write(TREE).save()
    remote.delete(the_pack(remote))
    saver.write({"late.py": b"x"}).save()
    remote.delete(the_pack(remote))
    outcome = loader.load()
    assert loader.tree() == {}
    assert outcome.damaged == {}
    assert len(outcome.unread) == len(TREE) + 1
    assert leftovers(loader.root) == []


def test_what_was_healed_while_a_load_ran_is_loaded_from_its_new_place(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote
) -> None:
    saver.write(TREE).save()
    broken = the_pack(remote)

    def heal() -> None:
        remote.delete(broken)
        saver.write({"more": b"x"}).save()

    loader.remote = Meanwhile(remote, heal, "read", broken)
    outcome = loader.load()
    assert loader.tree() == TREE
    assert (outcome.damaged, outcome.unread) == ({}, {})


def test_the_heads_are_asked_for_only_once_more(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote
) -> None:
    saver.write(TREE).save()
    saver.write({"late.py": b"x"}).save()
    for name in remote.list("packs"):
        remote.delete(f"packs/{name}")
    counting = CountingRemote(remote)
    loader.remote = counting
    loader.load()
    assert counting.names("list").count("manifests") == 2


def test_a_store_that_goes_away_during_a_load_is_a_miss(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote
) -> None:
    saver.write(TREE).save()

    class GoesAway(WrappedRemote):
        gone = False

        def before(self, call: Call) -> None:
            self.gone = self.gone or call.name.startswith("packs/")
            if self.gone:
                raise OSError(107, "transport endpoint is not connected")

    loader.remote = GoesAway(remote)
    outcome = loader.load()
    assert len(outcome.unread) == len(TREE)
    assert {error.errno for error in outcome.unread.values()} == {107}
    assert leftovers(loader.root) == []


def test_a_damaged_head_leaves_what_the_others_have(
    saver: EngineHost, loader: EngineHost, remote: MemoryRemote
) -> None:
    saver.write(TREE).save()
    saver.write({"late.py": b"x"}).save()
    (head,) = saver.heads().manifests
    damage(remote, head)
    loader.load()
    assert loader.tree() == TREE


def bring_with(host: EngineHost, room: int) -> LoadOutcome:
    stored = host.stored()
    placements = [RestoreTarget(item, str(host.root)) for item in stored.entries.values()]
    taken: list[int] = []

    def watch(folder: str, size: int) -> None:
        taken.append(size)  # from two threads
        if sum(taken) > room:
            raise NoSpaceError(folder)

    return host.store().load(ADDRESS, placements, stored.packs, watch=watch, workers=2)


@pytest.mark.parametrize("room", [0, 1, 5000, 24_000, (3 << 20) + 24_000])
def test_a_load_that_runs_out_of_room_leaves_nothing(
    saver: EngineHost, loader: EngineHost, room: int
) -> None:
    saver.write(LARGE).save()
    with pytest.raises(NoSpaceError):
        bring_with(loader, room)
    assert loader.tree() == {}
    assert leftovers(loader.root) == []
    assert placed_paths(bring_with(loader, 1 << 30).placed) == LARGE.keys()


def test_artifacts_that_are_here_meanwhile_are_kept(saver: EngineHost, loader: EngineHost) -> None:
    saver.write(TREE).save()

    def compile_here() -> None:
        loader.write({"a3/3.py": b"compiled here"})

    loader.remote = Meanwhile(saver.remote, compile_here, part="packs/")
    assert paths(loader.load().placed.kept) == {"a3/3.py"}
    assert loader.tree() == {**TREE, "a3/3.py": b"compiled here"}
