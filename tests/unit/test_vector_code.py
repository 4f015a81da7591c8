from __future__ import annotations

import pytest

from b10_transfer.caches.vector_code import isa_width, requested_width, widths_in
from tests.support.vector_sources import bfloats, floats


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_a_loop_over_floats_tells_the_lanes(lanes: int) -> None:
    assert widths_in(floats(lanes)) == {lanes}


@pytest.mark.parametrize(
    ("step", "floats_in", "lanes"),
    [(32, 2, 16), (16, 1, 16), (16, 2, 8), (8, 1, 8), (8, 2, 4)],
)
def test_a_loop_over_half_numbers_tells_the_lanes_by_how_many_floats_a_vector_takes(
    step: int, floats_in: int, lanes: int
) -> None:
    assert widths_in(bfloats(step, floats_in)) == {lanes}


@pytest.mark.parametrize(
    ("code", "lanes"),
    [
        (b"at::vec:: x0+=16L VectorizedN<double,2>(0)", 16),
        (b"at::vec:: x0+=8L VectorizedN<double,2>(0)", 8),
        (b"at::vec:: x0+=8L VectorizedN<int64_t,2>(0)", 8),
        (b"at::vec:: x0+=16L at::vec::VecMask<float,1>::from(m)", 16),
        (b"at::vec:: x0+=16L at::vec::Vectorized<int32_t>::loadu(p, 16)", 16),
        # As torch 2.5 wrote it.
        (b"at::vec:: x1+=static_cast<long>(16L) Vectorized<float>::loadu(p + x1, 16)", 16),
        # Two loops, of which one is over half numbers.
        (floats(8) + bfloats(16, 2), 8),
        (floats(16) + bfloats(32, 2), 16),
        (floats(16) + b"x1+=static_cast<int64_t>(1L)", 16),
    ],
)
def test_every_type_tells_the_lanes(code: bytes, lanes: int) -> None:
    assert widths_in(code) == {lanes}


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"import torch\nx0 += 16\n",
        b"for(int64_t x0=0L; x0<64L; x0+=static_cast<int64_t>(1L)) out[x0] = in[x0];",
        b"at::vec::Vectorized<float>(0)",
        # Of no single width.
        floats(8) + floats(16) + floats(4),
    ],
)
def test_other_code_tells_nothing(code: bytes) -> None:
    assert widths_in(code) == set()


def test_code_that_says_too_little_may_be_for_either() -> None:
    copy = b"at::vec:: x0+=16L Vectorized<uint8_t>::loadu(p, 16) tmp0.store(q, 16)"
    assert widths_in(copy) == {8, 16}


@pytest.mark.parametrize("digits", [10, 5000])
def test_a_width_of_thousands_of_digits_is_none(digits: int) -> None:
    assert requested_width(b"inductor_config[cpp.simdlen]: " + b"9" * digits + b"\n") is None


def test_the_width_that_a_program_asked_for_is_in_its_graphs() -> None:
    assert requested_width(b"[x] inductor_config[cpp.simdlen]: 256\n") == 8
    assert requested_width(b"[x] inductor_config[cpp.simdlen]: None\n") is None
    assert requested_width(b"") is None


@pytest.mark.parametrize(
    ("vector_isa", "width"),
    [
        ("avx512 avx512_vnni amx_tile", 16),
        ("avx512", 16),
        ("avx2", 8),
        ("asimd", 4),
        ("sve 256", 8),
        ("vsx", 8),
        ("none", 0),
        ("avx512 (incomplete)", None),
        ("sve unknown of a host", None),
        ("unknown (any of a host)", None),
    ],
)
def test_an_instruction_set_has_a_width_or_it_is_not_known(
    vector_isa: str, width: int | None
) -> None:
    assert isa_width(vector_isa) == width
