"""Databases put together page by page after lmdb's mdb.c, for those that LMDB would never write."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAGE_SIZE = 4096
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8
BIG, TABLE = 1, 2
NO_PAGE = (1 << 64) - 1

_HEADER = struct.Struct("<QHHHH")
_NODE = struct.Struct("<HHHH")
_CHILDREN = 200


def leaf_node(key: bytes, value: bytes, flags: int = 0, size: int | None = None) -> bytes:
    """A row; `size` is what it says of its value, where that is not the truth."""
    told = len(value) if size is None else size
    return _NODE.pack(told & 0xFFFF, told >> 16, flags, len(key)) + key + value


def branch_node(child: int, key: bytes = b"") -> bytes:
    """A child of a branch page."""
    return _NODE.pack(child & 0xFFFF, child >> 16 & 0xFFFF, child >> 32, len(key)) + key


def page(number: int, flags: int, nodes: Sequence[bytes]) -> bytes:
    """A page of nodes, the first of them last in the page as LMDB places them."""
    upper = PAGE_SIZE
    pointers: list[int] = []
    data = b""
    for node in nodes:
        padded = node + bytes(len(node) % 2)
        upper -= len(padded)
        pointers.append(upper)
        data = padded + data
    lower = _HEADER.size + 2 * len(pointers)
    assert lower <= upper
    head = _HEADER.pack(number, 0, flags, lower, upper) + struct.pack(
        f"<{len(pointers)}H", *pointers
    )
    return head + bytes(upper - lower) + data


def table(root: int, flags: int = 0, depth: int = 1) -> bytes:
    """The record of a table."""
    return struct.pack("<IHHQQQQQ", 0, flags, depth, 0, 1, 0, 1, root)


def meta(number: int, root: int, last: int, transaction: int) -> bytes:
    """A meta page."""
    free = struct.pack("<IHHQQQQQ", PAGE_SIZE, 0x4008, 0, 0, 0, 0, 0, NO_PAGE)
    fields = struct.pack("<IIQQ", 0xBEEFC0DE, 1, 0, 1 << 20)
    body = fields + free + table(root) + struct.pack("<QQ", last, transaction)
    return (_HEADER.pack(number, 0, META, 0, 0) + body).ljust(PAGE_SIZE, b"\0")


@dataclass(slots=True)
class Pages:
    """A file of pages; the first two are kept for the meta pages."""

    pages: list[bytes] = field(default_factory=lambda: [b"", b""])

    @property
    def next(self) -> int:
        """The number of the next page."""
        return len(self.pages)

    def add(self, flags: int, nodes: Sequence[bytes]) -> int:
        """Add a page; returns its number."""
        self.pages.append(page(self.next, flags, nodes))
        return self.next - 1

    def add_value(self, value: bytes) -> int:
        """Add a value on pages of its own; returns the number of the first."""
        first = self.next
        count = -(-(len(value) + _HEADER.size) // PAGE_SIZE)
        head = struct.pack("<QHHI", first, 0, OVERFLOW, count)
        data = (head + value).ljust(count * PAGE_SIZE, b"\0")
        self.pages += [data[at : at + PAGE_SIZE] for at in range(0, len(data), PAGE_SIZE)]
        return first

    def add_tree(self, leaves: Sequence[int]) -> int:
        """Add branch pages above leaves; returns the number of the root."""
        level = list(leaves)
        while len(level) > 1:
            cut = [level[at : at + _CHILDREN] for at in range(0, len(level), _CHILDREN)]
            if len(cut[-1]) == 1 and len(cut) > 1:
                cut[-1].insert(0, cut[-2].pop())
            level = [
                self.add(
                    BRANCH,
                    [
                        branch_node(child, b"" if not at else b"k" * 8)
                        for at, child in enumerate(part)
                    ],
                )
                for part in cut
            ]
        return level[0]

    def finish(self, roots: Iterable[tuple[bytes, int]], flags: int = 0) -> bytes:
        """The file, with tables of these names and roots."""
        rows = [leaf_node(name, table(root, flags), TABLE) for name, root in sorted(roots)]
        return self.finish_at(self.add(LEAF, rows))

    def finish_at(self, root: int, last: int | None = None) -> bytes:
        """The file, with this page as the root of the table of tables."""
        end = self.next - 1 if last is None else last
        self.pages[0] = meta(0, NO_PAGE, end, 0)
        self.pages[1] = meta(1, root, end, 1)
        return b"".join(self.pages)
