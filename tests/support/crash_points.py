"""Runs an operation again and again, and stops it each time before another of its effects on files.

With LONG_TESTS in the environment, before each of them; else before the first and the last of those
that are alike, as the writing of many staged files is.
"""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.effects import STOPPED, Effects
from tests.support.forks import fork_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


_ALIKE = re.compile(r"(?:open|fill|write|write the rest of|close|mkdir) (?:[^/]+/){0,3}[^/]*")
"""What such effects have in common: what is done, and in which folder."""


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
    """Stops an operation before its effects in turn, each time in a new process."""

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
        """Yield after each stop; at the end the operation comes to its own."""
        for number in itertools.count(1) if "LONG_TESTS" in os.environ else self._ends():
            self._prepare()
            stopped, effects = self._run(number)
            if not stopped:
                break
            yield Stop(number, effects)
        self._prepare()
        _, self.effects = self._run(0)

    def _ends(self) -> list[int]:
        """The numbers of the first and the last of those that are alike."""
        self._prepare()
        _, effects = self._run(0)
        places: dict[str, list[int]] = {}
        for number, effect in enumerate(effects, 1):
            found = _ALIKE.match(effect)
            places.setdefault(found.group() if found else effect, []).append(number)
        return sorted({end for numbers in places.values() for end in (numbers[0], numbers[-1])})

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
