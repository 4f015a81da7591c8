"""A process beside a server: load for it, follow it, report what was loaded and saved."""

from __future__ import annotations

import enum
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from b10_transfer.errors import CacheError
from b10_transfer.servers.find.endpoints import is_server_at
from b10_transfer.servers.find.processes import ServerSearch
from b10_transfer.servers.follow.follower import ServerFollower
from b10_transfer.servers.operations import call_within
from b10_transfer.servers.options import settings_for
from b10_transfer.servers.readiness import Readiness, still_answers
from b10_transfer.servers.saving import Pace
from b10_transfer.units import until_text

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

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
    """How following a server ended; the value is the exit code."""

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
        loads: the reports of the loads that worked.
        saves: the reports of the saves that worked.
        errors: what failed, a sentence each; every one is logged too.
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
    """Load, and follow the server beside this process. Never raises a CacheError.

    A server that ends before it is ready is not saved. When `stop` is set after that, what is new
    is saved at once.

    Args:
        settings: of this process.
        options: where the server is, and how long to wait.
        stop: set by whoever wants this to end, for example a signal handler.
        on_progress: told how far a load or a save is.
        pace: how often to look, and how long to wait for a save.
    """
    companion = _Companion(settings, options, stop, on_progress)
    if not settings.enabled:
        companion.fail("the cache is off: set BASETEN_FS_ENABLED=1 to use it")
        return companion.report(Outcome.FAILED)
    return companion.run(pace or Pace())


@dataclass(slots=True)
class _Companion:
    """A process beside one server: what it loaded, saved and failed at."""

    own: Settings
    options: ServerOptions
    stop: threading.Event
    on_progress: ProgressCallback | None
    loads: list[LoadReport] = field(default_factory=list["LoadReport"])
    saves: list[SaveReport] = field(default_factory=list["SaveReport"])
    errors: list[str] = field(default_factory=list[str])
    layouts: list[_Layout] = field(default_factory=list[_Layout])
    load_failed: bool = False
    server: ServerProcess | None = None

    def run(self, pace: Pace) -> CompanionReport:
        deadline = time.monotonic() + self.options.timeout
        search = _RememberingSearch(self.search())
        # Before the server is found: an artifact that arrives while it starts may be too late.
        self.load(self.own, search.look)
        left = max(0.0, deadline - time.monotonic())
        url = self.options.url
        _logger.info(
            "waiting until %s, until %s",
            f"{url} answers" if url else "a vLLM or SGLang server is ready",
            until_text(left),
        )
        follower = ServerFollower(
            self.own,
            replace(self.options, timeout=left),
            self.stop,
            search.find,
            on_found=self.meet,
            is_there=still_answers(url, self.stop) if url else lambda: True,
            pace=pace,
            on_progress=self.on_progress,
        )
        try:
            followed = follower.run()
        except CacheError as error:
            self.fail(f"save for {self.server}: {error}")
            return self.report(Outcome.FAILED)
        if followed.settings is None:
            return self.report(self.explain(followed.waited))
        return self.report(self.note(followed.saves))

    def search(self) -> ServerSearch:
        url = self.options.url
        if url is None or not url.is_local:
            return ServerSearch(user=self.options.user)
        return ServerSearch(lambda server: is_server_at(server, url), self.options.user)

    def load(self, settings: Settings, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Load and log the result, unless a load for the same cache roots was made already."""
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
                self.load_failed = True
                self.fail(f"load: {error}")
            return
        except Exception as error:
            # The server starts whatever is wrong with its cache, and is followed.
            _logger.exception("load: unexpected failure; please report it")
            self.load_failed = True
            self.errors.append(f"load: {error!r}")
            return
        if report is not None:
            self.loads.append(report)
            level = logging.WARNING if report.problems else logging.INFO
            _logger.log(level, "load: %s", "; ".join([str(report), *report.problems]))

    def meet(self, server: ServerProcess) -> None:
        """Load where the server looks for its caches, if that is elsewhere.

        Most servers look at their caches only when the model is loaded, so this is mostly in time.
        Where it is too late, the compiler's own files stay.
        """
        self.server = server
        _logger.info("found %s", server)
        if not server.sees_our_files:
            _logger.warning(
                "%s runs in another container: its caches can be loaded and saved only in folders "
                "that both containers have under the same path",
                server,
            )
        if server.variables is None:
            _logger.warning(
                "the environment variables of %s cannot be read: its caches are looked for where "
                "the variables of this process say",
                server,
            )
            return
        if not server.is_same_users:
            # This process would own the folders: that user could not add to them.
            _logger.warning(
                "%s runs as another user: nothing is loaded into its caches; load as that user",
                server,
            )
            return
        try:
            settings = settings_for(server, self.own)
        except CacheError as error:
            self.load_failed = True
            self.fail(f"load for {server}: {error}")
        else:
            self.load(settings)

    def explain(self, waited: Waited) -> Outcome:
        """Log why nothing is saved."""
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

    def note(self, results: Sequence[SaveResult]) -> Outcome:
        """Note the results of the saves; the last one decides."""
        for result in results:
            if result.report is not None:
                self.saves.append(result.report)
            if result.error:
                self.errors.append(f"save: {result.error}")
        return Outcome.FAILED if results[-1].error or self.load_failed else Outcome.DONE

    def fail(self, sentence: str) -> None:
        _logger.error("%s", sentence)
        self.errors.append(sentence)

    def report(self, outcome: Outcome) -> CompanionReport:
        return CompanionReport(outcome, tuple(self.loads), tuple(self.saves), tuple(self.errors))


class _RememberingSearch:
    """A search that still knows a server when it has ended."""

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
    """What identifies a load: the store, the address, and the cache roots with their folders."""
    from b10_transfer.operations.context import open_context

    context = open_context(settings)
    roots = frozenset((root.name, root.folder) for root in context.roots)
    return settings.store, str(context.address), roots
