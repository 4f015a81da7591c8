"""ELF files made byte by byte, as nobody's linker would make them."""

from __future__ import annotations

import struct

NEEDED, STRINGS, RUNPATH = 1, 5, 29
DEFINED, WANTED = 0x6FFFFFFC, 0x6FFFFFFE
DYNAMIC_AT, VERSIONS_AT, STRINGS_AT = 0x1000, 0x20000, 0x60000
_LOAD, _DYNAMIC = 1, 2


def elf(tags: list[tuple[int, int]], versions: bytes, strings: bytes, dynamics: int = 1) -> bytes:
    """A library of 64 bits that is mapped as it is: each address is a place in the file.

    Args:
        tags: rows of the dynamic section, beside the one that says where the strings are.
        versions: what lies at VERSIONS_AT.
        strings: what lies at STRINGS_AT.
        dynamics: how many program headers name that dynamic section.
    """
    size = STRINGS_AT + len(strings)
    rows = [(STRINGS, STRINGS_AT), *tags]
    data = bytearray(size)
    data[:7] = b"\x7fELF\x02\x01\x01"
    struct.pack_into("<Q", data, 0x20, 64)
    struct.pack_into("<HH", data, 0x36, 56, 1 + dynamics)
    struct.pack_into("<IIQQQQ", data, 64, _LOAD, 0, 0, 0, 0, size)
    for number in range(dynamics):
        place = (_DYNAMIC, 0, DYNAMIC_AT, DYNAMIC_AT, 0, 16 * len(rows))
        struct.pack_into("<IIQQQQ", data, 120 + 56 * number, *place)
    for number, row in enumerate(rows):
        struct.pack_into("<QQ", data, DYNAMIC_AT + 16 * number, *row)
    data[VERSIONS_AT : VERSIONS_AT + len(versions)] = versions
    data[STRINGS_AT:] = strings
    return bytes(data)


def wanted(libraries: list[int], versions: list[int]) -> bytes:
    """Version rows of libraries, each of which wants all of the same versions: one shared list.

    Args:
        libraries: where their names lie among the strings.
        versions: likewise.
    """
    start = 16 * len(libraries)
    rows = [
        struct.pack("<HHIII", 1, 1, name, start - 16 * row, 16 if libraries[row + 1 :] else 0)
        for row, name in enumerate(libraries)
    ]
    shared = [
        struct.pack("<IHHII", 0, 0, 0, name, 16 if versions[row + 1 :] else 0)
        for row, name in enumerate(versions)
    ]
    return b"".join([*rows, *shared])
