"""Other laws for one process: shorter times, a slower store, stalls, or one protection less."""

from __future__ import annotations

import functools
import os
import random
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from b10_store.format import names as layout
from b10_store.gc.stages import Stages
from b10_store.gc.trash import Stage
from b10_store.remote.folder import FolderRemote
from b10_store.remote.folder_names import SESSIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.gc.trash import TrashFolder

NO_FENCE = "no fence"
"""Folders of trash count as fenced although the sessions that rely on them live on."""

TIMES = {
    "HEARTBEAT_SECONDS": 0.4,
    "WAITING_DEAD_SECONDS": 1.2,
    "WAIT_LIMIT_SECONDS": 4.0,
    "SUPERSEDE_AGE_SECONDS": 1.0,
    "STAGE_DISTANCE_SECONDS": 0.3,
    "STALE_SESSION_SECONDS": 1.2,
    "OLDEST_SESSION_SECONDS": 20.0,
    "TRASH_SECONDS": 1.5,
    "UNREFERENCED_SECONDS": 1.0,
    # Longer than anybody is stopped: else its temporary files are taken for those of a dead one.
    "LEFTOVER_SECONDS": 20.0,
    "TOUCH_INTERVAL_SECONDS": 1.0,
}
"""In place of the constants of `b10_store.format.names`, at a pace of 1."""

_STALLS = 0.002
"""How likely a process is to stop itself before an effect on the store."""

_STALLS_AT_PUBLISHING = 0.12
"""The same before the rename that publishes: where a saver relies on all it has seen."""

_EFFECTS = ("list", "stat", "read", "create", "open_token", "rename", "touch", "delete")


def change_laws(pace: float, latency: float, law: str = "") -> None:
    """Change this process for good: everything that has been imported until now.

    Args:
        pace: factor of `TIMES`.
        latency: longest pause before an effect on the store, in seconds.
        law: the protection that is taken out; "" for none.
    """
    _shorten(pace)
    _slow_down(latency)
    if law == NO_FENCE:
        setattr(Stages, "_fence", _fence_nobody)  # noqa: B010  # the name is the class's own
    elif law:
        raise AssertionError(f"no such law: {law}")


def _shorten(pace: float) -> None:
    modules = [
        module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in {"b10_store", "b10_transfer"}
    ]
    for name, seconds in TIMES.items():
        assert hasattr(layout, name)
        holders = [module for module in modules if hasattr(module, name)]
        assert len(holders) > 1, f"nobody uses {name}"
        for module in holders:
            setattr(module, name, seconds * pace)


def _slow_down(latency: float) -> None:
    """As on a network: what lies between two effects lies further apart, at times by far."""
    for name in _EFFECTS:
        setattr(FolderRemote, name, _slow(getattr(FolderRemote, name), latency))


def _slow(effect: Callable[..., Any], latency: float) -> Callable[..., Any]:
    @functools.wraps(effect)
    def slow(self: FolderRemote, name: str, *arguments: Any, **named: Any) -> Any:
        time.sleep(random.uniform(0, latency))
        publishes = effect.__name__ == "rename" and name.startswith(SESSIONS)
        if random.random() < (_STALLS_AT_PUBLISHING if publishes else _STALLS):
            os.kill(os.getpid(), signal.SIGSTOP)
        return effect(self, name, *arguments, **named)

    return slow


def _fence_nobody(self: Stages, folder: TrashFolder, now: float) -> None:
    del now
    self.mark(folder, Stage.FENCED)
