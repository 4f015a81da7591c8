"""The progress of a long operation: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from b10_transfer.units import size_text, span_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.progress import Progress as Bars

    from b10_transfer.cli.console import Console
    from b10_transfer.operations.progress import Progress

READING_STORE = "looking into the store"

_DRAW_AFTER_SECONDS = 0.4
"""An operation that ends sooner needs no bar, nor the import of what draws one."""

_LINE_EVERY_SECONDS = 10.0
_DRAW_EVERY_SECONDS = 0.1


@contextlib.contextmanager
def progress_display(
    console: Console, what: str, first: str
) -> Generator[Callable[[Progress], None]]:
    """Show the progress of the block.

    Args:
        console: where to write; the bar is drawn on standard error.
        what: a word for what is being done: "loading".
        first: a text to show before there is any progress.

    Yields:
        The function that the operation calls, from any thread.
    """
    state = _State(what, first)
    with _showing(console, state, _draw_bar):
        yield lambda progress: state.tell(progress.done, progress.total)


@contextlib.contextmanager
def count_display(console: Console, what: str) -> Generator[Callable[[int], None]]:
    """Show the progress when the total is unknown: yields a function that adds bytes done."""
    state = _State(what, "reading")
    with _showing(console, state, _draw_bar):
        yield lambda count: state.tell(state.done + count, None)


@contextlib.contextmanager
def busy_display(console: Console, what: str) -> Generator[None]:
    """Show on a terminal that the block is at work, when its progress is unknown."""
    if not console.can_draw:
        yield
        return
    with _showing(console, _State(what, ""), _draw_spinner):
        yield


class _State:
    """The progress so far; reporting it never blocks."""

    def __init__(self, what: str, first: str) -> None:
        self.what = what
        self.first = first
        self.done = 0
        self.total: int | None = None
        self.began = 0.0

    def tell(self, done: int, total: int | None) -> None:
        self.done, self.total = done, total
        self.began = self.began or time.monotonic()

    @property
    def title(self) -> str:
        return self.what if self.began else f"{self.what}: {self.first}"

    @property
    def line(self) -> str:
        if not self.began:
            return self.title
        of_total = "" if self.total is None else f" of {size_text(self.total)}"
        rate = self.done / (time.monotonic() - self.began)
        line = f"{self.what}: {size_text(self.done)}{of_total} ({size_text(int(rate))}/s"
        if self.total is not None and rate > 0:
            line += f", about {span_text((self.total - self.done) / rate)} left"
        return line + ")"


@contextlib.contextmanager
def _showing(
    console: Console, state: _State, draw: Callable[[Console, _State, threading.Event], None]
) -> Generator[None]:
    """Show a state on a thread of its own while the block runs."""

    def show() -> None:
        if console.can_draw:
            if not ended.wait(_DRAW_AFTER_SECONDS):
                draw(console, state, ended)
            return
        while not ended.wait(_LINE_EVERY_SECONDS):
            console.note(state.line)

    if console.err is None or console.is_quiet:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=show, name="b10-display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _draw_spinner(console: Console, state: _State, ended: threading.Event) -> None:
    with console.drawn_on_err().status(state.what):
        ended.wait()


def _draw_bar(console: Console, state: _State, ended: threading.Event) -> None:
    with _bars(console) as bars:
        task = bars.add_task(state.title, total=None)
        is_over = False
        while not is_over:
            is_over = ended.wait(_DRAW_EVERY_SECONDS)
            bars.update(task, description=state.title, completed=state.done, total=state.total)


def _bars(console: Console) -> Bars:
    from rich import progress as rich_progress

    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(bar_width=None),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(compact=True),
        console=console.drawn_on_err(),
        transient=True,
        expand=True,
    )
