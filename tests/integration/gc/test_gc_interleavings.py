"""Saves and visits of the garbage collection that interleave in very many ways.

Everything is real but for the filesystem and the time: each program stops before each of its
effects on the store, and a seed decides who goes on. An acknowledged save must be whole at every
moment, in packs/ or in trash/.
"""

from __future__ import annotations

import functools
import random
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from b10_store import load as load_module
from b10_store.digest import digest_of
from b10_store.errors import FencedError
from b10_store.format.manifest_file import decode_manifest
from b10_store.format.names import Address, parse_manifest_name
from b10_store.gc import visit as gc_module
from b10_store.gc.stages import Stages
from b10_store.manifests import reader as heads
from b10_store.manifests.merge import merge, superseded_by
from b10_store.save import dedup, save, session
from b10_store.store import Store
from tests.support.aging_stores import AgingMemory
from tests.support.blobs import prose
from tests.support.gc_world import DAY, HOUR, MINUTE, MONTH, STAGE, GcWorld
from tests.support.packed import whole_file
from tests.support.scheduled_actors import Actor, Together
from tests.support.serial_pools import SerialPool
from tests.support.unprotected import (
    no_fence,
    no_witness,
    nothing_is_referenced,
    one_look,
    publish_by_name,
)
from tests.support.values import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from b10_store.format.manifest import Manifest
    from b10_store.format.names import SnapshotName
    from b10_store.remote.protocol import Remote
    from tests.support.engine_hosts import EngineHost

KEPT = Address("1" * 32)
THIRD = Address("2" * 32)
OLD = {f"a{number}/{number}.py": prose(1500, number) for number in range(3)}
_HONEST: dict[str, tuple[type[Exception], ...]] = {
    "s": (FencedError,),
    "g": (FileNotFoundError,),
    "l": (),
}
SEEDS = 600
"""Orders that are tried until something is lost."""
orders = pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 1000), marks=pytest.mark.slow)], ids=["few", "many"]
)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each program does all its effects in one thread, and relies on packs of others gladly."""
    for module in (load_module, dedup, heads):
        monkeypatch.setattr(module, "ThreadPoolExecutor", SerialPool)
    threads = SimpleNamespace(Event=threading.Event, Thread=NoThread)
    monkeypatch.setattr(session, "threading", threads)
    monkeypatch.setattr(save, "WORTHWHILE_BYTES", 0)
    monkeypatch.setattr(dedup, "WORTHWHILE_BYTES", 1)


class NoThread:
    """A heartbeat that cannot be had: the test beats itself."""

    def __init__(self, **_: object) -> None:
        """Nothing."""

    def start(self) -> None:
        raise RuntimeError

    def is_alive(self) -> bool:
        return False


class LostError(AssertionError):
    """An acknowledged save is not whole."""


class Crowd:
    """Savers and visitors of a store in which something has expired that savers rely on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aging = AgingMemory()
        monkeypatch.setattr(session, "time", self.aging.clock)
        # The same bytes are the same manifest: each is decoded once, which is most of the work.
        monkeypatch.setattr(heads, "decode_manifest", functools.cache(decode_manifest))
        self.world = GcWorld(folder, self.aging)
        self.scratch = str(folder / "gc")
        hosts = self.world.hosts
        hosts.new().write(OLD).save()
        self.world.advance(31 * DAY)
        self.kept = hosts.new(address=KEPT).write({"kept": b"kept"})
        self.kept.save()
        self.savers = [
            hosts.new(address=address).write(OLD | {f"own{number}": b"%d" % number})
            for number, address in enumerate((ADDRESS, THIRD, ADDRESS))
        ]
        self._trees = {host.folder.name: host.tree() for host in (self.kept, *self.savers)}
        self.requests = [host.request(wait_seconds=0) for host in self.savers]
        self.world.remote.create("packs", f"{'c' * 64}.pack", [b"nothing references it"])
        self.world.advance(25 * HOUR)
        self._reset = self.aging.keep()
        self._manifests: dict[SnapshotName, Manifest] = {}
        self._names: frozenset[str] = frozenset()
        self.acknowledged: list[EngineHost] = []
        self.fenced = self.restored = 0
        self._is_live = False

    def run(self, plan: str, seed: int, *, deaths: float = 0.3) -> None:
        """Let a crowd loose on the store as it was at first.

        Args:
            plan: "s" for a save, "g" for visits, "l" for loads.
            seed: decides everything; with every second one, stalled savers go on to show signs of
                life.
            deaths: see `Together`.

        Raises:
            LostError: an acknowledged save is not whole.
        """
        self._reset()
        self._names = frozenset()
        self.acknowledged = [self.kept]
        savers = iter(range(len(self.savers)))
        actors: list[Actor] = []
        for number, kind in enumerate(plan):
            program: Callable[[Remote], None] = self._load
            if kind == "s":
                program = functools.partial(self._save, next(savers))
            elif kind == "g":
                draw = random.Random(f"{seed} {number}")
                program = functools.partial(self._visit, actors, draw)
            # What is to be shown needs a save that has begun before a visit.
            hurry = 0.5 if kind == "s" else 0.0
            actors.append(Actor(f"{kind}{number}", self.world.remote, program, hurry=hurry))
        self._is_live = seed % 2 == 0
        Together(actors, seed, deaths=deaths, look=lambda: self.look(actors)).run()
        for actor in actors:
            # A save that is fenced too often says so. A visit that sleeps for a day may find that
            # what it had just written was swept.
            if actor.error is not None and not isinstance(actor.error, _HONEST[actor.name[0]]):
                raise actor.error
        self.world.to_the_end(MONTH)
        self.look(actors)
        for host in self.acknowledged if seed % 8 < 2 else ():
            if not self.world.loaded(host).items() >= self._trees[host.folder.name].items():
                raise LostError(f"seed {seed}: what {host.folder.name} saved cannot be loaded")
        assert self.world.names("trash") == set()

    def look(self, actors: Sequence[Actor]) -> None:
        """Check that every acknowledged save is whole, where anything has moved."""
        names = self.aging.names()
        if names == self._names:
            return
        self._names = names
        there = {name.rpartition("/")[2] for name in names if name.startswith(("packs/", "trash/"))}
        for host in self.acknowledged:
            stored = merge(self._heads(host.address)).entries
            by_path = {identity.path: entry for identity, entry in stored.items()}
            for path, data in self._trees[host.folder.name].items():
                entry = by_path.get(path)
                if entry is None or entry.digest != digest_of(data):
                    raise LostError(f"{path} is in no manifest\n{_traces(actors)}")
                if f"{entry.location.pack}.pack" not in there:
                    raise LostError(f"the pack of {path} is gone\n{_traces(actors)}")

    def _heads(self, address: Address) -> list[Manifest]:
        found: list[Manifest] = []
        for listed in self.world.remote.list("manifests"):
            name = parse_manifest_name(listed)
            assert name is not None
            if name not in self._manifests:
                data = whole_file(self.world.remote, name.manifest_path)
                self._manifests[name] = decode_manifest(data, name, self.scratch)
            if name.address == address:
                found.append(self._manifests[name])
        gone = superseded_by(found)
        return [item for item in found if item.name.snapshot not in gone]

    def _save(self, number: int, remote: Remote) -> None:
        host = self.savers[number]
        outcome = Store(remote, str(host.scratch)).save(self.requests[number])
        if outcome.published is not None:
            self.acknowledged.append(host)

    def _visit(self, actors: Sequence[Actor], draw: random.Random, remote: Remote) -> None:
        for _ in range(6):
            self.world.advance(draw.choice([0, MINUTE, STAGE, STAGE, 31 * MINUTE, 25 * HOUR]))
            for actor in actors:
                if self._is_live and not actor.is_over:
                    actor.beat()
            report = self.world.visit(MONTH, remote=remote)
            self.fenced += report.fenced
            self.restored += report.restored

    def _load(self, remote: Remote) -> None:
        for _ in range(6):
            for host in self.acknowledged[1:]:
                loader = self.world.hosts.new(remote, address=host.address)
                loader.load()
                if not loader.tree().items() >= self._trees[host.folder.name].items():
                    raise LostError(f"a load of what {host.folder.name} saved was not whole")
            remote.now()


def _traces(actors: Sequence[Actor]) -> str:
    return "\n".join(line for actor in actors for line in actor.trace)


@pytest.fixture
def crowd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    return Crowd(tmp_path, monkeypatch)


@orders
def test_no_acknowledged_save_is_ever_incomplete(crowd: Crowd, seeds: range) -> None:
    saved = 0
    for seed in seeds:
        for plan in ("sg", "sgg", "ssg", "ssgg"):
            crowd.run(plan, seed)
            saved += len(crowd.acknowledged) - 1
    assert saved > 2 * len(seeds)
    assert crowd.fenced
    assert crowd.restored


@orders
def test_a_load_beside_saves_and_visits_is_whole(crowd: Crowd, seeds: range) -> None:
    for seed in seeds[::2]:
        crowd.run("sgl", seed)


def find_loss(crowd: Crowd, plan: str) -> int | None:
    """The first seed with which something is lost."""
    for seed in range(SEEDS):
        try:
            crowd.run(plan, seed, deaths=0)
        except LostError:
            return seed
    return None


def fences_nobody(*_: object) -> None:
    """Stand in for the sweeping of sessions."""


TAKEN_OUT: dict[str, tuple[object, str, object]] = {
    "the fence": (Stages, "_fence", no_fence),
    "the witness": (Stages, "_witness", no_witness),
    "looking after the token": (save, "_look", one_look(vars(save)["_look"])),
    "writing the token in place": (session.Session, "publish", publish_by_name),
    "reading the manifests again": (gc_module, "referenced_packs", nothing_is_referenced),
}


@pytest.mark.parametrize("protection", TAKEN_OUT)
def test_a_protection_that_is_taken_out_is_missed(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, protection: str
) -> None:
    owner, name, replacement = TAKEN_OUT[protection]
    monkeypatch.setattr(owner, name, replacement)
    # Sweeping fences what is a day old, so it hides much of what the others would let happen.
    monkeypatch.setattr("b10_store.gc.visit._Visit._fence_the_dead", fences_nobody)
    assert find_loss(crowd, "sg") is not None
