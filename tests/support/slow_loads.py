"""Loads that take their time over each file, so that a test can end one in the middle."""

from __future__ import annotations

import time
from typing import Any

SLOW_LOADS = "TESTS_SLOW_LOADS"
"""The variable that makes a process load so; it holds the seconds for each file."""


def slow_down(seconds: float) -> None:
    """Wait before each file that is staged from now on."""
    # Most processes that could be slowed down import little, and are not.
    from b10_store.tree.staging import Staging

    staging: Any = Staging
    open_file = staging.open_file

    def open_slowly(*arguments: Any) -> int:
        time.sleep(seconds)
        return int(open_file(*arguments))

    staging.open_file = open_slowly
