"""A saver carries on what it read in a manifest that has gone to trash since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.format.names import Address, pack_path
from tests.support.aging_stores import AgingMemory
from tests.support.gc_states import NEW, OLD, during_publish
from tests.support.gc_world import DAY, HOUR, MINUTE, MONTH, STAGE, WITNESS, GcWorld

if TYPE_CHECKING:
    from pathlib import Path

KEPT = Address("1" * 32)
OWN = {"own/own.py": b"own = 1\n"}
MORE = {"more/more.py": b"more = 1\n"}
LATER = {"later/later.py": b"later = 1\n"}


def test_a_saver_that_nobody_witnessed_loses_no_entry_that_it_carries_on(tmp_path: Path) -> None:
    world = GcWorld(tmp_path, AgingMemory())
    hosts = world.hosts
    hosts.new().write(OLD).save()
    world.advance(31 * DAY)
    hosts.new(address=KEPT).write(NEW).save()
    (pack,) = {entry.location.pack for entry in hosts.new().stored().entries.values()}

    # The pack goes to trash with its manifest, which expired; a witnessed saver had read both.
    def move_to_trash() -> None:
        world.visit(MONTH)
        assert pack in world.trashed_packs()

    first = hosts.new(remote=during_publish(world.remote, move_to_trash))
    assert first.write({**OLD, "a/new.py": b"new"}).save().published is not None
    world.visits(WITNESS, STAGE)

    # Of the next savers nobody is a witness. One has the bytes, and stores them once more.
    def store_again_and_collect() -> None:
        world.advance(MINUTE)
        again = hosts.new().write({**OLD, **MORE}).save()
        assert (again.added, again.superseded) == (len(MORE), len(OLD))
        world.visits(2 * HOUR, 21 * HOUR + 40 * MINUTE)

    slow = hosts.new(remote=during_publish(world.remote, store_again_and_collect))
    assert slow.write(OWN).save().published is not None
    # It references the pack, so the pack is there, or on its way back from trash.
    assert pack in world.packs() | world.trashed_packs()
    hosts.new().write(LATER).save()
    world.to_the_end()
    assert world.loaded(slow) == {**OLD, **MORE, **OWN, **LATER, "a/new.py": b"new"}


def test_a_saver_without_the_bytes_keeps_the_copy_that_is_there(tmp_path: Path) -> None:
    """Two hosts compiled the same at once; the pack of the older one is lost since."""
    world = GcWorld(tmp_path, AgingMemory())
    hosts = world.hosts

    def publish_the_same() -> None:
        hosts.new().write({**OLD, **MORE}).save(wait_seconds=0)

    older = hosts.new(remote=during_publish(world.remote, publish_the_same))
    older.write({**OLD, **OWN}).save()
    assert len(older.heads().manifests) == 2
    first = min(older.heads().manifests, key=lambda head: head.name.snapshot)
    (lost,) = first.packs
    world.remote.delete(pack_path(lost))
    hosts.new().write(LATER).save()
    assert len(older.heads().manifests) == 1
    assert world.loaded(older) == {**OLD, **MORE, **LATER}
