"""For which width of vectors a graph of Inductor, or its C++, was made.

Inductor writes the number of lanes into the C++ that it generates, keeps that text in its graphs,
and has the instruction set in none of its keys. A graph for 16 lanes is a hit where vectors have
eight, and computes wrong numbers or writes past the ends of arrays. The text tells: each
vectorised loop steps by the lanes of a float or by twice as many (torch/_inductor/codegen/cpp.py,
TilingSelect.select_tiling), and each type of the vectors in it says how many vectors that takes.
"""

from __future__ import annotations

import re

_WIDTHS = (4, 8, 16)
"""The floats in a vector of 128, 256 and 512 bits."""

_ISA_WIDTHS = {"avx512": 16, "avx2": 8, "asimd": 4, "zvector": 8, "vsx": 8}
_FLOAT_BITS = 32

_MARK = b"at::vec::"
_STEP = re.compile(rb"[ (;]x\d+(?:_\w+)?\s*\+=\s*(?:static_cast<\w+>\()?(\d+)L?\b")
_TYPE = rb"(float|u?int32_t|double|u?int64_t)"
_VECTORS = re.compile(rb"<%b,\s*(\d+)\s*[,>]|\bVectorized<%b>(?:::loadu)?\(" % (_TYPE, _TYPE))
"""A type, and how many vectors hold it: VectorizedN<float,2>, convert<float,2,. Or one alone."""

_REQUESTED = re.compile(rb"inductor_config\[cpp\.simdlen\]: (\d+)\b")
"""The width that a program asked for, which Inductor has in its keys and notes in its graphs."""


def isa_width(vector_isa: str) -> int | None:
    """How many floats a vector has that Inductor uses for an instruction set; 0: it uses none.

    Args:
        vector_isa: as the environment has it.

    Returns:
        None where that is not known for sure.
    """
    if vector_isa == "none":
        return 0
    name, _, rest = vector_isa.partition(" ")
    if name == "sve":
        return int(rest) // _FLOAT_BITS if rest.isdecimal() else None
    return None if rest.startswith("(") else _ISA_WIDTHS.get(name)


def widths_in(code: bytes) -> frozenset[int]:
    """The widths, in floats, that the vectorised C++ in `code` may be made for; none in other code.

    Mostly it is one. It is several where the code says too little, and then it is right for each:
    such code tells every load and store how many numbers it means.
    """
    steps = {int(step) for step in _STEP.findall(code)} - {0, 1} if _MARK in code else set[int]()
    if not steps:
        return frozenset()
    widths = {width for width in _WIDTHS if steps <= {width, 2 * width}}
    if len(steps) == 1:
        vectors = {(_size(a or b), int(count or 1)) for a, count, b in _VECTORS.findall(code)}
        widths = {width for width in widths if _fits(width, max(steps), vectors)}
    return frozenset(widths)


def requested_width(graph: bytes) -> int | None:
    """The width that the program asked for which made a graph (cpp.simdlen); None: for none."""
    match = _REQUESTED.search(graph)
    return int(match[1]) // _FLOAT_BITS if match is not None else None


def _fits(width: int, step: int, vectors: set[tuple[int, int]]) -> bool:
    """Whether `step` numbers of each size fill as many vectors of a width as the code says."""
    return all(count == max(1, -(-step * size // (4 * width))) for size, count in vectors)


def _size(name: bytes) -> int:
    return 8 if name == b"double" or name.endswith(b"64_t") else 4
