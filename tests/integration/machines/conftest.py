"""What the tests of odd machines share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bare_machines import ordinary_programs
from tests.support.cache_trees import compiled_graph

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Site


@pytest.fixture
def ordinary(tmp_path: Path) -> str:
    """A PATH with everything that Inductor needs."""
    return ordinary_programs(tmp_path / "ordinary")


@pytest.fixture
def saved(site: Site, ordinary: str) -> Site:
    """A site with something in its store."""
    site.host("saver", compiled_graph("model")).save(PATH=ordinary)
    return site
