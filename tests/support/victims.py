"""What processes that are to be killed do: compile and save, or load and clear, without end."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any, Protocol

from tests.support.crash_world import clear, load, save
from tests.support.trees import Artifacts, compiled, put_artifacts

if TYPE_CHECKING:
    from tests.support.sites import Host

READY = -1
"""Sent once a victim has begun."""

STEPS = 60
"""How many times a saver compiles something new; then it goes on to save what is there."""


class Sending(Protocol):
    """The end of a pipe that a victim writes to."""

    def send(self, obj: Any, /) -> None:
        """Send a value, at once."""
        ...


class Receiving(Protocol):
    """The other end."""

    def poll(self) -> bool:
        """Whether there is something to receive."""
        ...

    def recv(self) -> Any:
        """A value; EOFError when there will be none any more."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


_PARTS = (".py", ".so"), ("fxgraph",), ("triton/",)


def made_in(saver: str, step: int) -> Artifacts:
    """What a saver compiles in one step."""
    parts = _PARTS[step % len(_PARTS)]
    return {
        name: artifact
        for name, artifact in compiled(f"{saver} {step}").items()
        if any(part in name for part in parts)
    }


def save_without_end(host: Host, name: str, first_step: int, news: Sending) -> None:
    """Compile and save; send the number of each step that was acknowledged."""
    settings = host.settings()
    news.send(READY)
    for step in itertools.count(first_step):
        if step < STEPS:
            put_artifacts(host, made_in(name, step))
        report = save(settings)
        assert (report.left_out, report.problems) == (0, ())
        news.send(step)


def load_and_clear_without_end(host: Host, seed: str, news: Sending) -> None:
    """Load, and clear now and then."""
    settings = host.settings()
    draw = random.Random(seed)
    news.send(READY)
    while True:
        load(settings)
        if draw.random() < 0.5:
            clear(settings)
