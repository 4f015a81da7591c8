"""An explicit-state model checker: every interleaving of some actors, breadth first.

A state is an immutable, hashable value. An actor is a function from a state to the steps that it
may take there, each of them atomic. That an actor crashes, or stalls for as long as it pleases,
needs no step of its own: the others go on from every state without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """What an actor does next, in words, and the state afterwards."""

    label: str
    state: S


@dataclass(frozen=True, slots=True)
class Found:
    """A state that must not be, and a shortest way to it.

    Attributes:
        fault: what is wrong in it.
        trace: the labels of the steps that lead there, in order.
    """

    fault: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        """The trace as numbered lines, and the fault."""
        lines = [f"{number:3}. {label}" for number, label in enumerate(self.trace, 1)]
        return "\n".join([*lines, f"  => {self.fault}"])


@dataclass(frozen=True, slots=True)
class Explored:
    """What an exploration saw.

    Attributes:
        states: how many different states were reached.
        labels: every step that was taken somewhere: shows that a search without a fault was not
            one in which nothing happens.
        found: the first fault, or None where no state has one.
    """

    states: int
    labels: frozenset[str]
    found: Found | None


class TooManyStatesError(Exception):
    """The exploration was ended by its limit: nothing is proven."""


def explore(
    start: S,
    actors: Sequence[Callable[[S], Iterable[Step[S]]]],
    fault: Callable[[S], str | None],
    limit: int,
) -> Explored:
    """Visit every state that can be reached, each once, nearest first.

    Args:
        start: the first state.
        actors: which steps can be taken in a state.
        fault: what is wrong with a state, or None.
        limit: most states to visit.

    Raises:
        TooManyStatesError: there are more.
    """
    states = [start]
    parents = [0]
    known = {start}
    labels: set[str] = set()
    # The list grows while it is walked: it is the queue, too.
    for number, state in enumerate(states):
        wrong = fault(state)
        if wrong is not None:
            trace = _trace(states, parents, number, actors)
            return Explored(len(states), frozenset(labels), Found(wrong, trace))
        for actor in actors:
            for step in actor(state):
                labels.add(step.label)
                if step.state not in known:
                    known.add(step.state)
                    states.append(step.state)
                    parents.append(number)
        if len(states) > limit:
            raise TooManyStatesError(f"more than {limit} states")
    return Explored(len(states), frozenset(labels), None)


def _trace(
    states: Sequence[S],
    parents: Sequence[int],
    number: int,
    actors: Sequence[Callable[[S], Iterable[Step[S]]]],
) -> tuple[str, ...]:
    """The labels on the way to a state, made again: millions of them are not worth keeping."""
    labels: list[str] = []
    while number:
        before = states[parents[number]]
        steps = (step for actor in actors for step in actor(before))
        labels.append(next(step.label for step in steps if step.state == states[number]))
        number = parents[number]
    return tuple(reversed(labels))
