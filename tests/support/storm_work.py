"""What a process does in a storm: replicas compile, load and save; now and then it cleans."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import shutil
import time
from typing import TYPE_CHECKING

from b10_store.digest import digest_of
from b10_store.errors import FencedError
from b10_store.format.names import Address
from b10_transfer.errors import CacheError
from b10_transfer.machine.environment import Environment
from b10_transfer.operations import transfer, upkeep
from b10_transfer.status import OperationStatus
from tests.support.sites import Host
from tests.support.trees import Artifact, artifacts_of, put_artifacts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from b10_store.gc.report import GcReport
    from b10_transfer.settings import Settings

PASSING = "passing"
"""How the namespaces begin that are removed: nothing is promised of them."""

_GENERATION_SECONDS = 10.0
"""How long a namespace is saved to, so that none becomes large; trash is full of the older."""

_EPOCH_SECONDS = 1.5
"""How long all processes compile the same."""

_BIG = (1 << 20) + (1 << 17)
"""Bytes of an artifact that is worth a look at other environments' packs."""


class Worker:
    """One process of a storm, in one of its lives."""

    def __init__(
        self,
        store: Path,
        folder: Path,
        number: int,
        life: int,
        *,
        seed: str,
        began: float,
        pace: float,
    ) -> None:
        """Do nothing yet.

        Args:
            store: the shared folder.
            folder: a local folder; what is written to `store` is noted there.
            number: of the process.
            life: how often it was killed.
            seed: of all random choices.
            began: when the storm began, in seconds since the epoch.
            pace: factor of all times.
        """
        self._store = store
        self._home = folder / f"worker-{number}"
        self._cleaner = folder / f"cleaner-{number}"
        self._label = f"{number}-{life}"
        # Every fourth does little else: trash has to be emptied while somebody is stopped.
        self._cleaning = 0.9 if number % 4 == 3 else 0.1
        self._draw = random.Random(seed)
        self._began = began
        self._pace = pace
        self._serial = 0
        self._journal = _Journal(folder / f"{self._label}.journal")

    def work(self) -> None:
        """Go on until killed."""
        self._home.mkdir(exist_ok=True)
        for path in self._home.iterdir():
            if self._draw.random() < 0.5:
                # A restart that finds what the process left when it was killed.
                self._be_replica(path)
            else:
                shutil.rmtree(path)
        while True:
            if self._draw.random() < self._cleaning:
                self._clean()
            else:
                self._serial += 1
                namespace = self._namespace()
                self._be_replica(self._home / f"{namespace}.{self._label}-{self._serial}")

    def _be_replica(self, path: Path) -> None:
        """Live as a host, from its start to its end."""
        namespace = path.name.partition(".")[0]
        host = Host(self._store, path)
        settings = host.settings(B10_CACHE_NAMESPACE=namespace)
        names = set(artifacts_of(host))
        acknowledged: set[str] = set()
        for _ in range(self._draw.randint(1, 3)):
            if self._draw.random() < 0.4:
                self._load(settings)
                names = _verified(host)
            new = self._compiled()
            put_artifacts(host, {name: Artifact(content(name)) for name in new})
            names.update(new)
            if self._save(settings):
                self._journal.acknowledge(namespace, names - acknowledged)
                acknowledged |= names
        shutil.rmtree(path)

    def _load(self, settings: Settings) -> None:
        report = transfer.load(settings)
        absent = report.status is OperationStatus.DOES_NOT_EXIST
        if report.unavailable or (report.problems and not absent):
            what = f"{settings.namespace}: missed {report.unavailable}, {report.problems}"
            self._journal.note("load", what)

    def _save(self, settings: Settings) -> bool:
        try:
            report = transfer.save(settings, wait=self._draw.random() < 0.5)
        except CacheError as error:
            if not isinstance(error.__cause__, FencedError):
                raise
            # Stopped for long three times in a row.
            self._journal.note("fenced", str(error))
            return False
        assert report.left_out == 0, report
        if report.problems:
            self._journal.note("save", f"{settings.namespace}: {report.problems}")
        self._journal.count("saved" if report.added or report.superseded else "skipped")
        return True

    def _clean(self) -> None:
        settings = Host(self._store, self._cleaner).settings()
        if self._draw.random() < 0.15:
            namespace = self._draw.choice([PASSING, f"{PASSING}-{self._generation()}"])
            key = Environment.detect(settings.variables).key
            upkeep.remove(Address(key, namespace), settings)
        else:
            seconds = self._draw.choice([float("inf"), 5.0, 1.0])
            self._note_visit(upkeep.collect(settings, seconds=seconds))

    def _note_visit(self, report: GcReport) -> None:
        for reason in report.refused:
            self._journal.note("refused", reason)
        self._journal.count("visits")
        for what in ("trashed_packs", "superseded", "freed_files", "restored", "fenced", "swept"):
            self._journal.count(what, getattr(report, what))
        self._journal.count("rewritten", bool(report.rewritten_bytes))

    def _compiled(self) -> list[str]:
        """Names of artifacts: some of its own, and some that all processes compile now."""
        epoch = int(self._elapsed() / (_EPOCH_SECONDS * self._pace)) - self._draw.randint(0, 1)
        common = [f"inductor/common/{epoch}-{index}.data" for index in range(3)]
        if epoch % 4 == 0:
            common.append(f"inductor/common/{epoch}-big.data")
        self._serial += 1
        own = [f"inductor/own/{self._label}-{self._serial}-{index}.data" for index in range(2)]
        return own + self._draw.sample(common, self._draw.randint(0, len(common)))

    def _namespace(self) -> str:
        if self._draw.random() < 0.25:
            return self._draw.choice([PASSING, f"{PASSING}-{self._generation()}"])
        return f"generation-{self._generation()}"

    def _generation(self) -> int:
        return int(self._elapsed() / (_GENERATION_SECONDS * self._pace))

    def _elapsed(self) -> float:
        return time.time() - self._began


@functools.lru_cache(maxsize=256)
def content(name: str) -> bytes:
    """The bytes of an artifact: the same in every process that compiles it."""
    seed = hashlib.sha256(name.encode()).digest()
    size = _BIG if name.endswith("-big.data") else 100 + int.from_bytes(seed[:2], "big") % 8000
    return hashlib.shake_256(seed).digest(size)


def _verified(host: Host) -> set[str]:
    tree = artifacts_of(host)
    wrong = [name for name, artifact in tree.items() if artifact.data != content(name)]
    assert wrong == []
    return set(tree)


class _Journal:
    """What a process was promised and what it saw: survives its being killed at any moment."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def acknowledge(self, namespace: str, names: Iterable[str]) -> None:
        digests = {name: digest_of(content(name)) for name in sorted(names)}
        self._write({"namespace": namespace, "digests": digests})

    def note(self, kind: str, text: str) -> None:
        self._write({"note": kind, "text": text})

    def count(self, what: str, times: int = 1) -> None:
        if times:
            self._write({"count": what, "times": times})

    def _write(self, record: dict[str, object]) -> None:
        os.write(self._handle, json.dumps(record).encode() + b"\n")
        os.fsync(self._handle)
