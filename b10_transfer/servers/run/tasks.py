"""The work of the helpers beside a command: load before it starts, save what it compiles."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from b10_transfer.operations.refusals import refusal
from b10_transfer.units import until_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psutil

    from b10_transfer.operations.progress import Progress
    from b10_transfer.servers.find.processes import ServerProcess, User
    from b10_transfer.servers.options import ServerOptions
    from b10_transfer.servers.run.chosen_folders import ChosenFolders
    from b10_transfer.servers.run.run_options import RunOptions
    from b10_transfer.servers.saving import SaveResult
    from b10_transfer.settings import Settings

END_OF_COMMAND = b"%d %d\n"
"""Tells the helper that the command has ended: its exit code, and whether it was asked to end."""

_logger = logging.getLogger("b10_transfer")

_NICENESS = 10
_BEGIN_SECONDS = 15.0
"""A command in which no server was found for so long may be none."""

_LOOK_SECONDS = 2.0
_SILENCE_SECONDS = 2.0
"""A save in which nothing happens for so long lets others go first, or is stuck."""


def load(options: RunOptions) -> int:
    """Load, and log what came of it; SIGTERM ends it, less what it staged. Returns an exit code."""

    def stop(*_: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    from b10_transfer.api import load_compile_cache

    with options.display() as on_progress:
        load_compile_cache(on_progress=on_progress)
    return 0


def watch(control: int, command: int, options: RunOptions) -> int:
    """Save what a command compiles, while it runs and once more when it has ended.

    A server is left alone until it is ready: what one that fails to start has compiled may be why
    it failed. The work of any other command is saved whenever it has settled, and at its
    end, unless it failed by itself.

    Args:
        control: where END_OF_COMMAND arrives; its end of file is that of the supervisor.
        command: its process id; a server may be a descendant.
        options: of the run.

    Returns:
        An exit code.
    """
    # Saving competes with what the command is there for.
    os.nice(_NICENESS)
    saver = _Saver(command, options)
    thread = threading.Thread(target=saver.run, daemon=True)
    thread.start()
    line = os.read(control, 64)
    if not line:
        return 1
    code, asked = (int(word) for word in line.split())
    if not saver.is_proven(succeeded=code == 0 or bool(asked)):
        _logger.info("nothing more is saved: the command failed, or was not ready")
        return 0
    saver.stop.set()
    while thread.is_alive():
        silent_since = max(time.monotonic(), saver.heard_at)
        thread.join(_SILENCE_SECONDS)
        if thread.is_alive() and saver.heard_at <= silent_since:
            # There is no time to let other hosts go first; two saves at once are safe.
            saver.save_at_once()
            break
    return 0


class _Saver:
    """Saves what a command compiles, in a thread; what goes wrong is logged."""

    def __init__(self, command: int, options: RunOptions) -> None:
        self.stop = threading.Event()
        self.heard_at = 0.0
        self._command = command
        self._options = options
        self._user: User | None = None
        self._settings: Settings | None = None
        self._chosen: ChosenFolders | None = None
        self._waiting: list[Settings] = []
        self._last: dict[int, tuple[Settings, SaveResult]] = {}
        self._ready_within = 0.0
        self._is_server = False
        self._is_ready = False
        self._has_warned = False
        self._next_look = 0.0

    def is_proven(self, *, succeeded: bool) -> bool:
        """Whether what was compiled is good enough for others.

        A server that was ready stays proven when it has ended, until another one is found.
        """
        return self._is_ready if self._is_server else succeeded

    def run(self) -> None:
        """Save until `stop` is set, and once more then."""
        from b10_transfer.errors import CacheError
        from b10_transfer.servers.run.chosen_folders import ChosenFolders
        from b10_transfer.settings import Settings

        try:
            own = Settings.from_environment()
            if not own.enabled:
                return
            options = self._server_options(own)
            self._settings, self._user = own, options.user
            self._ready_within = options.timeout
            self._chosen = ChosenFolders(own, options.user)
            self._is_server = options.url is not None
            # Once at least: a command may be over before its helper has begun.
            while self._follow(own, options) and not self.stop.is_set():
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

    def _server_options(self, own: Settings) -> ServerOptions:
        """How to wait for a server; what is not acceptable is as if it had not been given."""
        from b10_transfer.errors import CacheValidationError
        from b10_transfer.servers.options import ServerOptions

        chosen = self._options
        try:
            return ServerOptions.read(
                own.variables,
                url=chosen.url,
                timeout=None if chosen.ready_timeout is None else str(chosen.ready_timeout),
                interval=None if chosen.interval is None else str(chosen.interval),
                user=chosen.server_user,
            )
        except CacheValidationError as error:
            _logger.error("%s; a server is waited for as by default", error)  # noqa: TRY400
            return ServerOptions()

    def _hear(self, _: Progress) -> None:
        self.heard_at = time.monotonic()

    def save_at_once(self) -> None:
        """Save, whatever the thread is doing, without waiting for other hosts."""
        if self._settings is not None:
            from b10_transfer.servers.saving import save_now

            save_now(self._settings, wait=False)

    def _follow(self, own: Settings, options: ServerOptions) -> bool:
        """Save what one server compiles, or what the command does while there is none.

        Returns:
            Whether there may be more to do.
        """
        from b10_transfer.servers.find.processes import is_alive
        from b10_transfer.servers.options import settings_for
        from b10_transfer.servers.readiness import Readiness, wait_until_ready
        from b10_transfer.servers.saving import save_when_settled

        if not self._is_server and not self._find_soon():
            self._follow_program(own)
            return True
        waited = wait_until_ready(
            self._find,
            url=options.url,
            timeout=options.timeout,
            interval=options.interval,
            stop=self.stop,
            on_found=self._meet,
        )
        if waited.readiness is not Readiness.READY:
            if self._is_ready and self._settings is not None:
                # No other server came: the last work of the proven one is saved.
                self._keep_saving(self._settings, lambda: False)
            else:
                _logger.info("nothing is saved; the server: %s", waited.readiness.value)
            return waited.readiness is Readiness.DIED
        server = waited.server
        settings = own if server is None else settings_for(server, own)
        self._settings = settings
        self._is_ready = True

        def lives() -> bool:
            return server is None or is_alive(server)

        saved = save_when_settled(settings, self.stop, is_alive=lives, on_progress=self._hear)
        self._note(settings, saved)
        self._keep_saving(settings, lives)
        return True

    def _meet(self, server: ServerProcess) -> None:
        self._is_ready = False
        _logger.info(
            "found %s; saving begins when it is ready, which is waited for until %s",
            server,
            until_text(self._ready_within),
        )

    def _follow_program(self, own: Settings) -> None:
        """Save what a command that is no server compiles, until it is one or has ended."""
        from b10_transfer.servers.saving import Caches

        every = [own]
        while True:
            every += self._waiting
            self._waiting.clear()
            self._settings = every[-1]
            self._keep_saving(every[-1], lambda: self._is_no_server() and not self._waiting)
            if not self._waiting:
                break
        for settings in every[:-1]:
            state = Caches(settings).state()
            if state is None or state.files:
                self._keep_saving(settings, lambda: False)
        if self.stop.is_set():
            self._tell_of_nothing(every)

    def _keep_saving(self, settings: Settings, is_alive: Callable[[], bool]) -> None:
        from b10_transfer.servers.saving import keep_saving

        results = keep_saving(
            settings,
            self.stop,
            is_alive=is_alive,
            seconds=math.inf,
            last=self._last[id(settings)][1] if id(settings) in self._last else None,
            on_progress=self._hear,
        )
        if results:
            self._note(settings, results[-1])

    def _note(self, settings: Settings, result: SaveResult) -> None:
        # With the settings, so that no others get their id.
        self._last[id(settings)] = settings, result

    def _tell_of_nothing(self, every: Sequence[Settings]) -> None:
        """Say where was looked, when nothing at all was found."""
        from b10_transfer.caches import folders as cache_folders

        reports = [result.report for _, result in self._last.values()]
        if any(report is None or report.found for report in reports):
            return
        _logger.info(
            "nothing was found in the cache folders (Inductor's is %s): if the command compiles, "
            "and keeps its caches elsewhere, set TORCHINDUCTOR_CACHE_DIR or the like before `run`",
            cache_folders.inductor(every[-1].variables),
        )

    def _find(self) -> ServerProcess | None:
        from b10_transfer.servers.find.processes import find_server_below

        return find_server_below(self._command, self._user, self._pass_over)

    def _pass_over(self, process: psutil.Process) -> None:
        """Another user's server is not followed, and what it compiles is never proven."""
        from b10_transfer.servers.find.processes import warn_of_strange

        self._is_server = True
        if not self._has_warned:
            self._has_warned = True
            warn_of_strange(process)

    def _find_soon(self) -> bool:
        """Whether the command is, or starts, a server."""
        deadline = time.monotonic() + _BEGIN_SECONDS
        while not self._is_server and time.monotonic() < deadline:
            if self._look() or self._waiting or self.stop.wait(0.5):
                break
        return self._is_server

    def _is_no_server(self) -> bool:
        """Whether the command is still none; all processes are looked at, so not too often."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_SECONDS
            self._look()
        return not self._is_server

    def _look(self) -> bool:
        """See whether there is a server by now; notes a folder that nobody knew of, too."""
        if self._find() is not None:
            self._is_server = True
        chosen = self._chosen.look(self._command) if self._chosen is not None else None
        if chosen is not None:
            _logger.info(
                "the command chose cache folders for itself: they are saved; set their variables "
                "before `run` to load into them too"
            )
            self._waiting.append(chosen)
        return self._is_server
