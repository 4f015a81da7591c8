"""Packs that are mostly unused are repacked, while loads and saves go on."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.errors import FencedError, StoreError
from b10_store.format.keys import SigningKey
from b10_store.format.names import Address, pack_path
from b10_store.gc.repack import rewrite_packs
from tests.support.aging_stores import AgingMemory
from tests.support.cache_trees import noise
from tests.support.checked_stores import flipped
from tests.support.gc_states import during_publish
from tests.support.gc_world import HOUR, KEEP_ALL, GcWorld
from tests.support.half_dead import large_model, model, replace_some
from tests.support.meanwhile import Meanwhile, failing
from tests.support.packed import whole_file
from tests.support.published import damage
from tests.support.values import ADDRESS, manifest

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.format.names import PackId
    from b10_store.remote.protocol import Remote
    from tests.support.engine_hosts import EngineHost

NAMESPACE = Address(ADDRESS.environment_key, "model")
KEY = SigningKey(b"a secret of enough bytes")
NAMES = sorted(model(0))
HALF = NAMES[:3]
FOREVER = 1 << 30
MIB = 1 << 20


def half_dead(
    world: GcWorld, tree: dict[str, bytes], names: list[str], key: SigningKey | None = None
) -> tuple[EngineHost, dict[str, bytes], PackId]:
    """A host, what it has stored, and its first pack, of which some is superseded."""
    host = world.hosts.new(key=key).write(tree)
    host.save()
    (pack,) = host.stored().packs
    now = replace_some(host, tree, names)
    world.advance(2 * HOUR)
    return host, now, pack


def collapse(world: GcWorld) -> None:
    """Let the manifest go that still names what is superseded."""
    assert world.visit().superseded == 1


@pytest.mark.parametrize("large", [False, True], ids=["small", "of several frames"])
def test_a_half_dead_pack_is_repacked_and_goes_later(both: GcWorld, large: bool) -> None:
    world = both
    tree = large_model(0) if large else model(0)
    host, now, old = half_dead(world, tree, NAMES[:5] if large else HALF)
    collapse(world)
    assert world.packs() >= {old}
    report = world.visit()
    assert report.rewritten_bytes > 0
    assert old not in host.stored().packs
    assert world.loaded(host) == now
    reports = world.to_the_end()
    assert sum(item.rewritten_bytes for item in reports) == 0, "it is done once"
    assert old not in world.packs()
    assert world.names("trash") | world.names("sessions") == set()
    assert world.loaded(host) == now


def test_nothing_of_an_entry_changes_but_where_its_bytes_are(world: GcWorld) -> None:
    host, _, old = half_dead(world, model(0), HALF)
    collapse(world)
    before = host.stored()
    world.visit()
    after = host.stored()
    assert after.entries.keys() == before.entries.keys()
    for identity, entry in after.entries.items():
        was = before.entries[identity]
        moved = was.location.pack == old
        assert (entry.location != was.location) == moved
        assert entry._replace(location=was.location) == was
    assert host.heads().manifests[0].lineage.environment


def test_a_pack_of_which_more_than_half_is_used_stays(world: GcWorld) -> None:
    _, _, old = half_dead(world, model(0), NAMES[:2])
    collapse(world)
    before = world.files("packs") | world.files("manifests")
    assert sum(report.rewritten_bytes for report in world.to_the_end()) == 0
    assert world.files("packs") | world.files("manifests") == before
    assert old in world.packs()


def test_a_visit_with_little_time_writes_no_pack(world: GcWorld) -> None:
    _, _, old = half_dead(world, model(0), HALF)
    collapse(world)
    assert world.visit(seconds=60).rewritten_bytes == 0
    assert old in world.packs()


def test_two_namespaces_that_share_it_both_leave_it(both: GcWorld) -> None:
    world = both
    tree = {name: noise(MIB, number) for number, name in enumerate(NAMES)}
    first = world.hosts.new().write(tree)
    first.save()
    (old,) = first.stored().packs
    shared = {name: tree[name] for name in NAMES[3:]}
    second = world.hosts.new(address=NAMESPACE).write(shared)
    second.save()
    assert set(second.stored().packs) == {old}
    now = replace_some(first, tree, NAMES[:5])
    then = replace_some(second, shared, NAMES[4:])
    world.advance(2 * HOUR)
    assert world.visit().superseded == 2
    assert world.visit().rewritten_bytes > 2 * MIB
    for host, expected in ((first, now), (second, then)):
        assert old not in host.stored().packs
        assert world.loaded(host) == expected
    world.to_the_end()
    assert old not in world.packs()
    for host, expected in ((first, now), (second, then)):
        assert world.loaded(host) == expected


def test_a_damaged_blob_stays_where_it_is(both: GcWorld) -> None:
    world = both
    host, now, old = half_dead(world, large_model(0), NAMES[:5])
    collapse(world)
    damaged = flipped_blob(world, host, "a0/large.bin")
    assert world.visit().rewritten_bytes > 0
    stored = {identity.path: entry for identity, entry in host.stored().entries.items()}
    assert {path for path, entry in stored.items() if entry.location.pack == old} == {damaged}
    assert world.loaded(host) == {path: data for path, data in now.items() if path != damaged}
    for report in world.to_the_end():
        assert report.rewritten_bytes == 0
        assert report.refused == []
    assert old in world.packs()


def flipped_blob(world: GcWorld, host: EngineHost, path: str) -> str:
    """Flip a bit in the frames of one large blob; returns its path."""
    stored = host.stored()
    (entry,) = [item for item in stored.entries.values() if item.identity.path == path]
    frames = stored.packs[entry.location.pack].frames
    index = frames.covering(entry.location.offset, entry.size)[1]
    place = frames.stored_start(index) + frames.sizes[index][0] // 2
    name = pack_path(entry.location.pack)
    data = whole_file(world.remote, name)
    wrong = data[:place] + flipped(data[place : place + 1]) + data[place + 1 :]
    folder, _, base = name.partition("/")
    world.remote.create(folder, base, [wrong])
    return path


def test_a_pack_that_cannot_be_read_at_all_changes_nothing(world: GcWorld) -> None:
    host, now, old = half_dead(world, model(0), HALF)
    collapse(world)
    broken = OSError(errno.EIO, "Input/output error")
    before = world.files()
    report = world.visit(remote=failing(world.remote, broken, "read", old))
    assert (report.rewritten_bytes, report.refused) == (0, [])
    assert world.files() == before
    assert world.loaded(host) == now


def test_nothing_is_repacked_where_a_manifest_cannot_be_read(world: GcWorld) -> None:
    _, _, old = half_dead(world, model(0), HALF)
    collapse(world)
    damage(world.remote, manifest(5))
    before = world.files()
    with pytest.raises(StoreError, match="manifests/"):
        rewrite(world, world.remote, old)
    assert world.files() == before


def test_a_signed_manifest_is_repacked_only_with_its_key(world: GcWorld) -> None:
    host, now, old = half_dead(world, model(0), HALF, KEY)
    assert world.visit(keys=(KEY,)).superseded == 1
    assert world.visit().rewritten_bytes == 0
    assert old in host.stored().packs
    assert world.visit(keys=(KEY,)).rewritten_bytes > 0
    assert old not in host.stored().packs
    assert world.loaded(host) == now


# At the same time.


MOMENTS = [("open_token", "sessions/"), ("read", "packs/"), ("create", "packs"), ("rename", "sess")]


@pytest.mark.parametrize(("effect", "part"), MOMENTS, ids=str)
def test_a_save_at_any_moment_loses_nothing(world: GcWorld, effect: str, part: str) -> None:
    host, now, old = half_dead(world, model(0), HALF)
    collapse(world)

    def save() -> None:
        world.hosts.new().write({"new.py": b"new"}).save(wait_seconds=0.0)

    during = Meanwhile(world.remote, save, effect, part)
    rewrite(world, during, old)
    assert during.happened
    assert world.loaded(host) == now | {"new.py": b"new"}
    world.to_the_end()
    world.hosts.new().write({"newer.py": b"newer"}).save()
    world.to_the_end()
    assert world.loaded(host) == now | {"new.py": b"new", "newer.py": b"newer"}
    world.to_the_end()
    assert old not in world.packs()


@pytest.mark.parametrize(("effect", "part"), MOMENTS, ids=str)
def test_another_rewrite_at_any_moment_loses_nothing(
    world: GcWorld, effect: str, part: str
) -> None:
    host, now, old = half_dead(world, model(0), HALF)
    collapse(world)
    during = Meanwhile(world.remote, lambda: rewrite(world, world.remote, old), effect, part)
    rewrite(world, during, old)
    assert during.happened
    assert world.loaded(host) == now
    world.hosts.new().write({"new.py": b"new"}).save()
    world.to_the_end()
    assert world.loaded(host) == now | {"new.py": b"new"}
    assert old not in world.packs()


def test_a_rewrite_that_is_fenced_publishes_nothing(world: GcWorld) -> None:
    host, now, old = half_dead(world, model(0), HALF)
    collapse(world)

    def fence() -> None:
        for name in world.names("sessions"):
            world.remote.rename(name, name.replace("sessions/", "fenced/"))

    manifests = world.names("manifests")
    during = during_publish(world.remote, fence)
    with pytest.raises(FencedError):
        rewrite(world, during, old)
    assert world.names("manifests") == manifests
    assert world.loaded(host) == now
    assert rewrite(world, world.remote, old) > 0
    assert world.loaded(host) == now


def rewrite(world: GcWorld, remote: Remote, old: PackId) -> int:
    """One rewrite of a pack, as a visit does it."""
    scratch = world.hosts.new().scratch
    written = rewrite_packs(remote, str(scratch), (), ADDRESS, {old})
    assert os.listdir(scratch) == []
    return written


# Failures.


def test_the_folder_of_a_rewrite_that_was_killed_is_removed_a_day_later(
    world: GcWorld, tmp_path: Path
) -> None:
    host, now, old = half_dead(world, model(0), HALF)
    collapse(world)
    scratch = tmp_path / "scratch"
    ages = {"b10-rewrite-killed": 2.0, "b10-rewrite-at-work": 0.0, "b10-other": 2.0}
    for name, days in ages.items():
        (scratch / name).mkdir(parents=True)
        (scratch / name / "blob").write_bytes(b"bytes")
        then = time.time() - days * 24 * HOUR
        os.utime(scratch / name, (then, then))
    assert rewrite_packs(world.remote, str(scratch), (), ADDRESS, {old}) > 0
    assert sorted(os.listdir(scratch)) == ["b10-other", "b10-rewrite-at-work"]
    assert world.loaded(host) == now


@pytest.mark.parametrize("effect", ["list", "read", "create", "rename", "open_token", "now"])
def test_an_error_of_the_store_anywhere_loses_nothing_and_leaves_no_session(
    tmp_path: Path, effect: str
) -> None:
    aging = AgingMemory()
    world = GcWorld(tmp_path, aging)
    host, now, old = half_dead(world, model(0), HALF)
    collapse(world)
    reset = aging.keep()
    number = 0
    for number in range(20):
        reset()
        error = OSError(errno.EIO, "Input/output error")
        remote = failing(world.remote, error, effect, first=number + 1, times=1)
        with contextlib.suppress(OSError, StoreError):
            rewrite(world, remote, old)
        assert world.names("sessions") == set(), number
        assert world.loaded(host) == now, number
        if not remote.happened:
            break
        assert world.visit(KEEP_ALL).refused == []
        world.to_the_end()
        assert old not in world.packs(), number
        assert world.loaded(host) == now, number
    else:
        pytest.fail("a rewrite has fewer effects than that")
    assert number >= 1
