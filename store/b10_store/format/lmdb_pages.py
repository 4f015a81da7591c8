"""Check whether LMDB can safely read the bytes of a database.

LMDB trusts the pages of a file: a page number beyond the end of the file is a SIGBUS, an offset
beyond its page reads any memory, a leaf in place of a branch is an abort(), and pages that refer to
each other are endless rows. A digest does not prevent that, because anybody who can write to a
store can compute one. So every page that LMDB would visit is checked first, as bytes; this and a
verified digest come before LMDB opens anything (I8).

The format is that of lmdb's mdb.c (struct MDB_page, MDB_node, MDB_db, MDB_meta; data version 1), on
64 bit, little-endian machines: a manifest's header says that its database is of that kind.
"""

from __future__ import annotations

import struct

from b10_store.errors import CorruptError, LimitError

_PAGE = struct.Struct("<QHHHH")
_META = struct.Struct("<IIQQ48s48sQQ")
_DATABASE = struct.Struct("<IHHQQQQQ")
_NODE = struct.Struct("<HHHH")
_POINTER = 2
_NUMBER = struct.Struct("<Q")

_MAGIC = 0xBEEFC0DE
_DATA_VERSION = 1
_PAGE_SIZES = {1 << power for power in range(9, 16)}
_NONE = (1 << 64) - 1

_BRANCH = 0x01
_LEAF = 0x02
_OVERFLOW = 0x04
_META_PAGE = 0x08

_BIG = 0x01
_TABLE = 0x02

_DEPTH_LIMIT = 16
"""The levels of pages; LMDB itself stops at 32, and four hold more rows than any manifest has."""


def check_pages(raw: bytes, row_limit: int) -> None:
    """Refuse a database in which LMDB could read anything but its content, or read forever.

    Args:
        raw: the database.
        row_limit: the most rows of one table that are accepted.

    Raises:
        CorruptError: LMDB could not read it correctly; the message says why.
        LimitError: a table has more rows than are accepted.
    """
    try:
        _Pages(raw, row_limit).check()
    except struct.error as error:
        raise CorruptError("a database cut short") from error


class _Pages:
    def __init__(self, raw: bytes, row_limit: int) -> None:
        self._raw = raw
        self._row_limit = row_limit
        self._rows = 0
        self._size = 0
        self._count = 0
        self._seen: set[int] = set()

    def check(self) -> None:
        tables = self._walk(self._main_root())
        for start in tables:
            self._walk_table(start)

    def _main_root(self) -> int:
        """Return the root of the table of tables, from the newer meta page, as LMDB picks it."""
        first = self._read_meta(0)
        self._size = first[0]
        if self._size not in _PAGE_SIZES or len(self._raw) % self._size:
            raise CorruptError(f"{len(self._raw)} bytes in pages of {self._size}")
        self._count = len(self._raw) // self._size
        second = self._read_meta(self._size)
        size, flags, root, last, _ = second if first[4] < second[4] else first
        if size != self._size or flags or last >= self._count:
            raise CorruptError("a meta page that contradicts the file")
        return root

    def _read_meta(self, start: int) -> tuple[int, int, int, int, int]:
        """Return page size, flags and root of the main table, last page, and transaction number."""
        _, _, page_flags, _, _ = _PAGE.unpack_from(self._raw, start)
        magic, version, _, _, free, main, last, transaction = _META.unpack_from(
            self._raw, start + _PAGE.size
        )
        if page_flags != _META_PAGE or (magic, version) != (_MAGIC, _DATA_VERSION):
            raise CorruptError("not a database of this format")
        size = _DATABASE.unpack(free)[0]
        _, flags, _, _, _, _, _, root = _DATABASE.unpack(main)
        return size, flags, root, last, transaction

    def _walk_table(self, start: int) -> None:
        _, flags, _, _, _, _, _, root = _DATABASE.unpack_from(self._raw, start)
        if flags:
            raise CorruptError("a table of another kind")
        if self._walk(root):
            raise CorruptError("a table in a table")

    def _walk(self, root: int) -> list[int]:
        """Visit a tree of pages, level by level; return the offsets of the tables in its leaves."""
        self._rows = 0
        if root == _NONE:
            return []
        level = [root]
        for _ in range(_DEPTH_LIMIT):
            kinds = {self._visit(page) for page in level}
            if kinds == {_LEAF}:
                return [start for page in level for start in self._check_leaf(page)]
            if kinds != {_BRANCH}:
                raise CorruptError("pages of several kinds in one level")
            level = [child for page in level for child in self._children(page)]
        raise CorruptError("too many levels of pages")

    def _visit(self, page: int) -> int:
        """Return the flags of a page, which must not have been visited before."""
        if not 1 < page < self._count or page in self._seen:
            raise CorruptError(f"page {page} of {self._count}, or once more")
        self._seen.add(page)
        return int(_PAGE.unpack_from(self._raw, page * self._size)[2])

    def _pointers(self, page: int) -> tuple[int, ...]:
        """Return the offsets of the nodes in a page."""
        start = page * self._size
        _, _, _, lower, upper = _PAGE.unpack_from(self._raw, start)
        count = (lower - _PAGE.size) // _POINTER
        if lower % _POINTER or count < 1 or not lower <= upper <= self._size:
            raise CorruptError(f"page {page} contradicts itself")
        pointers = struct.unpack_from(f"<{count}H", self._raw, start + _PAGE.size)
        if min(pointers) < upper or max(pointers) + _NODE.size > self._size:
            raise CorruptError(f"page {page} has a node outside")
        return pointers

    def _children(self, page: int) -> list[int]:
        pointers = self._pointers(page)
        if len(pointers) < 2:
            raise CorruptError(f"page {page} has a single child")
        start = page * self._size
        children: list[int] = []
        for pointer in pointers:
            low, high, highest, key = _NODE.unpack_from(self._raw, start + pointer)
            if pointer + _NODE.size + key > self._size:
                raise CorruptError(f"page {page} has a key outside")
            children.append(low | high << 16 | highest << 32)
        return children

    def _check_leaf(self, page: int) -> list[int]:
        """Check every row of a leaf; return the offsets of the tables among them in the file."""
        tables: list[int] = []
        start, limit, raw, unpack = page * self._size, self._size, self._raw, _NODE.unpack_from
        # Rows that share bytes would be more rows than the file has room for.
        taken = 0
        pointers = self._pointers(page)
        self._rows += len(pointers)
        if self._rows > self._row_limit:
            raise LimitError(f"a table of more than {self._row_limit} rows")
        for pointer in pointers:
            low, high, flags, key = unpack(raw, start + pointer)
            value = pointer + _NODE.size + key
            size = low | high << 16
            end = value + (_NUMBER.size if flags == _BIG else size)
            taken += end - pointer
            if end > limit or taken > limit:
                raise CorruptError(f"page {page} has a row outside, or twice")
            if flags:
                self._check_special(flags, start + value, size)
                if flags == _TABLE:
                    tables.append(start + value)
        return tables

    def _check_special(self, flags: int, start: int, size: int) -> None:
        if flags == _BIG:
            self._visit_overflow(_NUMBER.unpack_from(self._raw, start)[0], size)
        elif flags != _TABLE or size != _DATABASE.size:
            raise CorruptError("a row of another kind")

    def _visit_overflow(self, page: int, size: int) -> None:
        """Visit the consecutive pages of a value that is too long for a leaf."""
        pages = range(page, page - (-(size + _PAGE.size) // self._size))
        if self._visit(page) != _OVERFLOW or pages[-1] >= self._count:
            raise CorruptError(f"page {page} is not the beginning of a value")
        if not self._seen.isdisjoint(pages[1:]):
            raise CorruptError(f"page {page} holds others")
        self._seen.update(pages)
