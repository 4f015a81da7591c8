"""C++ as Inductor generates it for one width of vectors, and what it puts around it."""

from __future__ import annotations

from tests.support.cache_trees import Tree, elf, pickled

KEY = "k" * 51
"""A SHA-256 as Inductor writes it into names has as many characters."""

GRAPH = f"fxgraph/kk/f{KEY}/{KEY}"
SOURCE = f"kk/c{KEY}.main.cpp"
LIBRARY = f"kk/c{KEY}.main.so"

_ZEN = "-march=znver3 -mavx -mavx2 -mfma -mf16c -mno-fma4 -mavx512f -mavx512vl -mavx512vbmi2"
_HASWELL = "-march=haswell -mavx -mavx2 -mfma -mf16c -mno-avx512f"

AVX2_FLAGS = "avx avx2 fma f16c"
AVX512_FLAGS = f"{AVX2_FLAGS} avx512f avx512dq avx512bw avx512vl avx512_vbmi2 avx512_vnni"


def floats(lanes: int) -> bytes:
    """A loop over floats, for vectors of `lanes` of them."""
    return (
        "at::vec::Vectorized<float> tmp_acc0_vec = at::vec::Vectorized<float>(0);\n"
        "for(int64_t x0=static_cast<int64_t>(0L); x0<static_cast<int64_t>(64L); "
        f"x0+=static_cast<int64_t>({lanes}L))\n"
        "auto tmp0 = at::vec::Vectorized<float>::loadu(in_ptr0 + static_cast<int64_t>(x0), "
        f"static_cast<int64_t>({lanes}));\n"
    ).encode()


def bfloats(step: int, floats_in: int) -> bytes:
    """A loop over numbers of 16 bits, of which `step` fill `floats_in` vectors of floats."""
    return (
        f"for(int64_t x0=0L; x0<8192L; x0+=static_cast<int64_t>({step}L))\n"
        f"auto tmp0 = at::vec::Vectorized<at::BFloat16>::loadu(in_ptr0 + x0, {step});\n"
        f"auto tmp1 = at::vec::convert<float,{floats_in},at::BFloat16,1>(tmp0);\n"
    ).encode()


def library(lanes: int) -> bytes:
    """A library that gcc compiled with -march=native, on a CPU with vectors of `lanes` floats."""
    options = _ZEN if lanes == 16 else _HASWELL
    return elf(f"\0GNU C++20 12.2.0 {options} -mtune=generic -g1 -O3\0".encode())


def silent_library(seed: int = 0) -> bytes:
    """A library that clang compiled: it does not say for which CPU."""
    return elf(b"\0clang version 17.0.6\0" + bytes([seed]))


def compiled_for(lanes: int) -> Tree:
    """What Inductor keeps of one graph, for vectors of `lanes` floats."""
    code = floats(lanes)
    return {
        GRAPH: pickled(code + b"inductor_config[cpp.simdlen]: None\n"),
        SOURCE: code,
        LIBRARY: library(lanes),
        f"aotautograd/a{KEY}/{KEY}": pickled(b"the autograd entry"),
    }
