"""Follow one server: wait until it is ready, save when its caches have settled, keep saving."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_transfer.servers.find.processes import is_alive
from b10_transfer.servers.options import settings_for
from b10_transfer.servers.readiness import Readiness, wait_until_ready
from b10_transfer.servers.saving import Pace, keep_saving, save_when_settled

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from b10_transfer.operations.progress import ProgressCallback
    from b10_transfer.servers.find.processes import ServerProcess
    from b10_transfer.servers.options import ServerOptions
    from b10_transfer.servers.readiness import Waited
    from b10_transfer.servers.saving import SaveResult
    from b10_transfer.settings import Settings

_logger = logging.getLogger("b10_transfer")


@dataclass(frozen=True, slots=True)
class Followed:
    """The result of following a server.

    Attributes:
        waited: how waiting for it ended.
        settings: the settings that find its caches; None when it was not ready.
        saves: the result of each save; empty when it was not ready.
    """

    waited: Waited
    settings: Settings | None = None
    saves: tuple[SaveResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerFollower:
    """The parts that following one server needs.

    Attributes:
        own: the settings of this process.
        options: where the server is, how long to wait for it, and how long to go on saving.
        stop: ends everything. Before the server is ready, nothing is saved; later, a last save
            stores what is new.
        find: looks for the server's process.
        on_found: called with each process that is found, at once.
        on_ready: called when the server is ready, with the settings that find its caches.
        is_there: returns whether a server whose process cannot be seen is still there.
        pace: how often to look, and how long to wait for a save.
        on_progress: told how far a save is.
    """

    own: Settings
    options: ServerOptions
    stop: threading.Event
    find: Callable[[], ServerProcess | None]
    on_found: Callable[[ServerProcess], None]
    on_ready: Callable[[Settings], None] = lambda _: None
    is_there: Callable[[], bool] = lambda: True
    pace: Pace = field(default_factory=Pace)
    on_progress: ProgressCallback | None = None

    def run(self) -> Followed:
        """Wait until the server is ready, and save until it ends or the time for that is over.

        Raises:
            CacheValidationError: the server's variables name a folder that is not acceptable.
        """
        waited = wait_until_ready(
            self.find,
            url=self.options.url,
            timeout=self.options.timeout,
            interval=self.options.interval,
            stop=self.stop,
            on_found=self.on_found,
        )
        if waited.readiness is not Readiness.READY:
            return Followed(waited)
        _logger.info("%s is ready", waited.server or self.options.url)
        settings = settings_for(waited.server, self.own)
        self.on_ready(settings)
        return Followed(waited, settings, tuple(self._save(settings, waited.server)))

    def _save(self, settings: Settings, server: ServerProcess | None) -> list[SaveResult]:
        is_there = self.is_there if server is None else lambda: is_alive(server)
        first = save_when_settled(
            settings, self.stop, is_alive=is_there, pace=self.pace, on_progress=self.on_progress
        )
        # When `stop` is set during that save, what has come since is saved, unless the save failed.
        if self.options.watch_seconds <= 0 or (self.stop.is_set() and first.error):
            return [first]
        later = keep_saving(
            settings,
            self.stop,
            is_alive=is_there,
            seconds=self.options.watch_seconds,
            last=first,
            pace=self.pace,
            on_progress=self.on_progress,
        )
        return [first, *later]
