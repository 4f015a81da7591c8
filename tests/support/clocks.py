"""Time that passes only when somebody sleeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SleepingClock:
    """Takes the place of the module `time`, and of the clock of a store's filesystem."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        """Start at some time in seconds since the epoch."""
        self.started = start
        self.seconds = start
        self._events: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Let something happen when that much time has passed since the start."""
        self._events.append((self.started + seconds, event))
        self._events.sort(key=lambda item: item[0])

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.seconds

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        self.seconds += seconds
        while self._events and self._events[0][0] <= self.seconds:
            self._events.pop(0)[1]()

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return self.seconds - self.started


class TickingClock(SleepingClock):
    """Goes on by a few milliseconds each time a store's filesystem is asked, as real ones do."""

    def time(self) -> float:
        """Seconds since the epoch."""
        self.seconds += 0.004
        return self.seconds
