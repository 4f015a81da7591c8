"""Damage to one file of a store: as values, so that cases can be listed, counted and sent."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store.format.names import FORMAT_FILE
from b10_store.format.seal import PREFIX_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_STEP = 512
_SPREAD = 64
_TAIL = 64
_FRAME_HEADER = 16


@dataclass(frozen=True, slots=True)
class Damage:
    """What happens to a file.

    Attributes:
        kind: "cut", "flip", "zeros", "empty", "gone", "swap", "folder", "fifo" or "link".
        file: its name in the store.
        at: the length that is left of it, or the place of the byte with the flipped bit.
        other: the file whose bytes it gets, and which gets its own.
    """

    kind: str
    file: str
    at: int = 0
    other: str = ""

    @property
    def files(self) -> set[str]:
        """The files that are not as they were."""
        return {self.file, self.other} - {""}

    def spoils(self, file: str, start: int, length: int) -> bool:
        """Whether any of these bytes of a file may not be what they were."""
        if file not in self.files:
            return False
        if self.kind == "flip":
            return start <= self.at < start + length
        return self.kind != "cut" or start + length > self.at

    def apply(self, store: Path) -> None:
        """Do it."""
        path = store / self.file
        data = path.read_bytes()
        if self.kind in ("gone", "folder", "fifo", "link"):
            self._take_the_place(path, data)
        elif self.kind == "swap":
            other = store / self.other
            path.write_bytes(other.read_bytes())
            other.write_bytes(data)
        else:
            path.write_bytes(self._damaged(data))

    def _damaged(self, data: bytes) -> bytes:
        if self.kind == "cut":
            return data[: self.at]
        if self.kind == "flip":
            bit = 1 << ((self.at * 5 + 3) % 8)
            return data[: self.at] + bytes([data[self.at] ^ bit]) + data[self.at + 1 :]
        assert self.kind in ("zeros", "empty")
        return bytes(len(data)) if self.kind == "zeros" else b""

    def _take_the_place(self, path: Path, data: bytes) -> None:
        path.unlink()
        if self.kind == "folder":
            path.mkdir()
        elif self.kind == "fifo":
            os.mkfifo(path)
        elif self.kind == "link":
            elsewhere = path.with_name("elsewhere")
            elsewhere.write_bytes(data)
            path.symlink_to(elsewhere)


def whole_file_damage(sizes: dict[str, int]) -> list[Damage]:
    """Everything that can be done to whole files: also to give each the bytes of its neighbour.

    Args:
        sizes: of the store's files, by name.
    """
    found = [Damage(kind, file) for file in sizes for kind in ("zeros", "empty", "gone")]
    # Whether FORMAT can be read tells whether the store can: that is no damage to one file.
    found += [
        Damage(kind, file)
        for file in sizes
        for kind in ("folder", "fifo", "link")
        if file != FORMAT_FILE
    ]
    names = sorted(sizes)
    found += [
        Damage("swap", file, other=other)
        for number, file in enumerate(names)
        for other in names[number + 1 :]
        if _folder(file) == _folder(other)
    ]
    return found


def cuts(sizes: dict[str, int]) -> list[Damage]:
    """Every file cut short at every 512 bytes."""
    return [
        Damage("cut", file, length)
        for file, size in sizes.items()
        for length in range(0, size, _STEP)
    ]


def flips(store: Path, sizes: dict[str, int]) -> list[Damage]:
    """A bit flipped in many places of every file, and in every byte of what describes the rest."""
    return [
        Damage("flip", file, place)
        for file, size in sizes.items()
        for place in sorted({*_spread(range(size)), *_describing(store / file, size)})
    ]


def all_flips(sizes: dict[str, int]) -> list[Damage]:
    """A bit flipped in every byte of every file."""
    return [Damage("flip", file, place) for file, size in sizes.items() for place in range(size)]


def some_of(cases: list[Damage], each: int) -> list[Damage]:
    """A few of the cases of each file, spread."""
    files = {case.file for case in cases}
    return [
        case
        for file in sorted(files)
        for case in _thinned([item for item in cases if item.file == file], each)
    ]


def _describing(path: Path, size: int) -> Iterable[int]:
    data = path.read_bytes()
    if path.name == "FORMAT":
        return range(size)
    if path.suffix == ".manifest":
        (header,) = struct.unpack_from("<I", data, 8)
        body = PREFIX_SIZE + header
        return [
            *range(PREFIX_SIZE),
            *_spread(range(PREFIX_SIZE, body)),
            *range(body, body + _FRAME_HEADER),
            *range(size - _TAIL, size),
        ]
    if path.suffix == ".pack":
        (footer,) = struct.unpack_from("<I", data, size - 12)
        (frames,) = struct.unpack_from("<I", data, size - 52)
        table = size - footer + 8
        places = [*range(size - footer, table), *range(size - _TAIL, size)]
        start = 0
        for number in range(frames):
            places += range(start, start + _FRAME_HEADER)
            start += struct.unpack_from("<I", data, table + 8 * number)[0]
        return places
    return ()


def _spread(places: range) -> list[int]:
    return [places[number * len(places) // _SPREAD] for number in range(_SPREAD)] if places else []


def _thinned(cases: list[Damage], each: int) -> list[Damage]:
    return [cases[number * len(cases) // each] for number in range(min(each, len(cases)))]


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
