"""Find the vector width for which a graph of Inductor, or its C++, was made.

Inductor writes the number of lanes into the C++ that it generates and keeps that text in its
graphs, but has the instruction set in none of its keys. A graph for 16 lanes is a hit on a machine
with eight, where it computes wrong numbers or writes past the ends of arrays. The text tells the
width: each vectorised loop steps by the lanes of a float or by twice as many
(torch/_inductor/codegen/cpp.py, TilingSelect.select_tiling), and each vector type in it says how
many vectors that takes.
"""

from __future__ import annotations

import re

_WIDTHS = (4, 8, 16)
"""The number of floats in a vector of 128, 256 and 512 bits."""

_ISA_WIDTHS = {"avx512": 16, "avx2": 8, "asimd": 4, "zvector": 8, "vsx": 8}
_FLOAT_BITS = 32

_MARK = b"at::vec::"
_BEFORE, _PART = 1 << 10, 3 << 10
"""How many bytes around a mark are searched: a loop begins before the vectors in it."""
_STEP = re.compile(rb"\+=\s*(?:static_cast<\w+>\()?(\d+)L?\b")
_VARIABLE = re.compile(rb"\bx\d+(?:_[a-z]+)?\s*$")
_TYPE = rb"(float|u?int32_t|double|u?int64_t)"
_ONE = re.compile(rb"Vectorized<%b>(?:::loadu)?\(" % _TYPE)
_SEVERAL = re.compile(rb"<%b,\s*(\d+)\s*[,>]" % _TYPE)
"""A type and its number of vectors: VectorizedN<float,2>, convert<float,2,at::BFloat16,1>."""

_REQUESTED = re.compile(rb"inductor_config\[cpp\.simdlen\]: (\d{1,9})\b")
"""The width that a program requested, which Inductor has in its keys and records in its graphs."""


def isa_width(vector_isa: str) -> int | None:
    """Return the floats in a vector that Inductor uses for an instruction set; 0: no vectors.

    Args:
        vector_isa: as the environment has it.

    Returns:
        None when that is not certain.
    """
    if vector_isa == "none":
        return 0
    name, _, rest = vector_isa.partition(" ")
    if name == "sve":
        return int(rest) // _FLOAT_BITS if rest.isdecimal() else None
    return None if rest.startswith("(") else _ISA_WIDTHS.get(name)


def widths_in(code: bytes) -> frozenset[int]:
    """Return the widths, in floats, for which vectorised C++ in `code` may be made.

    Usually there is one width, and none in other code. There are several when the code says too
    little; then it is right for each, because it passes the count to every load and store.
    """
    steps: set[int] = set()
    vectors: set[tuple[int, int]] = set()
    widths = frozenset[int]()
    mark = code.find(_MARK)
    # A few kernels are enough: all in a file were made for one width, and searching costs time.
    while mark >= 0 and len(widths) != 1:
        part = code[max(0, mark - _BEFORE) : mark + _PART]
        steps |= _steps(part)
        widths = _widths(steps, vectors)
        if len(widths) > 1:
            vectors |= {(_size(name), 1) for name in _ONE.findall(part)}
            vectors |= {(_size(name), int(count)) for name, count in _SEVERAL.findall(part)}
            widths = _widths(steps, vectors)
        mark = code.find(_MARK, mark + _PART)
    return widths


def requested_width(graph: bytes) -> int | None:
    """Return the width that a graph's program requested (cpp.simdlen); None without a request."""
    match = _REQUESTED.search(graph)
    return int(match[1]) // _FLOAT_BITS if match is not None else None


def _steps(code: bytes) -> set[int]:
    """Return the steps of the loops over x0, x1, ...: one, or the width of vectors."""
    return {
        int(match[1])
        for match in _STEP.finditer(code)
        if _VARIABLE.search(code, max(0, match.start() - 16), match.start())
    } - {0, 1}


def _widths(steps: set[int], vectors: set[tuple[int, int]]) -> frozenset[int]:
    """Return the widths that fit these steps, and vectors of numbers of these sizes."""
    widths = {width for width in _WIDTHS if steps and steps <= {width, 2 * width}}
    if len(steps) == 1:
        widths = {width for width in widths if _fits(width, max(steps), vectors)}
    return frozenset(widths)


def _fits(width: int, step: int, vectors: set[tuple[int, int]]) -> bool:
    """Return whether `step` numbers of each size fill as many vectors as the code says."""
    return all(count == max(1, -(-step * size // (4 * width))) for size, count in vectors)


def _size(name: bytes) -> int:
    return 8 if name == b"double" or name.endswith(b"64_t") else 4
