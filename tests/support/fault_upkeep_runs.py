"""Looks after a store once for each fault of each effect on it, and looks at what is left."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store.remote.folder_names import MANIFESTS, PACKS, TEMPORARY_MARK
from b10_transfer.errors import CacheError
from tests.support.fault_findings import misplaced_files
from tests.support.fault_runs import counted_names, open_files
from tests.support.fault_upkeep_endings import loads, saver_wakes_up
from tests.support.faults import Case, Faults, Lasting, cases

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Container,
        Hashable,
        Iterator,
        Mapping,
    )
    from contextlib import AbstractContextManager

    from b10_transfer.settings import Settings
    from tests.support.fault_upkeep_states import Expectation
    from tests.support.fault_upkeep_worlds import UpkeepWorld
    from tests.support.faults import Fault

_SECONDS = 300.0
"""More than an operation may take, whatever fails: waiting takes no time in these tests."""
_MOST_EFFECTS = 4
"""How many times as many effects it may have: attempts are bounded."""


@dataclass(slots=True)
class Outcome:
    """What an operation did.

    Attributes:
        faults: what happened on the way.
        before: every file of the store, before it.
        after: and afterwards.
        report: what it returned; None when it raised.
        error: what it raised.
        seconds: how long it took.
        wrong: what must never be, whatever failed.
        usual: how it ends when nothing fails; None in that run itself.
    """

    faults: Faults
    before: Mapping[str, bytes]
    after: Mapping[str, bytes]
    report: object = None
    error: CacheError | None = None
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list[str])
    usual: Outcome | None = None

    def __str__(self) -> str:
        """What the user was told."""
        return f"{self.error!r}" if self.error is not None else f"{self.report}"


@dataclass(frozen=True, slots=True)
class Upkeep:
    """An operation on a whole store, what it begins with, and what must be true afterwards.

    Attributes:
        name: of the test.
        prepare: puts the world into the state in which it begins.
        run: as the user calls it.
        endings: what may follow while nothing fails, each of which must end well.
        is_question: whether it changes nothing.
    """

    name: str
    prepare: Callable[[UpkeepWorld], Expectation]
    run: Callable[[Settings], object]
    endings: tuple[Callable[[UpkeepWorld, Expectation], Iterator[str]], ...]
    is_question: bool = False

    def __str__(self) -> str:
        """Its name."""
        return self.name


class UpkeepRun:
    """An operation in a world of its own, ready to be run again and again."""

    def __init__(
        self,
        operation: Upkeep,
        world: UpkeepWorld,
        inject: Callable[[UpkeepWorld, Faults], AbstractContextManager[object]],
    ) -> None:
        """Prepare the world, and count what the operation does when nothing fails.

        Args:
            operation: what to run.
            world: an empty one.
            inject: a context in which the effects on the store meet the faults.
        """
        self._operation = operation
        self._world = world
        self._inject = inject
        self._expected = operation.prepare(world)
        self._reset = world.keep()
        self._before = world.store.files()
        # What follows is the same for the same state of the store.
        self._known: dict[Hashable, list[str]] = {}
        self._usual: Outcome | None = None
        with counted_names():
            outcome = self._start(Faults())
            assert outcome.error is None, outcome
            self.counts = outcome.faults.counts
            wrong = list(self._wrong(outcome))
        assert wrong == [], f"before anything fails: {wrong}"
        self._usual = outcome

    def sweep(self, fault: Fault, lasting: Lasting, *, only_ends: bool = False) -> list[str]:
        """Let each effect go wrong in turn.

        Args:
            fault: how.
            lasting: for how long.
            only_ends: the first and the last of each kind alone.

        Returns:
            What was not as it must be, a line each.
        """
        return [
            f"{case}: {line}"
            for case in cases(self.counts, fault, lasting, only_ends=only_ends)
            for line in self.strike(case)
        ]

    def strike(self, case: Case) -> list[str]:
        """Let one effect go wrong; returns what was not as it must be."""
        with counted_names():
            self._reset()
            outcome = self._start(Faults(case))
            # Threads may do the later ones in one.
            is_met = outcome.faults.struck or case.number > 1
            wrong = [] if is_met else ["it never happened"]
            return wrong + [f"{outcome}, but {line}" for line in self._wrong(outcome)]

    def _start(self, faults: Faults) -> Outcome:
        outcome = Outcome(faults, self._before, {}, usual=self._usual)
        open_before, threads_before = open_files(), threading.enumerate()
        with self._inject(self._world, faults):
            started = time.monotonic()
            try:
                outcome.report = self._operation.run(self._world.settings)
            except CacheError as error:
                outcome.error = error
            except Exception as error:  # noqa: BLE001  # no other may reach the user
                outcome.wrong.append(f"the user met {error!r}")
            outcome.seconds = time.monotonic() - started
        if open_files() > open_before:
            outcome.wrong.append(f"{open_files() - open_before} files were left open")
        new = [thread for thread in threading.enumerate() if thread not in threads_before]
        if any(thread.name.startswith("b10-") for thread in new):
            outcome.wrong.append(f"{new} go on")
        outcome.after = self._world.store.files()
        return outcome

    def _wrong(self, outcome: Outcome) -> Iterator[str]:
        yield from outcome.wrong
        if outcome.error is not None and not str(outcome.error):
            yield "it does not say why"
        if outcome.error is None and outcome.report is None:
            yield "there is no report"
        if outcome.seconds > _SECONDS:
            yield f"it took {outcome.seconds:.1f} s"
        if outcome.faults.counts.total() > _MOST_EFFECTS * self.counts.total():
            yield f"there were {outcome.faults.counts.total()} effects"
        if outcome.faults.are_harmless:
            yield from _felt(outcome)
        yield from _vanished(outcome, self._expected.damaged)
        if self._operation.is_question and outcome.before != outcome.after:
            yield f"it changed {sorted(outcome.before.keys() ^ outcome.after.keys())}"
        yield from _untold(outcome)
        for path in self._world.keeper.work.iterdir():
            yield f"{path.name} was left in the work folder"
        yield from self._what_follows(outcome.faults)

    def _what_follows(self, faults: Faults) -> list[str]:
        key = (self._world.state(), faults.blind, faults.hide_sessions)
        if key not in self._known:
            self._known[key] = list(self._follow(faults))
        return self._known[key]

    def _follow(self, faults: Faults) -> Iterator[str]:
        back = self._world.keep()
        yield from (
            line
            for line in misplaced_files(self._world.store.files())
            if not any(name in line for name in self._expected.damaged)
        )
        yield from loads(self._world, self._expected, is_blinded=faults.blind)
        for ending in self._operation.endings:
            # A session that was not witnessed must not live on; a mount shows it in time.
            if ending is saver_wakes_up and faults.hide_sessions:
                continue
            back()
            yield from (
                f"{ending.__name__}: {line}" for line in ending(self._world, self._expected)
            )


def _felt(outcome: Outcome) -> Iterator[str]:
    """Where it ended in another way than when nothing fails."""
    usual = outcome.usual
    if usual is None:
        return
    if outcome.error is not None or len(outcome.after) != len(usual.after):
        yield "it must not be felt"


def _untold(outcome: Outcome) -> Iterator[str]:
    """What it did otherwise than when nothing fails, and does not tell."""
    usual = outcome.usual
    if usual is None or outcome.error is not None or outcome.faults.deceive:
        return
    fates, usually = _fates(outcome), _fates(usual)
    if outcome.report == usual.report and fates != usually:
        yield f"it says so as usual, and did {fates.items() ^ usually.items()}"


def _fates(outcome: Outcome) -> dict[str, frozenset[str]]:
    """In which folders of the store each pack and manifest is that was there before."""
    folders: dict[str, set[str]] = {}
    for name in outcome.after:
        folders.setdefault(name.rpartition("/")[2], set()).add(name.partition("/")[0])
    return {
        base: frozenset(folders.get(base, ()))
        for folder, _, base in (name.rpartition("/") for name in outcome.before)
        if folder in (PACKS, MANIFESTS) and TEMPORARY_MARK not in base
    }


def _vanished(outcome: Outcome, damaged: Container[str]) -> Iterator[str]:
    """Packs and manifests that were in their place, and are nowhere any more.

    An intact pack may replace a damaged one.
    """
    for name, data in outcome.before.items():
        folder, _, base = name.rpartition("/")
        if folder in (PACKS, MANIFESTS) and TEMPORARY_MARK not in base:
            found = [base in other and known == data for other, known in outcome.after.items()]
            if not any(found) and not (name in damaged and name in outcome.after):
                yield f"{name} is gone"
