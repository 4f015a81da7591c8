"""Runs an operation once for each of its effects on files, and stops it before that one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.effects import STOPPED, Effects
from tests.support.forks import fork_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stop:
    """An operation that was stopped.

    Attributes:
        number: of the effect that did not happen, from 1.
        effects: everything that happened, and last what did not.
    """

    number: int
    effects: tuple[str, ...]

    def __str__(self) -> str:
        """Where it was, for the message of a failure."""
        return f"stopped before effect {self.number}: {self.effects[-1]}"


class Sweep:
    """Stops an operation before each of its effects in turn, each time in a new process."""

    def __init__(
        self, operation: Callable[[], object], inside: Path, prepare: Callable[[], object]
    ) -> None:
        """Nothing runs before it is iterated over.

        Args:
            operation: what to run; sent to another process, so it must be picklable.
            inside: the folder whose changes count.
            prepare: puts the folder into the state in which the operation begins.
        """
        self._operation = operation
        self._inside = inside
        self._prepare = prepare
        self.effects: tuple[str, ...] = ()
        """Of the last run, which came to its end."""

    def __iter__(self) -> Iterator[Stop]:
        """Yield after each stop; end when the operation came to its own end."""
        for number in itertools.count(1):
            self._prepare()
            stopped, effects = self._run(number)
            if not stopped:
                self.effects = effects
                return
            yield Stop(number, effects)

    def count(self, part: str) -> int:
        """How many effects of the whole operation have `part` in their description."""
        return sum(part in effect for effect in self.effects)

    def lacks(self, least: Mapping[str, int]) -> dict[str, int]:
        """How often each part occurs that occurs less often than it must.

        What an operation does past the counted calls would be missing here.
        """
        found = {part: self.count(part) for part in least}
        return {part: count for part, count in found.items() if count < least[part]}

    def _run(self, number: int) -> tuple[bool, tuple[str, ...]]:
        trace = self._inside.with_name(self._inside.name + ".trace")
        process = fork_server().Process(
            target=_run_and_stop, args=(self._operation, str(self._inside), number, str(trace))
        )
        process.start()
        process.join()
        assert process.exitcode in (0, STOPPED), f"exit status {process.exitcode}, at {number}"
        stopped = process.exitcode == STOPPED
        process.close()
        return stopped, tuple(trace.read_text().splitlines())


def _run_and_stop(
    operation: Callable[[], object], inside: str, stop_before: int, trace: str
) -> None:
    Effects(inside, stop_before, trace).install()
    operation()
