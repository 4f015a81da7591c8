"""What the tests of faults share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.memory_folders import in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the store and the hosts of a test lie: nothing here survives more than a process."""
    with in_memory(tmp_path) as folder:
        yield folder


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waiting take no time, and attempts be few."""
    monkeypatch.setattr("b10_store.save.session._PUBLISH_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("b10_store.save.session._FIRST_POLL_SECONDS", 0.001)
    monkeypatch.setattr("b10_store.save.session._LAST_POLL_SECONDS", 0.002)
    monkeypatch.setattr("b10_store.save.session._OPEN_ATTEMPTS", 2)
    monkeypatch.setattr("b10_transfer.operations.save.WAIT_LIMIT_SECONDS", 0.0)
    monkeypatch.setattr("b10_transfer.operations.open_roots._LOCK_SECONDS", 1.0)
