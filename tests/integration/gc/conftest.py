"""What the tests of the garbage collection share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.aging_stores import AgingFolder, AgingMemory
from tests.support.gc_world import GcWorld

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["memory", "folder"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> GcWorld:
    """A world around each kind of store."""
    folder = AgingFolder(tmp_path / "store")
    return GcWorld(tmp_path, folder if request.param == "folder" else AgingMemory())


@pytest.fixture
def world(tmp_path: Path) -> GcWorld:
    """A world around a store in memory."""
    return GcWorld(tmp_path, AgingMemory())
