"""Real processes that start in milliseconds: forked from one that has imported everything."""

from __future__ import annotations

import functools
import multiprocessing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

_IMPORTED = (
    "b10_transfer.operations.transfer",
    "b10_transfer.local.clear",
    "tests.support.crash_points",
    "tests.support.crash_world",
    "tests.support.at_start.sitecustomize",
)


@functools.cache
def fork_server() -> ForkServerContext:
    """Starts processes that are forked from a process of its own, which has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    return context
