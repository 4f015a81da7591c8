"""What the tests of `doctor` share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.bare_machines import ordinary_programs
from tests.support.cache_trees import compiled_graph
from tests.support.machines import CPU_MACHINE, running_on

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from b10_transfer import Environment
    from tests.support.sites import Host, Site


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Environment]:
    """The environment of this machine, which has everything that Inductor runs."""
    programs = ordinary_programs(tmp_path / "ordinary")
    monkeypatch.setenv("PATH", programs, prepend=os.pathsep)
    with running_on(CPU_MACHINE) as environment:
        yield environment


@pytest.fixture
def saved(site: Site) -> Site:
    """A site with something in its store."""
    site.host("saver", compiled_graph("model")).save()
    return site


@pytest.fixture
def host(saved: Site) -> Host:
    """A host that has not loaded yet, of a site with something in its store."""
    return saved.host("host")
