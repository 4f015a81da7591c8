"""Stores with times in them that nobody's clock ever showed, as whoever can write there can set."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from b10_store.format.keys import SigningKey
from b10_store.format.manifest import Pack
from b10_store.format.names import Address, new_snapshot_id
from b10_store.format.seal import seal
from b10_store.gc.plan import GcPolicy
from b10_store.gc.trash import Stage, read_trash
from b10_store.store import Store
from tests.support.aging_stores import AgingFolder
from tests.support.gc_states import NEW, OLD
from tests.support.gc_world import HOUR, STAGE, WITNESS, GcWorld
from tests.support.published import publish
from tests.support.values import entry, manifest, pack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

YEAR_2100 = 4_102_444_800.0
KEY = SigningKey(b"a secret of enough bytes")
OTHER = Address("e" * 32, "planted")


class World(GcWorld):
    """A store in a real folder, in which files can be planted."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        super().__init__(folder, AgingFolder(self.store))

    def plant(self, name: str, data: bytes = b"planted", mtime: float = YEAR_2100) -> None:
        path = self.store / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (mtime, mtime))


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.hosts.new(key=KEY).write(NEW).save()
    return world


def test_sessions_from_the_future_are_fenced_and_swept(world: World) -> None:
    for number in range(50):
        world.plant(f"sessions/{OTHER}~{number:013d}-{number:032x}.session")
    world.visit()
    assert world.names("sessions") == set()
    assert world.names("fenced") == set()


def test_what_was_moved_away_in_the_future_is_swept(world: World) -> None:
    names = {
        f"fenced/{OTHER}~{1:013d}-{1:032x}.session",
        f"quarantine/{'a' * 64}.pack",
        "packs/new.tmp-0123456789abcdef",
    }
    for name in names:
        world.plant(name)
    world.visit()
    assert names.isdisjoint(world.names())


def test_a_pack_from_the_future_is_collected(world: World) -> None:
    world.plant(f"packs/{'a' * 64}.pack")
    assert world.visit().trashed_packs == 1


def test_a_stage_that_was_reached_in_the_future_begins_now(world: World) -> None:
    world.plant(f"packs/{'a' * 64}.pack")
    world.visit()
    (folder,) = read_trash(world.remote)
    mark = world.store / folder.path / Stage.FILLED.mark
    os.utime(mark, (YEAR_2100, YEAR_2100))
    world.visit()
    assert world.stages() == [Stage.FILLED]
    reports = world.visits(WITNESS, STAGE, 25 * HOUR)
    assert sum(report.freed_files for report in reports) == 1


def test_a_visit_in_the_future_does_not_keep_others_from_theirs(world: World) -> None:
    world.plant("trash/visited", b"")
    assert Store(world.remote, str(world.store.parent), ()).is_visit_due()


# What a manifest claims.


def test_a_manifest_that_claims_an_enormous_pack_drives_nothing_out(world: World) -> None:
    planted = manifest(1, [entry("a")], packs={1: Pack(1 << 50, pack().frames)}, address=OTHER)
    publish(world.remote, str(world.store.parent), planted)
    path = world.store / planted.name.manifest_path
    os.utime(path, (YEAR_2100, YEAR_2100))
    report = world.visit(GcPolicy(max_age_seconds=0, max_store_bytes=1 << 30), keys=(KEY,))
    assert (report.refused, report.expired) == ([], ())


def test_where_room_is_short_what_no_key_signed_goes_first(world: World) -> None:
    world.hosts.new(address=OTHER).write(OLD).save()
    policy = GcPolicy(max_age_seconds=0, max_store_bytes=1)
    assert world.visit(policy, keys=(KEY,), dry_run=True).expired == (OTHER,)


# What nobody can read.


def another_format(_: World) -> bytes:
    return seal(b'{"format":99}', b"body")


UNREADABLE: dict[str, Callable[[World], bytes]] = {
    "garbage": lambda _: b"garbage" * 100,
    "a few bytes": lambda _: b"x",
    "nothing": lambda _: b"",
    "another format": another_format,
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_planted_manifest_that_nobody_can_read_does_not_stop_who_has_keys(
    world: World, content: Callable[[World], bytes]
) -> None:
    world.plant(f"manifests/{OTHER}~{new_snapshot_id(world.remote.now())}.manifest", content(world))
    world.plant(f"packs/{'a' * 64}.pack")
    assert world.visit().refused != []
    report = world.visit(keys=(KEY,))
    assert (report.refused, report.trashed_packs) == ([], 1)


def test_a_pipe_or_a_link_in_the_place_of_a_manifest_does_not_stop_who_has_keys(
    world: World,
) -> None:
    pipe, link = (
        world.store / f"manifests/{OTHER}~{new_snapshot_id(world.remote.now())}.manifest"
        for _ in range(2)
    )
    os.mkfifo(pipe)
    link.symlink_to("/etc/passwd")
    assert world.visit().refused != []
    assert world.visit(keys=(KEY,)).refused == []


def test_an_own_manifest_that_is_damaged_stops_who_has_the_key(world: World) -> None:
    (name,) = world.names("manifests")
    path = world.store / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "its body is damaged" in world.visit(keys=(KEY,)).refused[0]
