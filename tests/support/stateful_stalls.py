"""Saves and visits that stall somewhere, beside everything else, and go on or die."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.support.gc_world import DAY, HOUR, KEEP_ALL, MINUTE, WITNESS
from tests.support.scheduled_actors import Actor
from tests.support.stateful_machine import EFFECTS, HOSTS, STAGES, VISIT_EFFECTS, StoreMachine
from tests.support.stateful_steps import LONG, PATHS, InFlight
from tests.support.stateful_world import ADDRESSES

if TYPE_CHECKING:
    from b10_store.remote.protocol import Remote

AT_ONCE = 2
"""How many of them there are at most."""

STALLS = st.sampled_from([(0.0, WITNESS), *2 * [(0.0, WITNESS, 31 * MINUTE, 25 * HOUR)]])


class StallMachine(StoreMachine):
    """The same, where two operations at most are in flight while others go on."""

    @precondition(lambda self: len(self.flying) < AT_ONCE)
    @rule(number=HOSTS, effects=EFFECTS)
    def begin_save(self, number: int, effects: int) -> None:
        """A save stalls before one of its effects."""
        self.advance(self.start_save(number), effects)

    @precondition(lambda self: len(self.flying) < AT_ONCE)
    @rule(effects=VISIT_EFFECTS)
    def begin_visit(self, effects: int) -> None:
        """A visit stalls before one of its effects."""

        def program(remote: Remote) -> None:
            self.world.store(remote).collect(KEEP_ALL)

        flying = InFlight(Actor("visit", self.world.mount, program))
        self.flying.append(flying)
        self.advance(flying, effects)

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, AT_ONCE - 1), effects=st.sampled_from([1, 3, 10, LONG]))
    def go_on(self, which: int, effects: int) -> None:
        """What has stalled goes on for a while, or to its end."""
        self.advance(self.flying[which % len(self.flying)], effects)

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, AT_ONCE - 1))
    def kill(self, which: int) -> None:
        """What has stalled is killed."""
        flying = self.flying.pop(which % len(self.flying))
        flying.actor.kill()
        self.expect_the_same()

    @precondition(lambda self: len(self.flying) < AT_ONCE)
    @rule(
        number=HOSTS,
        effects=st.integers(10, 26),
        days=st.sampled_from([0.0, 1.1, 1.1]),
        taken_out=st.sampled_from(["nothing", "its own", "its own", "another"]),
        before=STALLS,
        after=STAGES,
        beats=st.booleans(),
    )
    def stall_through_visits(
        self,
        number: int,
        effects: int,
        days: float,
        taken_out: str,
        before: tuple[float, ...],
        after: tuple[float, ...],
        beats: bool,
    ) -> None:
        """A save stalls while something it may rely on is removed and collected, and goes on."""
        self.world.time.pass_(days * DAY)
        self.compile(number, PATHS[-1], everywhere=False)
        flying = self.start_save(number)
        self.advance(flying, effects)
        place = ADDRESSES.index(self.world.hosts[number].address)
        if taken_out != "nothing":
            self.remove(ADDRESSES[place if taken_out == "its own" else place - 1])
        for pause in before:
            self.world.time.pass_(pause)
            if beats:
                flying.actor.beat()
            self.visit_now(KEEP_ALL)
        if not flying.actor.is_over:
            self.advance(flying, LONG)
        for pause in after:
            self.visit(pause, KEEP_ALL)
