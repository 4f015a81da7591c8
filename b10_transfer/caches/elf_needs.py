"""The dynamic section of an ELF file: needed libraries, and versions of their symbols.

A file may be planted by an attacker: every offset is checked by reading, every list ends after a
limited number of items, and nothing is mapped or run.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]

_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRINGS, _RPATH, _RUNPATH = 1, 5, 15, 29
_DEFINED, _WANTED = 0x6FFFFFFC, 0x6FFFFFFE
_HEADERS = 64
_ROWS = 4096
"""The limit for the rows of all lists of a file: each may be read again for each row of another
list."""
_FOLDERS = 16
_NAME = 256
_TABLE = 256 << 10
_WEAK = 2


class Dynamic(NamedTuple):
    """What a library needs and provides.

    Attributes:
        bits: 32 or 64.
        needed: the names of the libraries that it is linked with.
        folders: where it looks for them by itself; `$ORIGIN` is its own folder.
        wants: by library, the versions of symbols that it needs.
        defines: the versions of symbols that it provides.
    """

    bits: int
    needed: tuple[str, ...]
    folders: tuple[str, ...]
    wants: dict[str, frozenset[str]]
    defines: frozenset[str]


def read_dynamic(location: str) -> Dynamic | None:
    """Return what a file needs and provides; None when it is not a dynamic ELF file."""
    with contextlib.suppress(OSError, OverflowError, ValueError, struct.error):
        handle = _open(location)
        try:
            return _parse(lambda start, size: os.pread(handle, size, start))
        finally:
            os.close(handle)
    return None


def _open(location: str) -> int:
    """Open a file, if possible without changing its access time, which is the sign of use."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(location, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:
        return os.open(
            location, flags
        )  # another user's file: only its owner may keep the access time


def _parse(read: Read) -> Dynamic | None:
    head = read(0, 64)
    if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    image = _Image(read, head)
    tags = list(image.tags())
    if not tags:
        return None
    first = dict(reversed(tags))
    strings = image.offset_of(first.get(_STRINGS, 0))

    def name(at: int) -> str:
        return read(strings + at, _NAME).partition(b"\0")[0].decode("utf-8", "replace")

    paths = (name(value) for tag, value in tags if tag in (_RPATH, _RUNPATH))
    folders = (part for text in paths for part in text.split(":") if part)
    return Dynamic(
        bits=image.bits,
        needed=tuple(name(value) for tag, value in tags if tag == _NEEDED),
        folders=tuple(itertools.islice(folders, _FOLDERS)),
        wants=image.wanted(first.get(_WANTED), name),
        defines=image.defined(first.get(_DEFINED), name),
    )


class _Image:
    """The parts of an ELF file, found through its program headers."""

    def __init__(self, read: Read, head: bytes) -> None:
        self._read = read
        self._rows_left = _ROWS
        self._order = "<" if head[5] == 1 else ">"
        self.bits = 64 if head[4] == 2 else 32
        if self.bits == 64:
            (start,) = struct.unpack_from(self._order + "Q", head, 0x20)
            size, count = struct.unpack_from(self._order + "HH", head, 0x36)
        else:
            (start,) = struct.unpack_from(self._order + "I", head, 0x1C)
            size, count = struct.unpack_from(self._order + "HH", head, 0x2A)
        table = read(start, size * min(count, _HEADERS)) if size >= 32 else b""
        self._segments = [
            self._segment(table[at : at + size])
            for at in range(0, len(table) - size + 1, size or 1)
        ]

    def _segment(self, row: bytes) -> tuple[int, int, int, int]:
        """Return type, offset, address and size of a segment."""
        if self.bits == 64:
            kind, _, offset, address, _, size = struct.unpack_from(self._order + "IIQQQQ", row)
        else:
            kind, offset, address, _, size = struct.unpack_from(self._order + "IIIII", row)
        return kind, offset, address, size

    def offset_of(self, address: int) -> int:
        """Return the offset in the file for an address in memory."""
        for kind, offset, start, size in self._segments:
            if kind == _LOAD and start <= address < start + size:
                return address - start + offset
        raise ValueError("an address that no segment has")

    def tags(self) -> Iterator[tuple[int, int]]:
        """Yield tag and value of each row of the dynamic section."""
        form = struct.Struct(self._order + ("QQ" if self.bits == 64 else "II"))
        for kind, offset, _, size in self._segments:
            if kind == _DYNAMIC:
                data = self._read(offset, min(size, _ROWS * form.size))
                for tag, value in form.iter_unpack(data[: len(data) // form.size * form.size]):
                    if not tag or not self._is_row_left():
                        return
                    yield tag, value

    def wanted(self, address: int | None, name: Callable[[int], str]) -> dict[str, frozenset[str]]:
        """Return the versions that other libraries must provide."""
        found: dict[str, frozenset[str]] = {}
        if address is None:
            return found
        table = self._read(self.offset_of(address), _TABLE)
        for at in self._chain(table, 0, 12):
            _, _, file, auxiliary, _ = struct.unpack_from(self._order + "HHIII", table, at)
            versions = frozenset(
                name(text)
                for row in self._chain(table, at + auxiliary, 12)
                for _, flags, _, text, _ in [
                    struct.unpack_from(self._order + "IHHII", table, row),
                ]
                if not flags & _WEAK
            )
            found[name(file)] = found.get(name(file), frozenset()) | versions
        return found

    def defined(self, address: int | None, name: Callable[[int], str]) -> frozenset[str]:
        """Return the versions that this library provides."""
        if address is None:
            return frozenset()
        table = self._read(self.offset_of(address), _TABLE)
        return frozenset(
            name(struct.unpack_from(self._order + "I", table, at + auxiliary)[0])
            for at in self._chain(table, 0, 16)
            for (auxiliary,) in [struct.unpack_from(self._order + "I", table, at + 12)]
        )

    def _chain(self, table: bytes, at: int, place: int) -> Iterator[int]:
        """Yield the offset of each row of a list; at `place` a row has the distance to the next."""
        while self._is_row_left():
            yield at
            (step,) = struct.unpack_from(self._order + "I", table, at + place)
            if not step:
                return
            at += step

    def _is_row_left(self) -> bool:
        self._rows_left -= 1
        return self._rows_left >= 0
