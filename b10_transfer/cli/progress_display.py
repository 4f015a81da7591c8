"""How far a long operation is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from b10_transfer.units import size_text, span_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from b10_transfer.cli.console import Console
    from b10_transfer.operations.progress import Progress

READING_STORE = "looking at what is stored"

_BAR_AFTER_SECONDS = 0.4
"""What is done sooner needs no bar, and spares itself the import of what draws it."""

_BUSY_AFTER_SECONDS = 1.0

_LINE_EVERY_SECONDS = 10.0
_DRAW_EVERY_SECONDS = 0.1
_NARROWEST = 20
_INTERRUPT_WIDTH = len("^C")


@contextlib.contextmanager
def progress_display(
    console: Console, what: str, first: str
) -> Generator[Callable[[Progress], None]]:
    """Show how far the block is.

    Args:
        console: where to; standard error is drawn on.
        what: is being done, in a word: "loading".
        first: what is done before there is anything to tell of that.

    Yields:
        What the operation has to tell, from any thread.
    """
    display = _Display(console, what)
    display.begin(first)
    try:
        yield display.tell
    finally:
        display.end()


@contextlib.contextmanager
def count_display(console: Console, what: str) -> Generator[Callable[[int], None]]:
    """Likewise, where nobody knows how much there is: yields what takes the bytes done since."""
    display = _Display(console, what)
    try:
        yield display.add
    finally:
        display.end()


@contextlib.contextmanager
def busy_display(console: Console, what: str) -> Generator[None]:
    """Show on a terminal that the block is at work, of which nobody knows how far it is."""
    ended = threading.Event()

    def show() -> None:
        if not ended.wait(_BUSY_AFTER_SECONDS):
            from rich.console import Console as RichConsole

            with RichConsole(file=console.err).status(what):
                ended.wait()

    if not console.can_draw:
        yield
        return
    thread = threading.Thread(target=show, name="b10-display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Display:
    """A thread that looks at two numbers: whoever tells them is never kept waiting."""

    def __init__(self, console: Console, what: str) -> None:
        self._console = console
        self._what = what
        self._first = ""
        self._lock = threading.Lock()
        self._done = 0
        self._total: int | None = None
        self._started = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, first: str) -> None:
        """Show what is done first, until there are numbers."""
        self._first = first
        self._start()

    def end(self) -> None:
        """Take away what is drawn."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def tell(self, progress: Progress) -> None:
        """Note how far it is."""
        with self._lock:
            self._done, self._total = progress.done, progress.total
            self._started = self._started or time.monotonic()
        self._start()

    def add(self, count: int) -> None:
        """Note that so much more is done."""
        with self._lock:
            self._done += count
            self._started = self._started or time.monotonic()
        self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._console.err is None or self._console.is_quiet:
                return
            self._thread = threading.Thread(target=self._show, name="b10-display", daemon=True)
            self._thread.start()

    def _show(self) -> None:
        if self._console.can_draw:
            if not self._ended.wait(_BAR_AFTER_SECONDS):
                self._draw()
            return
        while not self._ended.wait(_LINE_EVERY_SECONDS):
            self._console.note(self._line())

    def _line(self) -> str:
        if not self._started:
            return f"{self._what}: {self._first}"
        of_total = "" if self._total is None else f" of {size_text(self._total)}"
        rate = self._done / (time.monotonic() - self._started)
        line = f"{self._what}: {size_text(self._done)}{of_total} ({size_text(int(rate))}/s"
        if self._total is not None and rate > 0:
            line += f", about {span_text((self._total - self._done) / rate)} left"
        return line + ")"

    def _draw(self) -> None:
        from rich import progress as bars
        from rich.console import Console as RichConsole

        # One that fills the line would be pushed into the next by the ^C of an interrupt.
        drawn = RichConsole(file=self._console.err)
        drawn.width = max(_NARROWEST, drawn.width - _INTERRUPT_WIDTH)
        with bars.Progress(
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description}"),
            console=drawn,
            transient=True,
        ) as spinner:
            spinner.add_task(f"{self._what}: {self._first}", total=None)
            while not self._started and not self._ended.wait(_DRAW_EVERY_SECONDS):
                pass
        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(bar_width=None),
            bars.DownloadColumn(),
            bars.TransferSpeedColumn(),
            bars.TimeRemainingColumn(compact=True),
        )
        with bars.Progress(*columns, console=drawn, transient=True, expand=True) as shown:
            task = shown.add_task(self._what, total=self._total)
            while not self._ended.wait(_DRAW_EVERY_SECONDS):
                shown.update(task, completed=self._done, total=self._total)
            shown.update(task, completed=self._done, total=self._total)
