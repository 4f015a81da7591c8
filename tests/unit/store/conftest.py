"""What the tests of the engine share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.remote.memory import MemoryRemote
from b10_store.save import session as session_module
from tests.support.checked_stores import CheckedStore
from tests.support.clocks import SleepingClock, TickingClock
from tests.support.engine_hosts import EngineHost, Hosts
from tests.support.values import ADDRESS, OTHER_ADDRESS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scratch(tmp_path: Path) -> str:
    """A local folder for databases."""
    return str(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SleepingClock:
    """The time of the store and of the saves of all hosts."""
    clock = TickingClock()
    monkeypatch.setattr(session_module, "time", clock)
    return clock


@pytest.fixture
def remote(clock: SleepingClock) -> MemoryRemote:
    """An empty store."""
    return MemoryRemote(clock.time)


@pytest.fixture
def hosts(tmp_path: Path, remote: MemoryRemote) -> Hosts:
    """Any number of hosts of the store."""
    return Hosts(tmp_path, remote)


@pytest.fixture
def saver(remote: MemoryRemote, tmp_path: Path) -> EngineHost:
    """A host of the store."""
    return EngineHost(remote, tmp_path / "saver")


@pytest.fixture
def loader(remote: MemoryRemote, tmp_path: Path) -> EngineHost:
    """Another host of the store."""
    return EngineHost(remote, tmp_path / "loader")


@pytest.fixture
def store(tmp_path: Path) -> CheckedStore:
    """A store with two manifests, and a pack for each."""
    made = CheckedStore(tmp_path)
    made.save(ADDRESS)
    made.save(OTHER_ADDRESS, number=1)
    return made
