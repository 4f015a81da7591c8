"""I1, I6: a visit of the garbage collection that is stopped at each of its effects in turn."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import Address
from b10_store.gc.plan import GcPolicy
from b10_store.remote.folder import FolderRemote
from b10_store.store import Store
from tests.support.aging_stores import AgingMemory
from tests.support.blobs import prose
from tests.support.crash_points import Sweep
from tests.support.crash_world import World
from tests.support.gc_world import DAY, HOUR, MINUTE, MONTH, STAGE, WITNESS, GcWorld
from tests.support.meanwhile import Meanwhile
from tests.support.store_views import clock_behind, load_elsewhere, store_files
from tests.support.trees import compiled, differences, put_artifacts
from tests.support.values import manifest
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.remote.protocol import FileStat, Remote
    from tests.support.engine_hosts import EngineHost
    from tests.support.wrapped_remote import Call

pytestmark = pytest.mark.crash

OTHER = Address("f" * 32)
THIRD = Address("e" * 32)
OLD = {f"a{number}/{number}.py": prose(2000, number) for number in range(3)}
NEW = {f"b{number}/{number}.py": prose(2000, 100 + number) for number in range(3)}
CHANGES = frozenset({"create", "rename", "delete", "open_token", "touch", "remove_folder"})


class Stopped(BaseException):
    """The process ends here."""


class Stopping(WrappedRemote):
    """Ends a process at its n-th change of the store: before it, or when it is done."""

    def __init__(self, inner: Remote, number: int, when: str) -> None:
        super().__init__(inner)
        self.left = number
        self._when = when
        self._is_dead = False

    def before(self, call: Call) -> None:
        if self._is_dead:
            raise Stopped
        if call.effect in CHANGES:
            self.left -= 1
            if self.left == 0 and self._when == "before":
                self._die()

    def after(self, call: Call) -> None:
        if call.effect in CHANGES and self.left == 0 and self._when == "after":
            self._die()

    def _die(self) -> None:
        self._is_dead = True
        raise Stopped


def prepare(world: GcWorld) -> list[tuple[EngineHost, dict[str, bytes]]]:
    """Hosts whose saves must stay, beside an address that expires; and what they saved.

    The second of them relies on a pack of the address that expires, which is in trash by then.
    """
    kept, old = world.hosts.new(address=THIRD), world.hosts.new(address=OTHER)
    old.write(OLD).save()
    world.advance(31 * DAY)
    for path, data in NEW.items():
        kept.write({path: data}).save()
        world.advance(MINUTE)
    token = world.remote.open_token(f"sessions/{manifest(1).name}.session")
    token.close()
    pack = f"{'c' * 64}.pack"
    world.remote.create("packs", pack, [b"nothing references it"])
    world.advance(25 * HOUR)
    # A visit is made while it is about to publish what relies on an expired manifest.
    overtaken = Meanwhile(world.remote, lambda: world.visit(MONTH), "rename", "sessions/")
    saver = world.hosts.new(overtaken, address=OTHER).write(OLD | {"new": b"new"})
    saver.save()
    return [(kept, NEW), (saver, OLD | {"new": b"new"})]


def check_saves(world: GcWorld, saves: list[tuple[EngineHost, dict[str, bytes]]]) -> None:
    for host, tree in saves:
        assert world.loaded(host) == tree


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("pauses", "expected"),
    [
        pytest.param((25 * HOUR,), 11, id="move to trash"),
        pytest.param((WITNESS,), 10, id="witness"),
        pytest.param((WITNESS, STAGE), 9, id="fence"),
        pytest.param((WITNESS, STAGE, 25 * HOUR), 14, id="delete"),
    ],
)
def test_a_visit_that_is_stopped_anywhere_loses_nothing_and_the_next_go_on(
    folder: Path, when: str, pauses: tuple[float, ...], expected: int
) -> None:
    aging = AgingMemory()
    world = GcWorld(folder, aging)
    saves = prepare(world)
    assert world.trashed_packs()
    world.visits(*pauses[:-1], policy=MONTH)
    world.remote.create("trash/by-a-save", f"{manifest(2).name}.manifest", [b"superseded"])
    world.remote.create("packs", f"{'d' * 64}.pack", [b"nothing references this one either"])
    world.advance(pauses[-1])
    reset = aging.keep()
    stops = 0
    for number in itertools.count(1):
        reset()
        stopping = Stopping(world.remote, number, when)
        with contextlib.suppress(Stopped):
            world.visit(MONTH, remote=stopping)
        check_saves(world, saves)
        if stopping.left > 0:
            break
        stops = number
        world.to_the_end(MONTH)
        check_saves(world, saves)
        assert world.names("trash") | world.names("sessions") == set()
        assert len(world.names("packs")) == len(
            {pack for host, _ in saves for pack in host.stored().packs}
        )
    assert stops >= expected


# Each effect on a real folder, down to single writes.


def set_age(path: Path, seconds: float) -> None:
    """Let a file be so old."""
    mtime = time.time() - seconds
    os.utime(path, (mtime, mtime))


def age(store: Path, seconds: float) -> None:
    """Make every file of a store older."""
    for path in store.rglob("*"):
        if path.is_file():
            mtime = path.stat().st_mtime - seconds
            os.utime(path, (mtime, mtime))


def trash_name(number: int) -> str:
    """A name as a visit gives it to its folder."""
    return f"{1_600_000_000_000 + number}-{number:032x}"


def put_trash(store: Path, name: str, marks: dict[str, bytes], hours: float, *files: Path) -> None:
    """A folder of trash whose last mark was made so long ago."""
    folder = store / "trash" / name
    folder.mkdir(parents=True)
    for file in files:
        file.rename(folder / file.name)
    for number, (mark, content) in enumerate(marks.items()):
        (folder / mark).write_bytes(content)
        set_age(folder / mark, hours * HOUR + (len(marks) - number) * STAGE)


def put_pack(store: Path, digit: str) -> Path:
    """A pack that nothing references, two days old."""
    path = store / "packs" / f"{digit * 64}.pack"
    path.write_bytes(b"nothing references it")
    set_age(path, 2 * DAY)
    return path


def fill(world: World) -> None:
    """A store with a folder of trash at every stage, each of them due, and more to move there."""
    store = world.host.store
    for number in range(3):
        put_artifacts(world.host, dict(list(compiled(f"model {number}").items())[:2]))
        with clock_behind((3 - number) * HOUR):
            assert world.host.save(wait=False).status.name == "SUCCESS"
    packs = sorted((store / "packs").iterdir())
    dead = manifest(1).name
    token = store / "sessions" / f"{dead}.session"
    token.touch()
    set_age(token, HOUR)
    witness = f'["{dead}"]'.encode()
    put_pack(store, "a")
    put_trash(store, trash_name(1), {}, 0, put_pack(store, "b"))
    put_trash(store, trash_name(2), {"filled": b""}, 1, put_pack(store, "c"))
    marks = {"filled": b"", "witnessed": witness}
    put_trash(store, trash_name(3), marks, 1, put_pack(store, "d"))
    marks["fenced"] = b""
    put_trash(store, trash_name(4), marks, 25, put_pack(store, "e"), packs[0])
    part = store / "packs" / "new.tmp-0000000000000001"
    part.write_bytes(b"part")
    set_age(part, 2 * DAY)


def collect(store: str, scratch: str) -> None:
    """Make one visit."""
    Store(Aged(store), scratch).collect(GcPolicy())


class Aged(FolderRemote):
    """A folder whose files were made older: that was no change of them."""

    def stat(self, name: str) -> FileStat:
        """See `Remote.stat`."""
        return super().stat(name)._replace(changed=0.0)


def finish(store: Path, visit: Callable[[], None]) -> None:
    """Let as many visits follow as the youngest of what is in trash needs."""
    for _ in range(5):
        age(store, 25 * HOUR)
        visit()


def test_a_visit_to_a_real_folder_that_is_stopped_anywhere_loses_nothing(folder: Path) -> None:
    world = World(folder)
    fill(world)
    world.keep()
    store = world.host.store
    scratch = folder / "scratch"
    scratch.mkdir()
    stored = load_elsewhere(store)
    assert len(stored) == 6
    referenced = {
        name: data for name, data in store_files(store).items() if not_dead(Path(name).name)
    }
    visit = functools.partial(collect, str(store), str(scratch))
    sweep = Sweep(visit, world.folder, world.reset)
    for stop in sweep:
        assert differences(load_elsewhere(store), stored) == [], str(stop)
        finish(store, visit)
        assert differences(load_elsewhere(store), stored) == [], str(stop)
        after = store_files(store)
        packs = {Path(name).name: data for name, data in referenced.items() if "pack" in name}
        assert {name: after[f"packs/{name}"] for name in packs} == packs, str(stop)
        left = [name for name in after if "aaaa" in name or name not in after]
        assert not left, str(stop)
        assert list((store / "trash").iterdir()) == [], str(stop)
        assert list((store / "sessions").iterdir()) == [], str(stop)
        assert sorted((store / "packs").iterdir()) == sorted(
            store / "packs" / name for name in packs
        ), str(stop)
    expected = {"rename store/manifests/": 1, "rename ": 8, "remove ": 6, "rmdir ": 2}
    assert sweep.lacks({**expected, "trash/": 20}) == {}


def not_dead(name: str) -> bool:
    """Whether a file is a pack or a manifest of the saves."""
    return name.endswith((".pack", ".manifest")) and len(set(name.partition(".")[0])) > 1
