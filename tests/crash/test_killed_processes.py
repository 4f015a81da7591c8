"""I1 to I3, I10: two savers and a loader at work on one store, killed at random moments."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.digest import digest_of
from b10_store.format.names import parse_manifest_name
from b10_store.manifests.reader import ManifestReader
from b10_store.remote.folder import FolderRemote
from tests.support.cache_trees import LOCAL_RECORD, leftovers
from tests.support.forks import fork_server
from tests.support.sites import Host
from tests.support.store_views import load_elsewhere, manifest_alone, published, store_files
from tests.support.trees import Artifacts, artifacts_of, differences, entries_without_parts
from tests.support.victims import (
    READY,
    STEPS,
    load_and_clear_without_end,
    made_in,
    save_without_end,
)

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from tests.support.victims import Receiving

pytestmark = pytest.mark.crash

_KILLS_A_ROUND = 25
_LONGEST_LIFE = 0.04
_SAVERS = ("first", "second")
_LOADER = "loader"
_VIEWED_MANIFESTS = 4


class Round:
    """A store with its hosts, and the processes that are at work there now."""

    def __init__(self, folder: Path, seed: str) -> None:
        self.store = folder / "store"
        self.hosts = {name: Host(self.store, folder / name) for name in (*_SAVERS, _LOADER)}
        self.everything: Artifacts = {}
        for name in _SAVERS:
            for step in range(STEPS):
                self.everything |= made_in(name, step)
        self.acknowledged: dict[str, int] = dict.fromkeys(self.hosts, -1)
        self.draw = random.Random(seed)
        self._seed = seed
        self._lives = 0
        self._running: dict[str, tuple[BaseProcess, Receiving]] = {}

    def start(self, name: str) -> None:
        """Start a victim, and wait until it is at work."""
        self._lives += 1
        context = fork_server()
        receiving, sending = context.Pipe(duplex=False)
        host = self.hosts[name]
        if name == _LOADER:
            target, arguments = load_and_clear_without_end, (host, f"{self._seed} {self._lives}")
            process = context.Process(target=target, args=(*arguments, sending))
        else:
            step = self.acknowledged[name] + 1
            process = context.Process(target=save_without_end, args=(host, name, step, sending))
        process.start()
        sending.close()
        assert receiving.recv() == READY
        self._running[name] = process, receiving

    def kill(self, name: str) -> None:
        """Kill a victim where it is."""
        process, news = self._running.pop(name)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        process.close()
        self._listen(name, news)
        news.close()

    def freeze(self) -> None:
        """Stop the others where they are, so that the checks have the machine for themselves."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo `freeze`."""
        self._signal(signal.SIGCONT)

    def kill_all(self) -> None:
        """Kill whoever is left."""
        for name in list(self._running):
            self.kill(name)

    def listen(self) -> None:
        """Take note of the saves that were acknowledged until now."""
        for name, (_, news) in self._running.items():
            self._listen(name, news)

    def promised(self) -> Artifacts:
        """What every load from now on must bring."""
        promised: Artifacts = {}
        for name, last in self.acknowledged.items():
            for step in range(min(last + 1, STEPS)):
                promised |= made_in(name, step)
        return promised

    def _signal(self, number: int) -> None:
        for process, _ in self._running.values():
            assert process.pid is not None
            os.kill(process.pid, number)

    def _listen(self, name: str, news: Receiving) -> None:
        try:
            while news.poll():
                self.acknowledged[name] = max(self.acknowledged[name], int(news.recv()))
        except EOFError:
            pass


def check_after_a_kill(this: Round, name: str) -> None:
    here = artifacts_of(this.hosts[name])
    lines = [line for line in differences(here, this.everything) if "missing: " not in line]
    assert lines == []
    assert entries_without_parts(here) == []
    this.listen()
    promised = this.promised()
    loaded = load_elsewhere(this.store)
    assert promised.keys() <= loaded.keys(), "a save was acknowledged and is not there"
    lines = [line for line in differences(loaded, this.everything) if "missing: " not in line]
    assert lines == []


def check_in_the_end(this: Round) -> None:
    saved: Artifacts = {}
    for name in _SAVERS:
        report = this.hosts[name].save(wait=False)
        assert report.problems == ()
        saved |= artifacts_of(this.hosts[name])
    assert differences(load_elsewhere(this.store), saved) == []
    loader = this.hosts[_LOADER]
    assert loader.load().problems == ()
    assert differences(artifacts_of(loader), saved) == []
    assert leftovers(loader.root) + leftovers(loader.triton) == []


def check_every_manifest(this: Round) -> None:
    files = store_files(this.store)
    for name, data in files.items():
        if name.startswith("packs/"):
            assert name == f"packs/{digest_of(data)}.pack"
    manifests = sorted(published(files))
    reader = ManifestReader(FolderRemote(str(this.store)), str(this.hosts[_LOADER].work), ())
    for name in manifests:
        snapshot = parse_manifest_name(name.removeprefix("manifests/"))
        assert snapshot is not None, name
        packs = reader.read(snapshot).packs
        assert {f"packs/{pack}.pack" for pack in packs} <= files.keys(), name
    for name in this.draw.sample(manifests, min(_VIEWED_MANIFESTS, len(manifests))):
        with manifest_alone(this.store, name) as alone:
            loaded = load_elsewhere(alone)
        lines = [line for line in differences(loaded, this.everything) if "missing: " not in line]
        assert (lines, entries_without_parts(loaded)) == ([], [])


def is_unfinished(host: Host) -> bool:
    """Whether something lies there that a load or a clear would have removed."""
    records = [root / LOCAL_RECORD for root in (host.root, host.triton)]
    return any(path.is_dir() for record in records for path in record.glob("*"))


def run_round(folder: Path, seed: str, kills: int) -> tuple[int, int]:
    """Returns how many of the kills came in the middle of a save, and of a load or clear."""
    this = Round(folder, seed)
    unfinished = 0
    try:
        for name in this.hosts:
            this.start(name)
        for _ in range(kills):
            name = this.draw.choice(list(this.hosts))
            time.sleep(this.draw.uniform(0, _LONGEST_LIFE))
            this.kill(name)
            this.freeze()
            unfinished += name == _LOADER and is_unfinished(this.hosts[name])
            check_after_a_kill(this, name)
            this.start(name)
            this.go_on()
    finally:
        this.kill_all()
    check_in_the_end(this)
    check_every_manifest(this)
    return len(list((this.store / "sessions").glob("*.session"))), unfinished


@pytest.mark.parametrize("kills", [75, pytest.param(2000, marks=pytest.mark.slow)])
def test_processes_killed_at_any_moment_lose_nothing_and_leave_no_part_of_a_file(
    folder: Path, kills: int
) -> None:
    saves = loads = number = 0
    # On a busy machine a process gets less far before it is killed: then it takes more rounds.
    while number < kills // _KILLS_A_ROUND or min(saves, loads) < kills // 20:
        assert number < kills, f"{saves} in a save, {loads} in a load or clear"
        seed = f"round {number}"
        # Shown when the test fails: the last one is that of the round which failed.
        sys.stdout.write(f"seed {seed!r}\n")
        in_a_save, in_a_load = run_round(folder / str(number), seed, _KILLS_A_ROUND)
        saves += in_a_save
        loads += in_a_load
        number += 1
