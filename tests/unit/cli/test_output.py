"""Sizes, times, tables and lines, as terminals and pipes get them."""

from __future__ import annotations

import io
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from b10_transfer.cli import progress_display as display
from b10_transfer.cli.console import Console, wrapped
from b10_transfer.cli.progress_display import busy_display, count_display, progress_display
from b10_transfer.cli.tables import Column, print_table
from b10_transfer.operations.progress import Progress
from b10_transfer.printable import printable
from b10_transfer.units import (
    ago_text,
    count_text,
    date_text,
    short_span_text,
    size_text,
    span_text,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TERMINAL = {"TERM": "xterm", "COLUMNS": "40"}


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Streams:
    console: Console
    out: io.StringIO
    err: io.StringIO


def on_terminal(**variables: str) -> Streams:
    out, err = Screen(), Screen()
    return Streams(Console(out, err, {**TERMINAL, **variables}), out, err)


def on_pipe(encoding: str = "utf-8") -> tuple[Console, io.BytesIO]:
    data = io.BytesIO()
    return Console(io.TextIOWrapper(data, encoding), None, TERMINAL), data


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345, "12.3 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (84_000_000, "84.0 MB"),
        (1_662_084_000, "1.7 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_sizes_have_three_digits_or_so(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (47 * 3600.0, "47 h"),
        (48 * 3600.0, "2 d"),
        (400 * 86400.0, "400 d"),
    ],
)
def test_spans_of_time_have_one_unit(seconds: float, text: str) -> None:
    assert span_text(seconds) == text
    assert short_span_text(seconds) == text.replace("min", "m").replace(" ", "")
    assert ago_text(1000.0, 1000.0 + seconds) == f"{text} ago"


def test_a_time_that_no_calendar_has_is_no_failure() -> None:
    assert date_text(0) == "1970-01-01 00:00 UTC"
    assert date_text(1e30) == "an impossible time"


def test_one_is_singular() -> None:
    assert [count_text(count, "pack") for count in (0, 1, 2)] == ["0 packs", "1 pack", "2 packs"]


COLUMNS = (
    Column("KEY"),
    Column("NAME", least=6, rank=1),
    Column("DEVICE", least=6, rank=2),
    Column("SIZE", right=True),
)
ROWS = [("0123456789ab", "a-name-of-some-length", "NVIDIA H100 80GB", "1.0 MB"), ("9", "b", "", "")]


def shown(width: int | None, rows: Sequence[Sequence[str]] = ROWS) -> list[str]:
    if width is None:
        console, data = on_pipe()
        print_table(console, COLUMNS, rows)
        return data.getvalue().decode().splitlines()
    terminal = on_terminal(COLUMNS=str(width), NO_COLOR="1")
    print_table(terminal.console, COLUMNS, rows)
    return terminal.out.getvalue().splitlines()


def test_a_table_without_a_width_has_everything() -> None:
    assert (
        shown(None)
        == shown(100)
        == [
            "KEY           NAME                   DEVICE              SIZE",
            "0123456789ab  a-name-of-some-length  NVIDIA H100 80GB  1.0 MB",
            "9             b",
        ]
    )


@pytest.mark.parametrize("width", range(1, 70))
def test_no_line_of_a_table_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, shown(width))) <= width


def test_a_table_is_cut_before_it_loses_columns() -> None:
    titles, first, _ = shown(44)
    assert titles.split() == ["KEY", "NAME", "DEVICE", "SIZE"]
    assert first.startswith("0123456789ab  a-name-")
    assert first.endswith("  1.0 MB")
    assert first.count("…") == 2
    assert shown(30)[0].split() == ["KEY", "NAME", "SIZE"]
    assert shown(22)[0].split() == ["KEY", "SIZE"]


def test_a_column_is_no_wider_than_what_is_in_it() -> None:
    assert shown(80, [("1", "b", "c", "1 B")]) == shown(None, [("1", "b", "c", "1 B")])


def test_rows_are_highlighted_on_a_terminal_alone() -> None:
    terminal = on_terminal(COLUMNS="80")
    print_table(terminal.console, COLUMNS, ROWS, highlighted=frozenset({1}), indent="  ")
    lines = terminal.out.getvalue().splitlines()
    assert lines[0].startswith("  \x1b[1mKEY")
    assert ["\x1b[32m" in line for line in lines] == [False, False, True]


def test_a_cell_cannot_move_the_cursor() -> None:
    for width in (None, 80):
        lines = shown(width, [("\x1b[2J", "a\nb", "c\rd", "[red]\u202e")])
        assert lines[1].split() == ["\\x1b[2J", "a\\nb", "c\\rd", "[red]\\u202e"]


def test_on_a_terminal_parts_are_painted_and_elsewhere_not() -> None:
    part = ("good", "green")
    terminal = on_terminal()
    terminal.console.line("all ", part)
    assert terminal.out.getvalue() == "all \x1b[32mgood\x1b[0m\n"
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}):
        plain = on_terminal(**variables)
        plain.console.line("all ", part)
        assert plain.out.getvalue() == "all good\n"
    console, data = on_pipe()
    console.line("all ", part)
    assert data.getvalue() == b"all good\n"


def test_an_empty_no_color_is_none() -> None:
    terminal = on_terminal(NO_COLOR="")
    terminal.console.line(("x", "bold"))
    assert "\x1b[1m" in terminal.out.getvalue()


def test_what_is_in_a_text_is_not_taken_for_paint() -> None:
    terminal = on_terminal()
    terminal.console.line("\x1b[8mhidden", ("\x1b]0;title\x07", "red"))
    assert terminal.out.getvalue() == "\\x1b[8mhidden\x1b[31m\\x1b]0;title\\x07\x1b[0m\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_the_stream_does_not_have_are_spelled_out(encoding: str) -> None:
    console, data = on_pipe(encoding)
    console.line("/folder-\udcff-日")
    text = data.getvalue().decode(encoding)
    assert text.startswith("/folder-\\udcff-")
    assert text.endswith("日\n" if encoding == "utf-8" else "\\u65e5\n")


def test_an_ellipsis_ends_a_cut_text_where_the_stream_has_that_letter() -> None:
    endings = [on_pipe(encoding)[0].cut_cell("").overflow for encoding in ("utf-8", "ascii")]
    assert endings == ["ellipsis", "crop"]


def test_a_paragraph_goes_on_below_its_beginning_on_a_terminal_and_in_one_line_elsewhere() -> None:
    text = "one two three four five six seven eight nine ten"
    terminal = on_terminal()
    terminal.console.paragraph((("!!", "red"), " "), text)
    assert terminal.out.getvalue() == (
        "\x1b[31m!!\x1b[0m one two three four five six seven\n   eight nine ten\n"
    )
    console, data = on_pipe()
    console.paragraph(("!! ",), text)
    assert data.getvalue().decode() == f"!! {text}\n"


def test_a_word_that_is_longer_than_a_line_goes_on_in_the_next() -> None:
    assert wrapped("in " + "x" * 50 + " end", 30) == ["in", "x" * 30, "x" * 20 + " end"]
    assert wrapped("", 30) == [""]
    assert wrapped("two words\x1b", 5) == ["two words\\x1b"]


def test_an_interrupt_is_told_below_what_the_terminal_shows_of_it() -> None:
    terminal = on_terminal()
    terminal.console.note_interrupt()
    assert terminal.err.getvalue() == "\nb10-transfer: interrupted\n"


def test_a_note_says_whose_it_is_and_is_broken_at_words_on_a_terminal() -> None:
    terminal = on_terminal()
    terminal.console.note("the store /a/very-long-folder/of-somebody cannot be read today")
    assert terminal.err.getvalue() == (
        "b10-transfer: the store\n  /a/very-long-folder/of-somebody cannot\n  be read today\n"
    )
    err = io.StringIO()
    Console(None, err, TERMINAL, "b10-compile-cache").note("one line\nand no other " + "x" * 50)
    assert err.getvalue() == f"b10-compile-cache: one line\\nand no other {'x' * 50}\n"


@pytest.mark.parametrize("columns", ["0", "-3", "many", ""])
def test_a_width_that_is_none_is_80(columns: str) -> None:
    assert on_terminal(COLUMNS=columns).console.width == 80
    assert on_pipe()[0].width is None


def test_json_keeps_its_lines() -> None:
    console, data = on_pipe()
    console.json({"a": [1], "b": "\n\x1b"})
    assert data.getvalue() == b'{\n  "a": [\n    1\n  ],\n  "b": "\\n\\u001b"\n}\n'
    console.json({"a": [1]}, in_a_line=True)
    assert data.getvalue().endswith(b'{"a": [1]}\n')


def test_printable_text_is_left_as_it_is() -> None:
    assert printable("añb 日") == "añb 日"


def test_a_question_is_answered_with_yes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, expected in (("y\n", True), ("YES\n", True), ("n\n", False), ("", False)):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        terminal = on_terminal()
        assert terminal.console.ask("Remove it?") is expected
        assert terminal.err.getvalue() == "Remove it? [y/N] "


# Progress.


def wait_for(text: str, streams: Streams) -> None:
    eventually(lambda: text in streams.err.getvalue())


def run_display(streams: Streams, is_enough: Callable[[str], bool]) -> str:
    with progress_display(streams.console, "loading", "looking") as on_progress:
        on_progress(Progress(500_000, 2_000_000))
        eventually(lambda: is_enough(streams.err.getvalue()))
    return streams.err.getvalue()


def test_a_bar_shows_bytes_and_is_taken_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_DRAW_AFTER_SECONDS", 0.0)
    drawn = run_display(on_terminal(COLUMNS="80"), lambda shown: "0.5/2.0 MB" in shown)
    assert "loading" in drawn
    assert drawn.endswith("\x1b[2K")


def test_before_there_are_numbers_it_is_shown_what_is_done_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(display, "_DRAW_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(display, "_LINE_EVERY_SECONDS", 0.05)
    for streams in (on_terminal(COLUMNS="80"), on_terminal(TERM="dumb", COLUMNS="80")):
        with progress_display(streams.console, "saving", "reading what is here"):
            wait_for("saving: reading what is here", streams)


def test_a_quiet_console_shows_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_DRAW_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(display, "_LINE_EVERY_SECONDS", 0.01)
    for streams in (on_terminal(), on_terminal(TERM="dumb")):
        streams.console.is_quiet = True
        with progress_display(streams.console, "loading", "looking") as on_progress:
            on_progress(Progress(500_000, 2_000_000))
            time.sleep(0.1)
        assert streams.err.getvalue() == ""


def test_what_is_done_at_once_draws_nothing() -> None:
    assert run_display(on_terminal(), lambda _: True) == ""


def test_where_nothing_can_be_drawn_a_line_is_printed_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(display, "_LINE_EVERY_SECONDS", 0.05)
    dumb = on_terminal(TERM="dumb", COLUMNS="100")
    form = r"b10-transfer: loading: 500 kB of 2.0 MB \(.*/s, about \d+ (ms|s|min).* left\)"
    for line in run_display(dumb, lambda shown: shown.count("\n") > 1).splitlines():
        assert re.fullmatch(form, line), line


def test_of_what_has_no_end_the_bytes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_LINE_EVERY_SECONDS", 0.05)
    streams = on_terminal(TERM="dumb")
    with count_display(streams.console, "verifying") as on_progress:
        on_progress(1_000_000)
        on_progress(500_000)
        wait_for("b10-transfer: verifying: 1.5 MB (", streams)


def test_what_takes_long_shows_that_it_is_at_work_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(display, "_DRAW_AFTER_SECONDS", 0.0)
    streams = on_terminal()
    with busy_display(streams.console, "reading the store"):
        wait_for("reading the store", streams)
    streams = on_terminal(TERM="dumb")
    with busy_display(streams.console, "reading the store"):
        time.sleep(0.1)
    assert streams.err.getvalue() == ""


def test_without_standard_error_nothing_is_shown() -> None:
    with progress_display(Console(None, None, {}), "loading", "looking") as on_progress:
        on_progress(Progress(1, 2))


def test_a_stream_whose_reader_went_away_is_left_alone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        console = Console(stream, stream, {})
        for _ in range(3):
            console.line("text")
            console.note("text")
