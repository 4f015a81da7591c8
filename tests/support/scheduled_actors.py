"""Programs that share a store and go on one effect at a time, in an order that a seed decides."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from tests.support.wrapped_remote import Call, WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from b10_store.remote.protocol import Remote, Token

_SECONDS = 300.0


class Killed(BaseException):
    """The program was killed: nothing that it still does has an effect."""


class Actor(WrappedRemote):
    """A program in a thread of its own, and the remote that it sees the store through.

    Before each effect it stops until it is let go. It must do everything in one thread.
    """

    def __init__(
        self, name: str, inner: Remote, program: Callable[[Remote], None], *, hurry: float = 0.0
    ) -> None:
        """Do not begin yet.

        Args:
            name: for messages.
            inner: the store.
            program: what to do.
            hurry: 0 to 1, how probably it goes before others.
        """
        super().__init__(inner)
        self.name = name
        self.hurry = hurry
        self.trace: list[str] = []
        self.error: BaseException | None = None
        self.is_over = False
        self.tokens: list[Token] = []
        self._program = program
        self._is_killed = False
        self._goes_on: Callable[[Actor], bool] = lambda _: False
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def step(self, goes_on: Callable[[Actor], bool] = lambda _: False) -> None:
        """Let it go on to its next effect, and on while `goes_on` says so, or to its end."""
        self._goes_on = goes_on
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
        if not (self._is_killed or self._goes_on(self)):
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
    """Who goes on next: the most urgent that does not stall."""

    def __init__(self, actors: Sequence[Actor], seed: int) -> None:
        """One of very many orders."""
        draw = random.Random(seed)
        self._urgency = {actor: draw.random() + actor.hurry for actor in actors}
        self._stalls = {
            actor: {
                draw.randrange(draw.choice([20, 20, 40, 200])): draw.choice([5, 50, 200, 1000])
                for _ in range(draw.randint(0, 2))
            }
            for actor in actors
        }
        self._until: dict[Actor, int] = {}
        self._steps = 0

    def choose(self, actors: Sequence[Actor]) -> Actor:
        """One of those that are not over; when all of them stall, none does."""
        self._steps += 1
        for actor in actors:
            stall = self._stalls[actor].pop(len(actor.trace), 0)
            if stall:
                self._until[actor] = self._steps + stall
        awake = [actor for actor in actors if self._until.get(actor, 0) <= self._steps]
        return max(awake or actors, key=lambda actor: self._urgency[actor])


class Together:
    """Actors on their way to their ends, in an order that a seed decides."""

    def __init__(
        self, actors: Sequence[Actor], seed: int, *, deaths: float, look: Callable[[], None]
    ) -> None:
        """Let nobody go yet.

        Args:
            actors: who have not begun.
            seed: decides.
            deaths: probability that one of them is killed on the way.
            look: called after each step; what it raises ends all of them.
        """
        draw = random.Random(f"deaths {seed}")
        self._actors = actors
        self._schedule = Schedule(actors, seed)
        self._victim = draw.choice(actors) if draw.random() < deaths else None
        self._last_step = draw.randrange(60)
        self._look = look
        self._chosen = actors[0]
        self._error: BaseException | None = None

    def run(self) -> None:
        """Until all are over.

        Raises:
            Exception: what `look` raised.
        """
        try:
            self._choose()
            while self._error is None and not all(actor.is_over for actor in self._actors):
                actor = self._chosen
                if actor is self._victim and len(actor.trace) > self._last_step:
                    actor.kill()
                else:
                    actor.step(self._goes_on)
                if actor.is_over:
                    self._choose()
        finally:
            for actor in self._actors:
                if not actor.is_over:
                    actor.kill()
        if self._error is not None:
            raise self._error

    def _goes_on(self, actor: Actor) -> bool:
        """Asked by an actor in its own thread, while all others wait: is it its turn again?"""
        self._choose()
        if self._error is not None or self._chosen is not actor:
            return False
        return not (actor is self._victim and len(actor.trace) > self._last_step)

    def _choose(self) -> None:
        try:
            self._look()
        except BaseException as error:  # noqa: BLE001  # raised by `run`, in the test's own thread
            self._error = error
        alive = [actor for actor in self._actors if not actor.is_over]
        if alive:
            self._chosen = self._schedule.choose(alive)
