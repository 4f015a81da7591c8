"""The output of a command: lines, JSON and notes, to terminals, pipes and closed streams."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import io
import json
import os
import sys
from typing import TYPE_CHECKING

from b10_transfer.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

PROGRAM = "b10-transfer"

_NARROWEST = 20
_USUAL_WIDTH = 80
_INTERRUPT_WIDTH = len("^C")
_BELOW = "  "


Part = str | tuple[str, str]
"""A piece of a line: its text, or the text and its style, as rich names it."""


class Console:
    """Standard output for results, standard error for notes.

    A reader that goes away, or a stream that was closed from the start, is no failure: the rest of
    the output is dropped, and the exit code still says what the command did.
    """

    def __init__(
        self,
        out: TextIO | None,
        err: TextIO | None,
        variables: Mapping[str, str],
        program: str = PROGRAM,
    ) -> None:
        """Write to two streams.

        Args:
            out: standard output; None when it is closed.
            err: standard error; None when it is closed.
            variables: the environment variables; NO_COLOR, TERM and COLUMNS are read.
            program: the name that begins the notes.
        """
        self._out = out
        self._err = err
        self._variables = variables
        self._program = program
        self.is_quiet = False
        """Whether no progress is shown."""

    @classmethod
    def of_process(cls, program: str = PROGRAM) -> Console:
        """Return the console of this process."""
        return cls(sys.stdout, sys.stderr, os.environ, program)

    @property
    def width(self) -> int | None:
        """The columns of the terminal on standard output; None when it is not a terminal."""
        return self._width_of(self._out)

    @property
    def can_draw(self) -> bool:
        """Whether standard error is a terminal that can redraw lines."""
        return (
            not self.is_quiet
            and _is_terminal(self._err)
            and self._variables.get("TERM", "") not in {"", "dumb"}
        )

    @property
    def err(self) -> TextIO | None:
        """Standard error, for what draws there."""
        return self._err

    def cut_cell(self, text: str) -> Text:
        """Return a cell of a rich table; a cut ends in an ellipsis if the stream can encode one."""
        from rich.text import Text

        try:
            "…".encode((self._out and self._out.encoding) or "ascii")
        except UnicodeError:
            return Text(text, no_wrap=True, overflow="crop")
        return Text(text, no_wrap=True, overflow="ellipsis")

    def drawn_on_err(self) -> RichConsole:
        """Return standard error as a console of rich."""
        from rich.console import Console as RichConsole

        drawn = RichConsole(file=self._err)
        # A bar as wide as the line would be pushed to the next line by the ^C of an interrupt.
        drawn.width = max(_NARROWEST, drawn.width - _INTERRUPT_WIDTH)
        return drawn

    def line(self, *parts: Part) -> None:
        """Write a line to standard output."""
        self._out = self._write(self._out, self._shown(self._out, parts))

    def text(self, text: str) -> None:
        """Write lines to standard output as they are."""
        for line in text.split("\n"):
            self.line(line)

    def explain(self, text: str) -> None:
        """Write lines to standard error as they are."""
        for line in text.split("\n"):
            self._complain(line)

    def paragraph(self, first: tuple[Part, ...], text: str) -> None:
        """Write a text beside `first`; on a terminal its further lines are aligned below."""
        indent = sum(len(part if isinstance(part, str) else part[0]) for part in first)
        lines = [text] if self.width is None else wrapped(text, self.width - indent)
        for number, line in enumerate(lines):
            self.line(*(first if number == 0 else (" " * indent,)), line)

    def draw(self, table: Table, indent: str = "") -> None:
        """Write a table of rich to a terminal, at the terminal's width."""
        from rich.console import Console as RichConsole

        drawn = RichConsole(
            file=io.StringIO(),
            width=max(1, (self.width or _USUAL_WIDTH) - len(indent)),
            color_system="standard" if self._paints(self._out) else None,
            force_terminal=True,
            legacy_windows=False,
            no_color=False,
        )
        with drawn.capture() as captured:
            drawn.print(table)
        for line in captured.get().splitlines():
            self._out = self._write(self._out, indent + line.rstrip())

    def json(self, value: object, *, in_a_line: bool = False) -> None:
        """Write a value to standard output as one JSON document."""
        indent = None if in_a_line else 2
        self.text(json.dumps(value, indent=indent, default=_plain))

    def note(self, text: str) -> None:
        """Write a note of the program to standard error; on a terminal it is wrapped at words."""
        line = f"{self._program}: {text}"
        width = self._width_of(self._err)
        first, *others = [line] if width is None else wrapped(line, width - len(_BELOW))
        self._complain(first)
        for part in others:
            self._complain(_BELOW + part)

    def note_interrupt(self) -> None:
        """Write to standard error that the user interrupted it, below the terminal's `^C`."""
        if _is_terminal(self._err):
            self._complain("")
        self.note("interrupted")

    def ask(self, question: str) -> bool:
        """Ask on the terminal; any answer but yes counts as no."""
        if self._err is None:
            return False
        self._err.write(f"{printable(question)} [y/N] ")
        self._err.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def _complain(self, text: str) -> None:
        """Write to standard error; a failure is ignored, since there is nowhere to report it."""
        try:
            self._err = self._write(self._err, printable(text))
        except OSError:
            self._err = None

    def _shown(self, stream: TextIO | None, parts: tuple[Part, ...]) -> str:
        paints = self._paints(stream)
        return "".join(
            printable(part) if isinstance(part, str) else _painted(*part, paints=paints)
            for part in parts
        )

    def _write(self, stream: TextIO | None, text: str) -> TextIO | None:
        """Write a line; return the stream, or None when nobody reads it any more."""
        if stream is None:
            return None
        # A folder may have any name, and a terminal cannot encode every letter.
        encoding = stream.encoding or "utf-8"
        try:
            stream.write((text + "\n").encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except OSError as error:
            _forget(stream)
            if not isinstance(error, BrokenPipeError):
                raise
            return None
        return stream

    def _paints(self, stream: TextIO | None) -> bool:
        variables = self._variables
        return (
            _is_terminal(stream)
            and not variables.get("NO_COLOR")
            and variables.get("TERM", "") not in {"", "dumb"}
        )

    def _width_of(self, stream: TextIO | None) -> int | None:
        if stream is None or not _is_terminal(stream):
            return None
        with contextlib.suppress(ValueError):
            columns = int(self._variables.get("COLUMNS", ""))
            if columns > 0:
                return columns
        with contextlib.suppress(OSError):
            return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
        return _USUAL_WIDTH


def wrapped(text: str, room: int) -> list[str]:
    """Break a text into lines of a terminal."""
    room, text = max(_NARROWEST, room), printable(text)
    if len(text) <= room and text.isascii():
        return [text]
    from rich.console import Console as RichConsole
    from rich.text import Text

    return [line.plain.rstrip() for line in Text(text).wrap(RichConsole(), room)]


def _painted(text: str, style: str, *, paints: bool) -> str:
    text = printable(text)
    if not paints:
        return text
    from rich.style import Style

    return Style.parse(style).render(text)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False  # closed


def _forget(stream: TextIO) -> None:
    """Drop the buffered text, which would fail again when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    return value.name.lower() if isinstance(value, enum.Enum) else str(value)
