"""What the tests of crashes share."""

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
