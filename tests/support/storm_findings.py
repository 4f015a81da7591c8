"""What a storm left behind: what was promised, what is there, and what was swept."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from b10_store.digest import digest_of
from b10_store.gc.plan import GcPolicy
from b10_store.gc.trash import read_trash
from b10_store.manifests.problem import Damage
from b10_store.store import Store
from b10_transfer.operations import transfer, upkeep
from b10_transfer.status import OperationStatus
from tests.support.aging_stores import AgingFolder
from tests.support.sites import Host
from tests.support.storm_work import PASSING, content
from tests.support.trees import artifacts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from b10_store.manifests.problem import Problem
    from b10_transfer.settings import Settings

_STAGE = 601.0
_DAY = 25 * 3600.0
_ROUND = (_DAY, _STAGE, _STAGE, _DAY, _STAGE)
"""Between visits: enough for everything that can go to trash."""

_ROUNDS = 6


@dataclass(slots=True)
class Journals:
    """What all processes noted.

    Attributes:
        promised: digests of the artifacts of each acknowledged save, by namespace.
        saves: how many were acknowledged.
        counts: what else happened how often.
        notes: what processes found strange, by kind.
        failures: what processes ended with.
    """

    promised: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    saves: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    notes: defaultdict[str, Counter[str]] = field(
        default_factory=lambda: defaultdict[str, Counter[str]](Counter)
    )
    failures: list[str] = field(default_factory=list[str])


def read_journals(folder: Path) -> Journals:
    """Read what the processes of a storm noted in `folder`."""
    found = Journals()
    for path in sorted(folder.glob("*.failure")):
        found.failures.append(f"{path.name}: {path.read_text(encoding='utf-8')}")
    for path in folder.glob("*.journal"):
        for record in _records(path):
            if "digests" in record:
                found.saves += 1
                found.promised.setdefault(record["namespace"], {}).update(record["digests"])
            elif "note" in record:
                found.notes[record["note"]][record["text"]] += 1
            else:
                found.counts[record["count"]] += record["times"]
    return found


def find_losses(store: Path, promised: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What new hosts do not load although it was promised, and whatever is wrong with loads."""
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(store, folder)
        namespaces = {address.namespace for address in upkeep.addresses(settings)}
        for namespace in sorted(namespaces | promised.keys()):
            # Removed by somebody: what is there has to be right, but need not be there.
            removed = namespace.startswith(PASSING)
            kept = promised[namespace] if namespace in promised and not removed else None
            lines += _losses(Host(store, Path(folder, namespace)), namespace, kept or {})
    return lines


def find_faults(store: Path) -> list[Problem]:
    """What a check of every byte finds, except packs that wait in trash to be put back."""
    with tempfile.TemporaryDirectory() as folder:
        faults = upkeep.check(_settings(store, folder), read_data=True).faults
    trashed = {file for item in read_trash(AgingFolder(store).remote) for file in item.files}
    return [
        fault
        for fault in faults
        if fault.damage is not Damage.MISSING or fault.name.rpartition("/")[2] not in trashed
    ]


def sweep(store: Path) -> Counter[str]:
    """Let days pass, with visits, until trash is empty and stays so; returns what they did."""
    aging = AgingFolder(store)
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(_ROUNDS):
            done: Counter[str] = Counter()
            for pause in _ROUND:
                aging.advance(pause)
                report = Store(aging.remote, scratch).collect(GcPolicy(max_age_seconds=0))
                assert report.refused == []
                for what in ("freed_files", "restored", "swept", "fenced"):
                    done[what] += getattr(report, what)
            total += done
            if not any(done.values()) and not read_trash(aging.remote):
                break
    return total


def find_leftovers(store: Path) -> list[str]:
    """Files and folders of a store that no load needs, apart from FORMAT and the folders of it."""
    with tempfile.TemporaryDirectory() as folder:
        needed = upkeep.check(_settings(store, folder)).packs
    kept = sorted((store / "packs").iterdir())
    lines = [f"{len(kept)} packs, {needed} needed"] if len(kept) != needed else []
    for path in sorted(store.rglob("*")):
        relative = path.relative_to(store)
        if len(relative.parts) == 1 and (path.is_dir() or path.name == "FORMAT"):
            continue
        if relative.parts[0] not in {"packs", "manifests"} or ".tmp-" in path.name:
            lines.append(str(relative))
    return lines


def _settings(store: Path, folder: str) -> Settings:
    return Host(store, Path(folder, "viewer")).settings()


def _losses(host: Host, namespace: str, kept: Mapping[str, str]) -> Iterator[str]:
    report = transfer.load(host.settings(B10_CACHE_NAMESPACE=namespace))
    if report.status is not OperationStatus.DOES_NOT_EXIST:
        # Else the one problem is a line about other namespaces.
        yield from (f"{namespace}: {problem}" for problem in report.problems)
    if report.unavailable:
        yield f"{namespace}: {report.unavailable} missed"
    tree = artifacts_of(host)
    for name, artifact in tree.items():
        if artifact.data != content(name):
            yield f"{namespace}: {name} has other bytes"
    for name, digest in kept.items():
        if name not in tree:
            yield f"{namespace}: {name} is lost"
        elif digest_of(tree[name].data) != digest:
            yield f"{namespace}: {name} was acknowledged with other bytes"


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines(keepends=True):
        # The last line may be cut: its writer was killed, and nothing was noted.
        if line.endswith(b"\n"):
            yield json.loads(line)
