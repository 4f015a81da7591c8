"""Tables that fit the terminal: cut where that does little harm, then with fewer columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_transfer.cli.console import Painted, Part, Style
from b10_transfer.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: its first line.
        right: whether it is aligned to the right, as numbers are.
        least: characters that it may be cut down to; 0: never cut.
        rank: which columns are left out first where there is too little room: the highest. Rank 0
            stays.
    """

    title: str
    right: bool = False
    least: int = 0
    rank: int = 0


def table_lines(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int | None,
    *,
    ellipsis: str = "…",
    highlighted: frozenset[int] = frozenset(),
) -> list[tuple[Part, ...]]:
    """A table as lines, the titles first.

    Args:
        columns: the columns.
        rows: a text for each column.
        width: of the terminal; None for as wide as it gets.
        ellipsis: ends a text that was cut.
        highlighted: numbers of the rows to show in green.
    """
    texts = [[printable(text) for text in row] for row in rows]
    kept = list(range(len(columns)))
    widths = {
        place: max(len(columns[place].title), *(len(row[place]) for row in texts), 0)
        for place in kept
    }
    if width is not None:
        kept = _fit(columns, widths, width)
    lines: list[tuple[Part, ...]] = []
    titles = [column.title for column in columns]
    for number, row in enumerate([titles, *texts]):
        cells = [_cell(columns[place], row[place], widths[place], ellipsis) for place in kept]
        line = _GAP.join(cells).rstrip()
        if width is not None and len(line) > width:
            line = line[: max(0, width - len(ellipsis))] + ellipsis
        if number == 0:
            lines.append((Painted(line, Style.BOLD),))
        elif number - 1 in highlighted:
            lines.append((Painted(line, Style.GREEN),))
        else:
            lines.append((line,))
    return lines


def _fit(columns: Sequence[Column], widths: dict[int, int], width: int) -> list[int]:
    """Narrow `widths`, and choose the columns that fit."""
    kept = list(range(len(columns)))
    while True:
        excess = sum(widths[place] for place in kept) + len(_GAP) * (len(kept) - 1) - width
        if excess <= 0:
            return kept
        spare = {
            place: widths[place] - max(columns[place].least, len(columns[place].title))
            for place in kept
            if columns[place].least
        }
        if excess <= sum(spare.values()):
            _narrow(widths, spare, excess)
            return kept
        last = max(kept, key=lambda place: columns[place].rank)
        if not columns[last].rank:
            _narrow(widths, spare, sum(spare.values()))
            return kept
        kept.remove(last)


def _narrow(widths: dict[int, int], spare: dict[int, int], excess: int) -> None:
    """Take `excess` from the columns that can spare it, from the widest first."""
    for _ in range(excess):
        able = [place for place, left in spare.items() if left > 0]
        widest = max(able, key=lambda place: widths[place])
        widths[widest] -= 1
        spare[widest] -= 1


def _cell(column: Column, text: str, width: int, ellipsis: str) -> str:
    if len(text) > width:
        text = text[: max(0, width - len(ellipsis))].rstrip() + ellipsis
    return text.rjust(width) if column.right else text.ljust(width)
