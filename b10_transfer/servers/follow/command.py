"""Following a command: save what it compiles while it runs, whether it is a server or not."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_transfer.caches import folders as cache_folders
from b10_transfer.errors import CacheError
from b10_transfer.operations.refusals import refusal
from b10_transfer.servers.follow.command_processes import CommandProcesses
from b10_transfer.servers.follow.follower import ServerFollower
from b10_transfer.servers.readiness import Readiness
from b10_transfer.servers.saving import Caches, keep_saving, save_now
from b10_transfer.settings import Settings
from b10_transfer.units import until_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from b10_transfer.operations.progress import Progress
    from b10_transfer.servers.find.processes import ServerProcess
    from b10_transfer.servers.options import ServerOptions
    from b10_transfer.servers.saving import SaveResult

_logger = logging.getLogger("b10_transfer")


@dataclass(slots=True)
class _Place:
    """Cache folders that are saved, and the last save of them."""

    settings: Settings
    last: SaveResult | None = None


class CommandFollower:
    """Saves what a command compiles; logs what goes wrong.

    A server is left alone until it is ready: if it fails to start, what it compiled may be the
    reason. The work of any other command is saved whenever its caches have settled.

    Attributes:
        stop: when it is set, `run` saves what is new and ends.
        heard_at: when a save last told of its progress, by time.monotonic().
    """

    def __init__(self, command: int, read_options: Callable[[Settings], ServerOptions]) -> None:
        """Do nothing yet.

        Args:
            command: its process id; a server may be a descendant.
            read_options: returns how to follow a server, given the settings of this process.
        """
        self.stop = threading.Event()
        self.heard_at = 0.0
        self._command = command
        self._read_options = read_options
        self._processes: CommandProcesses | None = None
        self._place: _Place | None = None
        self._is_ready = False

    def is_proven(self, *, succeeded: bool) -> bool:
        """Return whether what was compiled is good enough for others.

        A server that was ready stays proven after its end, until another one is found.

        Args:
            succeeded: whether the command ended well.
        """
        is_server = self._processes is not None and self._processes.has_server
        return self._is_ready if is_server else succeeded

    def save_at_once(self) -> None:
        """Save, whatever `run` is doing, without waiting for other hosts."""
        if self._place is not None:
            save_now(self._place.settings, wait=False)

    def run(self) -> None:
        """Save until `stop` is set, and once more then. Never raises."""
        try:
            own = Settings.from_environment()
            if not own.enabled:
                return
            options = self._read_options(own)
            self._place = _Place(own)
            processes = self._processes = CommandProcesses(
                self._command, own, options.user, has_server=options.url is not None
            )
            # At least once: a command may be over before this begins.
            while self._follow(processes, own, options) and not self.stop.is_set():
                pass
        except CacheError as error:
            _logger.error("nothing is saved: %s", error)  # noqa: TRY400  # one line is the promise
        except Exception as error:
            reason = refusal(error)
            _logger.error(  # noqa: TRY400  # the traceback is there where nobody foresaw it
                "nothing more is saved: %s",
                reason or "please report this",
                exc_info=None if reason else error,
            )

    def _follow(self, processes: CommandProcesses, own: Settings, options: ServerOptions) -> bool:
        """Follow one server, or the command while it has none; return whether to go on."""
        if processes.has_server or processes.await_server(self.stop):
            return self._follow_server(processes, own, options)
        self._follow_program(processes, own)
        return True

    def _follow_server(
        self, processes: CommandProcesses, own: Settings, options: ServerOptions
    ) -> bool:
        def meet(server: ServerProcess) -> None:
            self._is_ready = False
            _logger.info(
                "found %s; saving begins when it is ready; it has until %s",
                server,
                until_text(options.timeout),
            )

        def be_ready(settings: Settings) -> None:
            self._place = _Place(settings)
            self._is_ready = True

        before = self._place
        followed = ServerFollower(
            own,
            options,
            self.stop,
            processes.find_server,
            on_found=meet,
            on_ready=be_ready,
            on_progress=self._hear,
        ).run()
        if followed.settings is not None:
            self._place = _Place(followed.settings, followed.saves[-1])
            return True
        if self._is_ready and before is not None:
            # No other server came: the last work of the proven one is saved.
            self._keep_saving(before, lambda: False)
        else:
            _logger.info("nothing is saved; the server: %s", followed.waited.readiness.value)
        return followed.waited.readiness is Readiness.DIED

    def _follow_program(self, processes: CommandProcesses, own: Settings) -> None:
        """Save what a command that is not a server compiles, until it is one or has ended."""
        places = [_Place(own)]
        while True:
            places += [_Place(settings) for settings in processes.chosen]
            processes.chosen.clear()
            self._place = places[-1]
            self._keep_saving(
                places[-1], lambda: not processes.has_server_now() and not processes.chosen
            )
            if not processes.chosen:
                break
        for place in places[:-1]:
            state = Caches(place.settings).state()
            if state is None or state.files:
                self._keep_saving(place, lambda: False)
        if self.stop.is_set():
            _tell_of_nothing(places)

    def _keep_saving(self, place: _Place, is_alive: Callable[[], bool]) -> None:
        results = keep_saving(
            place.settings,
            self.stop,
            is_alive=is_alive,
            seconds=math.inf,
            last=place.last,
            on_progress=self._hear,
        )
        if results:
            place.last = results[-1]

    def _hear(self, _: Progress) -> None:
        self.heard_at = time.monotonic()


def _tell_of_nothing(places: Sequence[_Place]) -> None:
    """Log where the caches were looked for, when nothing was found in any of them."""
    reports = [place.last.report for place in places if place.last is not None]
    if any(report is None or report.found for report in reports):
        return
    _logger.info(
        "nothing was found in the cache folders (Inductor's is %s): if the command compiles, "
        "and keeps its caches elsewhere, set TORCHINDUCTOR_CACHE_DIR or the like before `run`",
        cache_folders.inductor(places[-1].settings.variables),
    )
