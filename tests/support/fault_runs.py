"""Runs an operation once for each fault of each of its effects, and looks at what is left."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

from b10_store.remote.folder import FolderRemote
from tests.support.cache_trees import leftovers
from tests.support.fault_findings import Loads, misplaced, unfinished, vanished
from tests.support.faults import Case, Faults, Lasting, cases
from tests.support.store_views import published, store_files
from tests.support.trees import artifacts_of, differences, entries_without_parts, put_artifacts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from b10_transfer.status import OperationStatus
    from tests.support.crash_world import World
    from tests.support.faults import Fault
    from tests.support.trees import Artifacts

_SECONDS = 300.0
"""More than an operation may take, whatever fails: waiting takes no time in these tests."""
_MOST_EFFECTS = 12
"""How many times as many effects it may have: attempts are bounded."""


@dataclass(frozen=True, slots=True)
class State:
    """What an operation begins with.

    Attributes:
        stored: what a host gets that has nothing.
        here: what this host has.
    """

    stored: Artifacts
    here: Artifacts


@dataclass(slots=True)
class Outcome:
    """What an operation did.

    Attributes:
        status: what the user was told.
        seconds: how long it took.
        faults: what happened on the way.
        wrong: what must never be, whatever failed.
        published: how many manifests it added.
        uploaded: bytes of the packs it added.
    """

    status: str
    seconds: float
    faults: Faults
    wrong: list[str] = field(default_factory=list[str])
    published: int = 0
    uploaded: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, what it begins with, and what must be true afterwards.

    Attributes:
        name: of the test.
        run: as the user calls it.
        prepare: puts the world into the state in which it begins.
        judge: what of the outcome is not true, a line each; given what a new host now gets.
        warm: run before each time, while nothing fails.
        is_thrifty: whether a passing fault must not make it upload more.
    """

    name: str
    run: Callable[[], OperationStatus]
    prepare: Callable[[World], State]
    judge: Callable[[State, Outcome, Artifacts, Artifacts], Iterable[str]]
    warm: Callable[[World], object] | None = None
    is_thrifty: bool = True

    def __str__(self) -> str:
        """Its name."""
        return self.name


class FaultRun:
    """An operation in a world of its own, ready to be run again and again."""

    def __init__(
        self,
        operation: Operation,
        world: World,
        inject: Callable[[Faults], AbstractContextManager[object]],
    ) -> None:
        """Prepare the world, and count what the operation does when nothing fails.

        Args:
            operation: what to run.
            world: an empty one.
            inject: given `Faults`, a context in which the effects on the store meet them.
        """
        self._operation = operation
        self._world = world
        self._inject = inject
        self._state = operation.prepare(world)
        world.keep()
        self._loads = Loads(world)
        assert self._loads.problems() == []
        assert differences(self._loads.everything(), self._state.stored) == []
        self._before = store_files(world.host.store)
        self._unfinished = unfinished(world.host.store)
        # The loads above refreshed the time of last load.
        world.reset()
        self._now = time.time()
        # What heals is the same for the same state.
        self._healed: dict[Hashable, list[str]] = {}
        self.usual: Outcome | None = None
        self._usually_here: Artifacts = {}
        with _same_ids_and_times(self._now):
            outcome = self._start(Faults())
            self.counts = outcome.faults.counts
            wrong = self._wrong(outcome)
        assert wrong == [], f"before anything fails: {wrong}"

    def sweep(self, fault: Fault, lasting: Lasting, *, only_ends: bool = False) -> list[str]:
        """Let each effect go wrong in turn; returns what was not as it must be, a line each."""
        found: list[str] = []
        for case in cases(self.counts, fault, lasting, only_ends=only_ends):
            found += [f"{case}: {line}" for line in self.strike(case)]
        return found

    def strike(self, case: Case) -> list[str]:
        """Let one effect go wrong; returns what was not as it must be."""
        self._world.reset()
        with _same_ids_and_times(self._now):
            outcome = self._start(Faults(case))
            # Threads may do the later ones in one.
            is_met = outcome.faults.struck or case.number > 1
            wrong = [] if is_met else ["it never happened"]
            return wrong + self._wrong(outcome)

    def _start(self, faults: Faults) -> Outcome:
        if self._operation.warm is not None:
            self._operation.warm(self._world)
        log = _Log()
        open_before, threads_before = open_files(), threading.enumerate()
        variables = self._world.host.variables()
        with mock.patch.dict(os.environ, variables, clear=True), log, self._inject(faults):
            started = time.monotonic()
            status = self._operation.run()
            seconds = time.monotonic() - started
        outcome = Outcome(status.name, seconds, faults)
        outcome.wrong += log.wrong(status.name)
        if open_files() > open_before:
            outcome.wrong.append(f"{open_files() - open_before} files were left open")
        new = [thread for thread in threading.enumerate() if thread not in threads_before]
        if any(thread.name == "b10-heartbeat" for thread in new):
            outcome.wrong.append("a heartbeat goes on")
        return outcome

    def _wrong(self, outcome: Outcome) -> list[str]:
        return [f"{outcome.status}, but {line}" for line in self._findings(outcome)]

    def _findings(self, outcome: Outcome) -> Iterator[str]:
        world, state = self._world, self._state
        yield from outcome.wrong
        if outcome.seconds > _SECONDS:
            yield f"it took {outcome.seconds:.1f} s"
        yield from self._too_many(outcome)
        yield from vanished(world.host.store, self._before)
        yield from misplaced(world.host.store)
        for name in unfinished(world.host.store) - self._unfinished:
            if not any(mark in name for mark in outcome.faults.may_leave):
                yield f"{name} was left behind"
        yield from self._loads.problems()
        after = store_files(world.host.store)
        added = after.keys() - self._before.keys()
        outcome.published = len(published(added))
        outcome.uploaded = sum(len(after[name]) for name in added if name.startswith("packs/"))
        stored, here = self._loads.everything(), artifacts_of(world.host)
        yield from self._operation.judge(state, outcome, stored, here)
        yield from self._felt(outcome, here)
        yield from local_leftovers(world)
        left = world.state()
        if left not in self._healed:
            self._healed[left] = list(self._healing())
        yield from self._healed[left]

    def _felt(self, outcome: Outcome, here: Artifacts) -> Iterator[str]:
        if self.usual is None:
            self.usual = outcome
            self._usually_here = here
        if not outcome.faults.are_unfelt:
            return
        if outcome.status != self.usual.status:
            yield f"it must not be felt: {self.usual.status}"
        if here.keys() != self._usually_here.keys():
            yield f"it must not be felt: {differences(here, self._usually_here)}"
        if outcome.uploaded > self.usual.uploaded and self._operation.is_thrifty:
            yield f"{outcome.uploaded} bytes were uploaded, and not {self.usual.uploaded}"

    def _too_many(self, outcome: Outcome) -> Iterator[str]:
        if outcome.faults.counts.total() > _MOST_EFFECTS * self.counts.total():
            yield f"there were {outcome.faults.counts.total()} effects"

    def _healing(self) -> Iterator[str]:
        """The next healthy load and save of this host leave nothing to be wished for."""
        host, state = self._world.host, self._state
        whole = {**state.stored, **state.here}
        if state.stored:
            report = host.load()
            if (report.unavailable, report.problems) != (0, ()):
                yield f"the next load says {report}; {report.problems}"
        if differences(artifacts_of(host), whole):
            # A save never brings what only the store has.
            yield f"after the next load: {differences(artifacts_of(host), whole)}"
        put_artifacts(host, state.here)
        saved = host.save(wait=False)
        if saved.problems:
            yield f"the next save says {saved.problems}"
        left = differences(self._loads.everything(), whole)
        if left or self._loads.problems():
            yield f"after the next save: {left} {self._loads.problems()}"
        if host.save(wait=False).status.name != "SKIPPED":
            yield "two saves later something is new"
        yield from local_leftovers(self._world)


@contextlib.contextmanager
def counted_names() -> Generator[None]:
    """Let names that are drawn be the same each time, so that equal states compare equal."""
    numbers = itertools.count(1)

    def next_bytes(size: int) -> bytes:
        return next(numbers).to_bytes(size, "big")

    with mock.patch.object(os, "urandom", next_bytes):
        yield


@contextlib.contextmanager
def _same_ids_and_times(now: float) -> Generator[None]:
    """Let what is drawn, and the time of the store, be the same each time: equal states compare."""
    real = FolderRemote.now

    def same_time(remote: FolderRemote) -> float:
        real(remote)
        return now

    with (
        counted_names(),
        mock.patch.object(FolderRemote, "now", same_time),
        mock.patch("b10_store.save.save.time", SimpleNamespace(time_ns=lambda: int(now * 1e9))),
    ):
        yield


def local_leftovers(world: World) -> Iterator[str]:
    """What is on this host and should not be: half files, staging folders, scratch files."""
    for root in (world.host.root, world.host.triton):
        for name in leftovers(root):
            yield f"{name} was left in {root.name}"
    for path in world.host.work.iterdir():
        yield f"{path.name} was left in the work folder"
    yield from entries_without_parts(artifacts_of(world.host))


def open_files() -> int:
    """How many files are open; a remote that is still there may hold its folders open."""
    folder = "/proc/self/fd"
    try:
        return sum(not os.path.isdir(os.path.join(folder, name)) for name in os.listdir(folder))
    except OSError:
        return 0


class _Log(logging.Handler):
    """What an operation wrote to the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._records: list[logging.LogRecord] = []
        self._logger = logging.getLogger("b10_transfer")

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def __enter__(self) -> None:
        self._logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def wrong(self, status: str) -> Iterator[str]:
        """An ERROR has one line in the log that says why; nothing unforeseen was caught."""
        for record in self._records:
            if record.exc_info:
                yield f"{record.getMessage()}: {record.exc_info[1]!r}"
        errors = [record for record in self._records if record.levelno >= logging.ERROR]
        if len(errors) != (status == "ERROR"):
            yield f"there are {len(errors)} errors in the log"
