"""Known failures of caches that ship one archive: none of them can happen here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def open_site() -> Iterator[Site]:
    """A site that other users can reach too."""
    with tempfile.TemporaryDirectory(prefix="b10-test-") as folder:
        Path(folder).chmod(0o755)
        yield Site(Path(folder))
