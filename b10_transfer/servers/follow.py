"""Keeping a server company: load, wait until it is ready, save, and save again what comes later."""

from __future__ import annotations

import enum
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_transfer.errors import CacheError
from b10_transfer.servers.find.endpoints import is_server_at
from b10_transfer.servers.find.processes import ServerSearch, is_alive
from b10_transfer.servers.operations import call_within
from b10_transfer.servers.options import settings_for
from b10_transfer.servers.readiness import Readiness, still_answers, wait_until_ready
from b10_transfer.servers.saving import Pace, keep_saving, save_when_settled
from b10_transfer.units import until_text

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from b10_transfer.operations.progress import ProgressCallback
    from b10_transfer.operations.reports import LoadReport, SaveReport
    from b10_transfer.servers.find.processes import ServerProcess
    from b10_transfer.servers.options import ServerOptions
    from b10_transfer.servers.readiness import Waited
    from b10_transfer.servers.saving import SaveResult
    from b10_transfer.settings import Settings

_logger = logging.getLogger("b10_transfer")

_Layout = tuple[str, str, frozenset[tuple[str, str]]]


class Outcome(enum.Enum):
    """How it ended; the value is the exit code."""

    DONE = 0
    FAILED = 4
    NOT_READY = 5
    SERVER_ENDED = 6
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class CompanionReport:
    """The result of following a server.

    Attributes:
        outcome: DONE: what the server compiled is stored. FAILED: the cache is off, or a load or
            the last save failed. NOT_READY, SERVER_ENDED: nothing was saved. INTERRUPTED: the same,
            because `stop` was set first.
        loads: those that worked.
        saves: likewise.
        errors: what failed, a sentence each; all of it is logged too.
    """

    outcome: Outcome
    loads: tuple[LoadReport, ...] = ()
    saves: tuple[SaveReport, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """The exit code of a process that did this and nothing else."""
        return self.outcome.value


def accompany(
    settings: Settings,
    options: ServerOptions,
    stop: threading.Event,
    *,
    on_progress: ProgressCallback | None = None,
    pace: Pace | None = None,
) -> CompanionReport:
    """Load, wait for the server, save when it is ready and its caches have settled, and go on.

    Nothing is saved of a server that ended before it was ready. When `stop` is set later, what is
    there is saved at once.

    Args:
        settings: of this process.
        options: where the server is, and how long to wait.
        stop: set by whoever wants this to end, a signal handler for instance.
        on_progress: told how far a load or a save is.
        pace: how often to look, and how long to wait for a save.
    """
    company = _Company(settings, options, stop, on_progress, pace or Pace())
    if not settings.enabled:
        company.fail("the cache is off: set BASETEN_FS_ENABLED=1 to use it")
        return company.report(Outcome.FAILED)
    return company.keep()


@dataclass(slots=True)
class _Company:
    """The facts about one server."""

    own: Settings
    options: ServerOptions
    stop: threading.Event
    on_progress: ProgressCallback | None
    pace: Pace
    loads: list[LoadReport] = field(default_factory=list["LoadReport"])
    saves: list[SaveReport] = field(default_factory=list["SaveReport"])
    errors: list[str] = field(default_factory=list[str])
    layouts: list[_Layout] = field(default_factory=list[_Layout])

    def keep(self) -> CompanionReport:
        deadline = time.monotonic() + self.options.timeout
        search = _RememberingSearch(self.search())
        # At once, and not when the server is found: what comes while it starts may come too late.
        self.load(self.own, search.look)
        _logger.info(
            "waiting until %s, until %s",
            f"{self.options.url} answers"
            if self.options.url
            else "a vLLM or SGLang server is ready",
            until_text(max(0.0, deadline - time.monotonic())),
        )
        waited = wait_until_ready(
            search.find,
            url=self.options.url,
            timeout=max(0.0, deadline - time.monotonic()),
            interval=self.options.interval,
            stop=self.stop,
            on_found=self.meet,
        )
        if waited.readiness is not Readiness.READY:
            return self.report(self.without_server(waited))
        return self.report(self.save(waited))

    def search(self) -> ServerSearch:
        url = self.options.url
        if url is None or not url.is_local:
            return ServerSearch(user=self.options.user)
        return ServerSearch(lambda server: is_server_at(server, url), self.options.user)

    def load(self, settings: Settings, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Load, unless it was done for the same cache roots; log what came of it."""
        from b10_transfer.operations import transfer

        def work() -> LoadReport | None:
            layout = _layout(settings)
            if layout in self.layouts:
                return None
            self.layouts.append(layout)
            return transfer.load(settings, on_progress=self.on_progress)

        try:
            report = call_within(self.options.timeout, work, "load", self.stop, meanwhile)
        except CacheError as error:
            if not self.stop.is_set():
                self.fail(f"load: {error}")
            return
        except Exception as error:
            # The server starts whatever is wrong with its cache, and so does what comes after.
            _logger.exception("load: unexpected failure; please report it")
            self.errors.append(f"load: {error!r}")
            return
        if report is not None:
            self.loads.append(report)
            level = logging.WARNING if report.problems else logging.INFO
            _logger.log(level, "load: %s", "; ".join([str(report), *report.problems]))

    def meet(self, server: ServerProcess) -> None:
        """Bring what the server looks for where it looks for it, if that is elsewhere.

        It costs little, and most servers look at their caches only when the model is loaded; where
        it comes too late the compiler's own files stay.
        """
        _logger.info("found %s", server)
        if not server.sees_our_files:
            _logger.warning(
                "%s runs in another container: of its caches only those in folders that both have, "
                "under the same path, can be loaded and saved",
                server,
            )
        if server.variables is None:
            _logger.warning(
                "the environment variables of %s cannot be read: its caches are looked for where "
                "those of this process say",
                server,
            )
            return
        if not server.is_same_users:
            # It could not add to the folders that would be ours, and might fail on them.
            _logger.warning(
                "%s runs as another user: nothing is loaded into its caches; load as that user",
                server,
            )
            return
        try:
            self.load(settings_for(server, self.own))
        except CacheError as error:
            self.fail(f"load for {server}: {error}")

    def without_server(self, waited: Waited) -> Outcome:
        """Say why nothing is saved."""
        if waited.readiness is Readiness.STOPPED:
            _logger.info("stopped before the server was ready: nothing is saved")
            return Outcome.INTERRUPTED
        if waited.readiness is Readiness.DIED:
            self.fail(f"{waited.server} ended before it was ready: nothing is saved")
            return Outcome.SERVER_ENDED
        subject = str(waited.server or self.options.url or "")
        if subject:
            self.fail(
                f"{subject} was not ready within {self.options.timeout:g} s ({waited.detail}): "
                "nothing is saved; --timeout allows more"
            )
        else:
            self.fail(
                f"no vLLM or SGLang server was found within {self.options.timeout:g} s: nothing is "
                "saved; --url says where another server, or one in another container, answers"
            )
        return Outcome.NOT_READY

    def save(self, waited: Waited) -> Outcome:
        _logger.info("%s is ready", waited.server or self.options.url)
        try:
            settings = settings_for(waited.server, self.own)
        except CacheError as error:
            self.fail(f"save for {waited.server}: {error}")
            return Outcome.FAILED
        alive = self.life_of(waited.server)
        result = save_when_settled(
            settings, self.stop, is_alive=alive, pace=self.pace, on_progress=self.on_progress
        )
        self.note(result)
        # Told to end during that save, it saves what has come since, unless that save failed.
        if self.options.watch_seconds > 0 and not (self.stop.is_set() and result.error):
            later = keep_saving(
                settings,
                self.stop,
                is_alive=alive,
                seconds=self.options.watch_seconds,
                last=result,
                pace=self.pace,
                on_progress=self.on_progress,
            )
            for item in later:
                self.note(item)
            result = later[-1] if later else result
        load_failed = any(error.startswith("load") for error in self.errors)
        return Outcome.FAILED if result.error or load_failed else Outcome.DONE

    def life_of(self, server: ServerProcess | None) -> Callable[[], bool]:
        if server is not None:
            return lambda: is_alive(server)
        url = self.options.url
        return still_answers(url, self.stop) if url is not None else lambda: True

    def note(self, result: SaveResult) -> None:
        if result.report is not None:
            self.saves.append(result.report)
        if result.error:
            self.errors.append(f"save: {result.error}")

    def fail(self, sentence: str) -> None:
        _logger.error("%s", sentence)
        self.errors.append(sentence)

    def report(self, outcome: Outcome) -> CompanionReport:
        return CompanionReport(outcome, tuple(self.loads), tuple(self.saves), tuple(self.errors))


class _RememberingSearch:
    """A search that knows a server also when that has ended since."""

    def __init__(self, search: ServerSearch) -> None:
        self._search = search
        self._seen: ServerProcess | None = None
        self._next_look = 0.0

    def look(self) -> None:
        """Look about once a second."""
        if time.monotonic() >= self._next_look:
            self.find()
            self._next_look = time.monotonic() + 1.0

    def find(self) -> ServerProcess | None:
        self._seen = self._search.find() or self._seen
        return self._seen


def _layout(settings: Settings) -> _Layout:
    """From where a load brings what, and whereto."""
    from b10_transfer.operations.context import open_context

    context = open_context(settings)
    roots = frozenset((root.name, root.folder) for root in context.roots)
    return settings.store, str(context.address), roots
