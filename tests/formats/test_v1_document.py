"""docs/format.md says what the golden files and the code say."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.formats.make_v1 import CANONICAL_GROUP
from tests.support.databases import read_database
from tests.support.format_views import view_sealed

CHECKOUT = Path(__file__).resolve().parents[2]
STORE = Path(__file__).parent / "v1" / "store"
TEXT = (CHECKOUT / "docs" / "format.md").read_text(encoding="utf-8")

# A line of an example: offset, bytes, and what they are.
_EXAMPLE_LINE = re.compile(r" *([0-9]+)  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  .*)?")


class Example(NamedTuple):
    """A block of bytes in the document."""

    source: str
    lines: list[tuple[int, bytes]]


def examples() -> list[Example]:
    found: list[Example] = []
    for source, body in re.findall(r"```hex (\S+)\n(.*?)```", TEXT, re.DOTALL):
        lines: list[tuple[int, bytes]] = []
        for line in body.splitlines():
            match = _EXAMPLE_LINE.fullmatch(line)
            assert match is not None, line
            lines.append((int(match[1]), bytes.fromhex(match[2])))
        found.append(Example(source, lines))
    return found


def golden_bytes(source: str) -> bytes:
    """The golden file that an example is of, or one row of a manifest's table."""
    name, _, row = source.partition("#")
    data = (STORE / name).read_bytes()
    if not row:
        return data
    table, _, number = row.partition("/")
    return list(read_database(view_sealed(data)[1])[table].values())[int(number)]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.source[-20:])
def test_an_example_is_what_the_golden_file_holds(example: Example) -> None:
    data = golden_bytes(example.source)
    for offset, content in example.lines:
        assert data[offset : offset + len(content)] == content


def test_every_kind_of_file_and_row_has_an_example() -> None:
    sources = " ".join(example.source for example in examples())
    for kind in ("FORMAT", ".pack", ".manifest", "#packs/", "#frames/", "#artifacts/"):
        assert kind in sources


def offset_tables() -> list[list[tuple[int, int, str]]]:
    """The tables of offset, size and field that have numbers alone."""
    tables: list[list[tuple[int, int, str]]] = []
    for body in re.findall(
        r"\| offset \| size \| field \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", TEXT
    ):
        rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in body.splitlines()]
        if all(offset.isdigit() and size.isdigit() for offset, size, _ in rows):
            tables.append([(int(offset), int(size), field) for offset, size, field in rows])
    return tables


def test_fields_lie_one_behind_the_other() -> None:
    tables = offset_tables()
    assert len(tables) == 5
    for table in tables:
        ends = [0, *(offset + size for offset, size, _ in table)]
        assert [offset for offset, _, _ in table] == ends[:-1]
    lengths = [sum(size for _, size, _ in table) for table in tables]
    assert lengths == [8, 48, 216, 40, 79]


def test_the_fields_of_the_footer_add_up() -> None:
    body = TEXT.partition("With *n* frames and *m* blobs:")[2].partition("A row of the frame")[0]
    rows = re.findall(r"^\| ([0-9][^|]*) \| ([0-9][^|]*) \|", body, re.MULTILINE)
    assert len(rows) == 9
    for n, m in ((0, 0), (1, 6), (3, 6), (7, 1)):
        numbers = [[evaluate(cell, n, m) for cell in row] for row in rows]
        ends = [0, *(offset + size for offset, size in numbers)]
        assert [offset for offset, _ in numbers] == ends[:-1]
        assert ends[-1] == 60 + 8 * n + 48 * m


def evaluate(formula: str, n: int, m: int) -> int:
    """The value of a sum like `16 + 8n + 48m`."""
    total = 0
    for term in formula.split("+"):
        match = re.fullmatch(r"\s*([0-9]+)([nm]?)\s*", term)
        assert match is not None, formula
        total += int(match[1]) * {"": 1, "n": n, "m": m}[match[2]]
    return total


def test_the_limits_are_those_of_the_code() -> None:
    limits = re.findall(r"^\| [^|]+ \| ([0-9]+) \| `([\w.]+)\.(\w+)` \|$", TEXT, re.MULTILINE)
    assert len(limits) == 8
    for value, module, name in limits:
        found = importlib.import_module(f"b10_store.{module}")
        assert getattr(found, name) == int(value), f"{module}.{name}"


def test_the_canonical_form_in_the_document_is_that_of_the_golden_group() -> None:
    assert CANONICAL_GROUP.decode() in TEXT


def test_the_document_names_this_version() -> None:
    layout = importlib.import_module("b10_store.format.names")
    assert f"# The format of a store, version {layout.FORMAT_VERSION}\n" in TEXT
