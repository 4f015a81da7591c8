"""Databases, under right digests, that LMDB would never have written."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.support.forged_pages import (
    BIG,
    BRANCH,
    LEAF,
    NO_PAGE,
    PAGE_SIZE,
    TABLE,
    Pages,
    branch_node,
    leaf_node,
    page,
    table,
)
from tests.support.forged_stores import Outcome, absent_pack, entry_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.forged_stores import Case, Forge

PACK = absent_pack([(10, 10)])
ROW = entry_row("forged/x.py", size=5)
_TABLES = (b"packs", b"frames", b"artifacts")


def _pages(make: Callable[[Pages], bytes]) -> Case:
    def plant(forge: Forge) -> Outcome:
        forge.plant(make(Pages()))
        return Outcome()

    return plant


def _row_page(pages: Pages, *rows: bytes) -> int:
    return pages.add(LEAF, [leaf_node(struct.pack(">Q", at), row) for at, row in enumerate(rows)])


def finish(pages: Pages, artifacts: int, *, flags: int = 0) -> bytes:
    """A database whose packs and frames are as they should be."""
    roots = {
        b"packs": _row_page(pages, PACK.row),
        b"frames": _row_page(pages, PACK.table),
        b"artifacts": artifacts,
    }
    return pages.finish(roots.items(), flags)


def sound(pages: Pages) -> bytes:
    """One that LMDB could have written: the others differ from it in one thing."""
    return finish(pages, _row_page(pages, ROW))


def _page_outside(pages: Pages) -> bytes:
    return finish(pages, 1 << 40)


def _page_behind_the_end(pages: Pages) -> bytes:
    """The meta page says that the file is longer than it is."""
    raw = finish(pages, pages.next + 100)
    return pages.finish_at(len(raw) // PAGE_SIZE - 1, last=1 << 20)


def _cut_short(pages: Pages) -> bytes:
    raw = sound(pages)
    return raw[: -PAGE_SIZE // 2]


def _empty_leaf(pages: Pages) -> bytes:
    return finish(pages, pages.add(LEAF, []))


def _ring(pages: Pages) -> bytes:
    """A branch that is its own child: rows without end, were it followed."""
    leaf = _row_page(pages, ROW)
    own = pages.next
    return finish(pages, pages.add(BRANCH, [branch_node(leaf), branch_node(own, b"k")]))


def _tower(pages: Pages) -> bytes:
    """Thirty branches, each of which has the next one 100 times: 10^60 rows in 30 pages."""
    child = _row_page(pages, ROW)
    for _ in range(30):
        child = pages.add(BRANCH, [branch_node(child, b"k") for _ in range(100)])
    return finish(pages, child)


def _leaf_among_branches(pages: Pages) -> bytes:
    leaves = [_row_page(pages, ROW) for _ in range(3)]
    branch = pages.add_tree(leaves[:2])
    return finish(pages, pages.add(BRANCH, [branch_node(branch), branch_node(leaves[2], b"k")]))


def _single_child(pages: Pages) -> bytes:
    return finish(pages, pages.add(BRANCH, [branch_node(_row_page(pages, ROW))]))


def _changed_page(change: Callable[[bytearray], None]) -> Callable[[Pages], bytes]:
    def make(pages: Pages) -> bytes:
        changed = bytearray(page(pages.next, LEAF, [leaf_node(bytes(8), ROW)]))
        change(changed)
        pages.pages.append(bytes(changed))
        return finish(pages, pages.next - 1)

    return make


def _set(place: int, value: int) -> Callable[[Pages], bytes]:
    """Another 16 bits in the page of the artifacts."""

    def change(changed: bytearray) -> None:
        struct.pack_into("<H", changed, place, value)

    return _changed_page(change)


def _value_outside(pages: Pages) -> bytes:
    return finish(pages, pages.add(LEAF, [leaf_node(bytes(8), ROW, size=1 << 30)]))


def _value_a_little_outside(pages: Pages) -> bytes:
    row = leaf_node(bytes(8), ROW, size=len(ROW) + 20)
    return finish(pages, pages.add(LEAF, [row]))


def _key_outside(pages: Pages) -> bytes:
    leaves = [_row_page(pages, ROW) for _ in range(2)]
    nodes = [branch_node(leaves[0]), branch_node(leaves[1], b"k")]
    longer = struct.pack("<H", 0xFFFF)
    return finish(pages, pages.add(BRANCH, [nodes[0][:-2] + longer, nodes[1]]))


def _long_value(number: int | None, size: int, kind: int = BIG) -> Callable[[Pages], bytes]:
    """A row whose value lies on other pages."""

    def make(pages: Pages) -> bytes:
        first = pages.add_value(ROW.ljust(PAGE_SIZE, b"x")) if number is None else number
        row = leaf_node(bytes(8), struct.pack("<Q", first), kind, size)
        return finish(pages, pages.add(LEAF, [row]))

    return make


def _row_of_no_kind(pages: Pages) -> bytes:
    return finish(pages, pages.add(LEAF, [leaf_node(bytes(8), table(NO_PAGE), 0x08)]))


def _value_in_a_leaf(pages: Pages) -> bytes:
    """A row whose value lies on a page of rows."""
    other = _row_page(pages, ROW)
    row = leaf_node(bytes(8), struct.pack("<Q", other), BIG, 100)
    return finish(pages, pages.add(LEAF, [row]))


def _value_in_its_own_leaf(pages: Pages) -> bytes:
    """A value that says it goes on in the page that names it."""
    first = pages.add_value(b"x")
    row = leaf_node(bytes(8), struct.pack("<Q", first), BIG, PAGE_SIZE + 1)
    return finish(pages, pages.add(LEAF, [row]))


def _pages_of_two_sizes(pages: Pages) -> bytes:
    """The second meta page, the newer one, has another."""
    raw = bytearray(sound(pages))
    struct.pack_into("<I", raw, PAGE_SIZE + 16 + 24, 2 * PAGE_SIZE)
    return bytes(raw)


def _value_twice(pages: Pages) -> bytes:
    first = pages.add_value(bytes(2 * PAGE_SIZE))
    rows = [
        leaf_node(struct.pack(">Q", at), struct.pack("<Q", first + at % 2), BIG, PAGE_SIZE)
        for at in range(50)
    ]
    return finish(pages, pages.add(LEAF, rows))


def _rows_on_one_another(pages: Pages) -> bytes:
    """Two thousand rows of a page that are the same bytes."""
    node = leaf_node(bytes(8), ROW)
    head = struct.pack("<QHHHH", pages.next, 0, LEAF, 16 + 2 * 1900, PAGE_SIZE - 200)
    pointers = struct.pack("<H", PAGE_SIZE - 200) * 1900
    data = node.ljust(200, b"\0")
    pages.pages.append((head + pointers).ljust(PAGE_SIZE - 200, b"\0") + data)
    return finish(pages, pages.next - 1)


def _table_of_many_values(pages: Pages) -> bytes:
    """Tables with flags, so that a value is a table of values."""
    return finish(pages, _row_page(pages, ROW), flags=0x04)


def _table_in_a_table(pages: Pages) -> bytes:
    inner = leaf_node(bytes(8), table(_row_page(pages, ROW)), TABLE)
    return finish(pages, pages.add(LEAF, [inner]))


def _short_table(pages: Pages) -> bytes:
    rows = [leaf_node(name, b"short", TABLE) for name in sorted(_TABLES)]
    return pages.finish_at(pages.add(LEAF, rows))


def _no_tables(pages: Pages) -> bytes:
    return pages.finish_at(NO_PAGE)


def _rows_for_tables(pages: Pages) -> bytes:
    return pages.finish_at(
        pages.add(LEAF, [leaf_node(name, table(NO_PAGE)) for name in sorted(_TABLES)])
    )


def _meta_page(place: int, value: bytes) -> Callable[[Pages], bytes]:
    """Other bytes in both meta pages."""

    def make(pages: Pages) -> bytes:
        raw = bytearray(sound(pages))
        for start in (0, PAGE_SIZE):
            raw[start + place : start + place + len(value)] = value
        return bytes(raw)

    return make


FORGED: Mapping[str, Callable[[Pages], bytes]] = {
    "a page far outside": _page_outside,
    "a page behind the end": _page_behind_the_end,
    "a file of half a page": _cut_short,
    "a leaf without rows": _empty_leaf,
    "a branch in a ring": _ring,
    "a tower of branches": _tower,
    "a leaf beside a branch": _leaf_among_branches,
    "a branch of one child": _single_child,
    "a page of no kind": _set(10, 0),
    "a dirty page": _set(10, 0x12),
    "a page of fixed keys": _set(10, 0x22),
    "a page with too many rows": _set(12, PAGE_SIZE),
    "a page whose rows are in its head": _set(14, 0),
    "a page with an odd number of bytes": _set(12, 19),
    "a page that ends behind its end": _set(14, 0xFFFF),
    "a row in the head of its page": _set(16, 18),
    "a row outside its page": _set(16, PAGE_SIZE - 2),
    "a row far outside its page": _set(16, 0xFFFF),
    "a value outside its page": _value_outside,
    "a value a little outside its page": _value_a_little_outside,
    "a key outside its page": _key_outside,
    "a long value outside the file": _long_value(1 << 50, 5000),
    "a long value in a meta page": _long_value(0, 5000),
    "a long value longer than the file": _long_value(None, 1 << 30),
    "a long value without its flag": _long_value(None, 8, 0x08),
    "a row of no kind": _row_of_no_kind,
    "a long value in a page of rows": _value_in_a_leaf,
    "a long value in its own page": _value_in_its_own_leaf,
    "a long value twice": _value_twice,
    "rows on one another": _rows_on_one_another,
    "tables of many values": _table_of_many_values,
    "a table in a table": _table_in_a_table,
    "a table cut short": _short_table,
    "no tables": _no_tables,
    "rows in the place of tables": _rows_for_tables,
    "pages of two sizes": _pages_of_two_sizes,
    "pages of no size": _meta_page(16 + 24, bytes(4)),
    "pages of 4 GiB": _meta_page(16 + 24, b"\xff" * 4),
    "pages of an odd size": _meta_page(16 + 24, b"\x01\x10\0\0"),
    "a last page behind the end": _meta_page(16 + 24 + 96, b"\xff" * 8),
    "a table of tables of another kind": _meta_page(16 + 24 + 48 + 4, b"\x04\0"),
    "a meta page that is none": _meta_page(10, b"\0\0"),
    "another version of the database": _meta_page(16 + 4, b"\x02"),
}
"""Databases that differ from a sound one in one thing each."""

CASES: Mapping[str, Case] = {name: _pages(make) for name, make in FORGED.items()}
