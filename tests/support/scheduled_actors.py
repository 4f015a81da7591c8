"""Programs that share a store and go on one effect at a time, in an order that a seed decides."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from tests.support.wrapped_remote import Call, WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from b10_store.remote import Remote, Token

_SECONDS = 60.0


class Killed(BaseException):
    """The program was killed: nothing that it still does has an effect."""


class Actor(WrappedRemote):
    """A program in a thread of its own, and the remote that it sees the store through.

    Before each effect it stops until it is let go. It must do everything in one thread.
    """

    def __init__(self, name: str, inner: Remote, program: Callable[[Remote], None]) -> None:
        """Do not begin yet.

        Args:
            name: for messages.
            inner: the store.
            program: what to do.
        """
        super().__init__(inner)
        self.name = name
        self.trace: list[str] = []
        self.error: BaseException | None = None
        self.is_over = False
        self.tokens: list[Token] = []
        self._program = program
        self._is_killed = False
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Let it go on to its next effect, or to its end."""
        self._go.release()
        assert self._stopped.acquire(timeout=_SECONDS), f"{self.name} hangs: {self.trace[-3:]}"

    def kill(self) -> None:
        """End it where it is."""
        self._is_killed = True
        self.step()
        assert self.is_over

    def beat(self) -> None:
        """Show a sign of life, as a heartbeat does."""
        for token in self.tokens:
            token.touch()

    def before(self, call: Call) -> None:
        """See `WrappedRemote.before`."""
        self._stop()
        self.trace.append(f"{self.name}: {call.effect} {call.name}")

    def open_token(self, name: str) -> Token:
        """See `Remote.open_token`."""
        return _ActorToken(self, super().open_token(name))

    def _stop(self) -> None:
        if not self._is_killed:
            self._stopped.release()
            self._go.acquire()
        if self._is_killed:
            raise Killed

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._is_killed:
                self._program(self)
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  # shown by the test's own thread
            self.error = error
        self.is_over = True
        self._stopped.release()


class _ActorToken:
    """A token of an actor."""

    def __init__(self, actor: Actor, inner: Token) -> None:
        self._actor = actor
        self._inner = inner
        actor.tokens.append(inner)

    def write(self, chunks: Iterable[bytes]) -> None:
        self._actor.before(Call("write", "its token"))
        self._end()
        self._inner.write(chunks)

    def touch(self) -> None:
        self._actor.before(Call("touch", "its token"))
        self._inner.touch()

    def close(self) -> None:
        self._actor.before(Call("close", "its token"))
        self._end()
        self._inner.close()

    def _end(self) -> None:
        # The heartbeat ends before the manifest is written.
        if self._inner in self._actor.tokens:
            self._actor.tokens.remove(self._inner)


class Schedule:
    """Who goes on next: mostly the same one for long, so that others stall for long."""

    def __init__(self, seed: int) -> None:
        """One of very many orders."""
        self._draw = random.Random(seed)
        self._urgency: dict[Actor, float] = {}
        self._mean = self._draw.choice([1, 3, 10, 30, 100])
        self._left = 0

    def choose(self, actors: Sequence[Actor]) -> Actor:
        """The most urgent; how urgent each is changes now and then."""
        for actor in actors:
            self._urgency.setdefault(actor, self._draw.random())
        self._left -= 1
        if self._left < 0:
            self._left = round(self._draw.expovariate(1 / self._mean))
            self._urgency[self._draw.choice(actors)] = self._draw.choice([-1, 1]) + (
                self._draw.random()
            )
        return max(actors, key=lambda actor: self._urgency[actor])


def run_together(
    actors: Sequence[Actor],
    seed: int,
    *,
    deaths: float,
    look: Callable[[Actor], None],
) -> None:
    """Run actors to their ends, in an order that a seed decides.

    Args:
        actors: who have not begun.
        seed: decides.
        deaths: probability that one of them is killed on the way.
        look: called after each step; what it raises ends all of them.
    """
    draw = random.Random(f"deaths {seed}")
    schedule = Schedule(seed)
    victim = draw.choice(actors) if draw.random() < deaths else None
    left = draw.randrange(60)
    try:
        while alive := [actor for actor in actors if not actor.is_over]:
            actor = schedule.choose(alive)
            left -= actor is victim
            if actor is victim and left < 0:
                actor.kill()
            else:
                actor.step()
            look(actor)
    finally:
        for actor in actors:
            if not actor.is_over:
                actor.kill()
