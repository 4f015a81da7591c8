"""What the tests of the command line share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.machines import CPU_MACHINE, running_on

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(autouse=True)
def _on_a_cpu() -> Generator[None]:
    """Every command finds the same machine."""
    with running_on(CPU_MACHINE):
        yield
