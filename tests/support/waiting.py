"""Waiting for what must come, however busy the machine is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 300.0
"""A wait fails after so long: what has not come then never comes."""


def eventually(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait for something; it must come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
