"""Tables: complete in a pipe; on a terminal cut to its width, if need be with fewer columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_transfer.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from b10_transfer.cli.console import Console

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: the heading.
        right: whether it is aligned to the right, as numbers are.
        least: the fewest characters that it may be cut to; 0: never cut.
        rank: when there is too little room, the columns of the highest rank are left out first;
            rank 0 always stays.
    """

    title: str
    right: bool = False
    least: int = 0
    rank: int = 0


def print_table(
    console: Console,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    highlighted: frozenset[int] = frozenset(),
    indent: str = "",
) -> None:
    """Write a table to standard output.

    Args:
        console: where to.
        columns: the columns.
        rows: each row has a text for each column.
        highlighted: the indices of the rows to show in green.
        indent: the beginning of each line.
    """
    titles = [column.title for column in columns]
    texts = [titles, *([printable(text) for text in row] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*texts, strict=True)]
    if console.width is not None:
        narrowest = [
            min(width, max(column.least, len(column.title))) if column.least else width
            for column, width in zip(columns, widths, strict=True)
        ]
        kept = _fitting(columns, narrowest, console.width - len(indent))
        table = _rich_table(
            [columns[place] for place in kept], [narrowest[place] for place in kept]
        )
        for number, row in enumerate(texts[1:]):
            drawn = [console.cut_cell(row[place]) for place in kept]
            table.add_row(*drawn, style="green" if number in highlighted else None)
        console.draw(table, indent)
        return
    for row in texts:
        cells = [
            text.rjust(width) if column.right else text.ljust(width)
            for column, text, width in zip(columns, row, widths, strict=True)
        ]
        console.line(indent + _GAP.join(cells).rstrip())


def _fitting(columns: Sequence[Column], narrowest: Sequence[int], width: int) -> list[int]:
    """Choose the columns that fit, each at its smallest width."""
    kept = list(range(len(columns)))
    while sum(narrowest[place] + len(_GAP) for place in kept) - len(_GAP) > width:
        last = max(kept, key=lambda place: columns[place].rank)
        if not columns[last].rank:
            break
        kept.remove(last)
    return kept


def _rich_table(columns: Sequence[Column], narrowest: Sequence[int]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for column, width in zip(columns, narrowest, strict=True):
        table.add_column(
            Text(column.title),
            justify="right" if column.right else "left",
            min_width=width if column.least else None,
            no_wrap=not column.least,
        )
    return table
