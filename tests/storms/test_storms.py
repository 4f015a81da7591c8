"""Processes that save, load and clean one store at once, killed and stopped at random."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.memory_folders import in_memory
from tests.support.shared_mounts import moosefs
from tests.support.sites import Host
from tests.support.storm import Client, run_storm
from tests.support.storm_findings import (
    find_faults,
    find_leftovers,
    find_losses,
    read_journals,
    sweep,
)
from tests.support.storm_laws import NO_FENCE
from tests.support.storm_work import content
from tests.support.trees import Artifact, put_artifacts

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.storm_findings import Journals

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(sys.platform != "linux", reason="stops processes as Linux does"),
]

_LONG_SECONDS = 180.0
_ATTEMPTS = 5
_CONTROLS = 5

_EXPECTED_REFUSALS = (
    "manifests: the time was too short to read them all",
    "there is no store here",
    "there is no manifest",
)
"""Why a visit may do nothing although nothing is wrong."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as folder:
        yield folder


def clients_of(store: Path, folder: Path) -> list[Client]:
    return [Client(store, Host(store, folder / "client").variables())]


def assert_nobody_failed(noted: Journals, counts: Counter[str]) -> None:
    assert noted.failures == []
    assert counts["ended"] == 0
    odd = [text for text in noted.notes["refused"] if not text.startswith(_EXPECTED_REFUSALS)]
    assert odd == []


def missing_from(noted: Journals, counts: Counter[str], seconds: float) -> list[str]:
    """What did not happen, so that it was no storm; a short one may not get to deleting."""
    collected = ("visits", "trashed_packs", "freed_files")
    happened = {
        "killed": counts["killed"],
        "stopped": counts["stopped"],
        "acknowledged": noted.saves,
        **{what: noted.counts[what] for what in collected[: 3 if seconds >= 60 else 2]},
    }
    return [name for name, count in happened.items() if not count]


def assert_nothing_is_lost(store: Path, noted: Journals) -> None:
    assert find_losses(store, noted.promised) == []
    assert find_faults(store) == []
    swept = sweep(store)
    sys.stdout.write(f"afterwards: {dict(swept)}\n")
    assert find_leftovers(store) == []
    assert find_faults(store) == []
    assert find_losses(store, noted.promised) == []


def establish(store: Path, folder: Path) -> None:
    """Make a store and all its folders, before clients can remember that they are not there."""
    host = Host(store, folder / "first")
    name = "inductor/common/first.py"
    put_artifacts(host, {name: Artifact(content(name))})
    host.save(B10_CACHE_NAMESPACE="first")
    for name in ("trash", "fenced"):
        (store / name).mkdir()


def tell(noted: Journals, counts: Counter[str]) -> None:
    """Shown when the test fails, and with -s."""
    sys.stdout.write(f"{dict(counts)}, {noted.saves} saves acknowledged, {dict(noted.counts)}\n")
    for kind, texts in noted.notes.items():
        sys.stdout.write(f"{kind}: {texts.most_common(5)}\n")


@pytest.mark.parametrize(
    ("workers", "seconds"), [(8, 10.0), pytest.param(16, _LONG_SECONDS, marks=pytest.mark.slow)]
)
def test_a_storm_loses_nothing_and_leaves_nothing_behind(
    folder: Path, workers: int, seconds: float
) -> None:
    missing = ["everything"]
    # On a busy machine little may happen in a short time: then there is another storm.
    for number in range(_ATTEMPTS):
        place = folder / str(number)
        place.mkdir()
        store = place / "store"
        clients = clients_of(store, place)
        seed = f"local {number}"
        counts = run_storm(clients, place, workers=workers, seconds=seconds, seed=seed)
        noted = read_journals(place)
        tell(noted, counts)
        assert_nothing_is_lost(store, noted)
        assert_nobody_failed(noted, counts)
        missing = missing_from(noted, counts, seconds)
        if not missing:
            break
    assert missing == []


@pytest.mark.slow
def test_without_the_fence_a_storm_loses_what_was_acknowledged(folder: Path) -> None:
    lost: list[str] = []
    for number in range(_CONTROLS):
        place = folder / f"{number}"
        place.mkdir()
        store = place / "store"
        counts = run_storm(
            clients_of(store, place),
            place,
            workers=16,
            seconds=60.0,
            seed=f"control {number}",
            law=NO_FENCE,
        )
        noted = read_journals(place)
        tell(noted, counts)
        sweep(store)
        lost = find_losses(store, noted.promised)
        if lost:
            break
    assert any("is lost" in line for line in lost)


@pytest.mark.slow
def test_a_storm_on_two_clients_of_a_network_filesystem_loses_nothing(tmp_path: Path) -> None:
    servers, folder = tmp_path / "servers", tmp_path / "hosts"
    folder.mkdir()
    with moosefs(servers) as mounts:
        establish(mounts[0] / "store", folder)
        clients = [client for mount in mounts for client in clients_of(mount / "store", folder)]
        counts = run_storm(
            clients,
            folder,
            workers=16,
            seconds=_LONG_SECONDS,
            pace=4.0,
            seed="network",
            latency=0,
        )
        noted = read_journals(folder)
        tell(noted, counts)
        assert_nothing_is_lost(mounts[0] / "store", noted)
        assert find_losses(mounts[1] / "store", noted.promised) == []
    assert_nobody_failed(noted, counts)
    assert missing_from(noted, counts, _LONG_SECONDS) == []
