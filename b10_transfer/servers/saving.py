"""Save what a server compiles: once its caches have settled, and again what comes later."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from b10_store import StoreError
from b10_transfer.errors import CacheError
from b10_transfer.servers.operations import call_within
from b10_transfer.servers.readiness import pause

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.operations.progress import ProgressCallback
    from b10_transfer.operations.reports import SaveReport
    from b10_transfer.settings import Settings

_logger = logging.getLogger("b10_transfer")

_LOOK_LIMIT_SECONDS = 60.0
SAVE_LIMIT_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look at the caches, in seconds.

    Attributes:
        settle: how long the caches must stay unchanged before a save.
        settle_limit: how long to wait for that; a server in use may never stop compiling.
        settle_look: the time between two looks meanwhile.
        look: the time between two looks for something new after a save. Each save doubles it, since
            a small save is as much work for the store as a large one.
        longest_look: the longest time between two looks.
        save_limit: how long a save may take before it is given up.
    """

    settle: float = 5.0
    settle_limit: float = 120.0
    settle_look: float = 1.0
    look: float = 30.0
    longest_look: float = 600.0
    save_limit: float = SAVE_LIMIT_SECONDS


class CacheState(NamedTuple):
    """The state of the cache roots: any work of a compiler changes it.

    Attributes:
        files: the number of files.
        size: their total size, in bytes.
        newest_ns: when one of them changed last, in ns since the epoch.
    """

    files: int
    size: int
    newest_ns: int


@dataclass(frozen=True, slots=True)
class SaveResult:
    """The outcome of a save.

    Attributes:
        report: what it did; None when it failed.
        error: why it failed, or "".
        state: the state of the cache roots before it; None when it could not be found out.
    """

    report: SaveReport | None
    error: str
    state: CacheState | None


class Caches:
    """The cache roots of a server."""

    def __init__(self, settings: Settings) -> None:
        """Take the cache roots that these settings name."""
        self._settings = settings
        self._roots: tuple[CacheRoot, ...] | None = None

    def state(self) -> CacheState | None:
        """Return their present state; None when it cannot be found out."""
        try:
            return call_within(_LOOK_LIMIT_SECONDS, self._look, "looking at the caches")
        except (CacheError, StoreError, OSError) as error:
            # The save that follows reports the same.
            _logger.debug("the caches cannot be looked at: %s", error)
            return None

    def _look(self) -> CacheState:
        from b10_transfer.local.scan import walk_roots
        from b10_transfer.operations.context import open_context

        if self._roots is None:
            self._roots = open_context(self._settings).roots
        found = [item.fingerprint for _, files in walk_roots(self._roots) for item in files]
        return CacheState(
            len(found),
            sum(item.size for item in found),
            max((max(item.ctime_ns, item.mtime_ns) for item in found), default=0),
        )


def save_now(
    settings: Settings,
    *,
    wait: bool,
    limit: float = SAVE_LIMIT_SECONDS,
    on_progress: ProgressCallback | None = None,
) -> SaveResult:
    """Save, and log the result. Never raises.

    Args:
        settings: those with which the server's caches are found.
        wait: see `b10_transfer.operations.transfer.save`.
        limit: seconds after which it is given up.
        on_progress: see `b10_transfer.operations.transfer.save`.
    """
    return _save(
        settings, Caches(settings).state(), wait=wait, limit=limit, on_progress=on_progress
    )


def save_when_settled(
    settings: Settings,
    stop: threading.Event,
    *,
    is_alive: Callable[[], bool] = lambda: True,
    pace: Pace | None = None,
    on_progress: ProgressCallback | None = None,
) -> SaveResult:
    """Wait until the cache roots stop changing, and save. Never raises.

    When `stop` is set or the server has ended, it saves at once, without waiting for other savers.
    """
    chosen = pace or Pace()
    state = _settled_state(Caches(settings), lambda: stop.is_set() or not is_alive(), chosen)
    hurry = stop.is_set() or not is_alive()
    return _save(settings, state, wait=not hurry, limit=chosen.save_limit, on_progress=on_progress)


def keep_saving(
    settings: Settings,
    stop: threading.Event,
    *,
    is_alive: Callable[[], bool],
    seconds: float,
    last: SaveResult | None = None,
    pace: Pace | None = None,
    on_progress: ProgressCallback | None = None,
) -> list[SaveResult]:
    """Save what is new from time to time. Never raises.

    Args:
        settings: those with which the server's caches are found.
        stop: ends it, with a last save if anything is new.
        is_alive: ends it likewise when it returns False; asked several times a second.
        seconds: how long to go on, before a last save; may be math.inf.
        last: the save before; by default there was none.
        pace: how often to look.
        on_progress: see `b10_transfer.operations.transfer.save`.

    Returns:
        The outcome of each save.
    """
    chosen = pace or Pace()
    results: list[SaveResult] = []
    deadline = time.monotonic() + seconds
    look = chosen.look
    caches = Caches(settings)
    known = last

    def is_over() -> bool:
        return stop.is_set() or not is_alive()

    while True:
        pause(min(look, max(0.0, deadline - time.monotonic())), is_over)
        last_look = is_over() or time.monotonic() >= deadline
        if _is_new(caches, known):
            known = save_when_settled(
                settings, stop, is_alive=is_alive, pace=chosen, on_progress=on_progress
            )
            results.append(known)
            look = min(look * 2, chosen.longest_look)
        if last_look:
            return results


def _is_new(caches: Caches, known: SaveResult | None) -> bool:
    if known is None or known.error or known.state is None:
        return True
    return caches.state() not in {known.state, None}


def _settled_state(caches: Caches, is_over: Callable[[], bool], pace: Pace) -> CacheState | None:
    """Return the state of the cache roots once they have not changed for a while."""
    deadline = time.monotonic() + pace.settle_limit
    state = caches.state()
    since = time.monotonic()
    while not is_over() and state is not None:
        now = time.monotonic()
        if now - since >= pace.settle:
            return state
        if now >= deadline:
            _logger.info(
                "the caches still change after %.0f s: the files that are there now are saved, "
                "the rest later",
                pace.settle_limit,
            )
            return state
        pause(min(pace.settle_look, pace.settle), is_over)
        fresh = caches.state()
        if fresh != state:
            state, since = fresh, time.monotonic()
    return state


def _save(
    settings: Settings,
    state: CacheState | None,
    *,
    wait: bool,
    limit: float,
    on_progress: ProgressCallback | None,
) -> SaveResult:
    from b10_transfer.operations import transfer

    try:
        report = call_within(
            limit, lambda: transfer.save(settings, wait=wait, on_progress=on_progress), "save"
        )
    except CacheError as error:
        _logger.error("save: %s", error)  # noqa: TRY400  # one line is the promise
        return SaveResult(None, str(error), state)
    except Exception as error:
        # The server goes on whatever is wrong with its cache.
        _logger.exception("save: unexpected failure; please report it")
        return SaveResult(None, repr(error), state)
    level = logging.WARNING if report.warnings else logging.INFO
    _logger.log(level, "save: %s", "; ".join([str(report), *report.warnings]))
    return SaveResult(report, "", state)
