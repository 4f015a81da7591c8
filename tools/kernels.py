"""Four Triton kernels, small, with different groups of files in Triton's cache."""

from __future__ import annotations

import triton
import triton.language as tl

BLOCK = 128


@triton.jit
def add(
    left: tl.tensor, right: tl.tensor, out: tl.tensor, count: tl.tensor, block: tl.constexpr
) -> None:
    """Add two vectors."""
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < count
    total = tl.load(left + place, mask=inside) + tl.load(right + place, mask=inside)
    tl.store(out + place, total, mask=inside)


@triton.jit
def softmax(values: tl.tensor, out: tl.tensor, count: tl.tensor, block: tl.constexpr) -> None:
    """Normalize one row."""
    place = tl.arange(0, block)
    inside = place < count
    row = tl.load(values + place, mask=inside, other=-float("inf"))
    tl.store(out + place, tl.softmax(row), mask=inside)


@triton.jit
def scale(
    values: tl.tensor, out: tl.tensor, factor: tl.tensor, count: tl.tensor, block: tl.constexpr
) -> None:
    """Multiply a vector by a number."""
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < count
    tl.store(out + place, tl.load(values + place, mask=inside) * factor, mask=inside)


@triton.jit
def gram(values: tl.tensor, out: tl.tensor, block: tl.constexpr) -> None:
    """Multiply a square matrix by itself."""
    place = tl.arange(0, block)
    matrix = tl.load(values + place[:, None] * block + place[None, :])
    tl.store(out + place[:, None] * block + place[None, :], tl.dot(matrix, matrix))


SIGNATURES: tuple[tuple[triton.JITFunction[...], dict[str, str]], ...] = (
    (add, {"left": "*fp32", "right": "*fp32", "out": "*fp32", "count": "i32"}),
    (softmax, {"values": "*fp32", "out": "*fp32", "count": "i32"}),
    (scale, {"values": "*fp16", "out": "*fp16", "factor": "fp32", "count": "i32"}),
    (gram, {"values": "*fp16", "out": "*fp32"}),
)
