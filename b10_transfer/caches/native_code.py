"""Find for which CPU a library of Inductor was compiled, if it says so.

Inductor compiles with `-march=native`, and names the library by a hash of that word, so a library
from another CPU is found, loaded and run. From torch 2.6 on Inductor asks gcc to write the options
that the word stood for into the debugging information (DW_AT_producer). clang writes none.
"""

from __future__ import annotations

import re

_PRODUCER = b"GNU C"
_LONGEST_PRODUCER = 8 << 10
_PRODUCERS = 4096
"""How many option texts are read: each part of a library that was compiled separately has one."""
_OPTION = re.compile(rb" -m([a-z0-9.]+)(?=[ \0])")

_SETS = {
    name: name
    for name in (
        *("avx", "avx2", "f16c", "fma", "fma4", "gfni", "sse4a", "vaes", "vpclmulqdq", "xop"),
        *("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd", "avx512ifma", "avx512vbmi"),
    )
} | {f"avx512{name}": f"avx512_{name}" for name in ("vbmi2", "vnni", "bitalg", "vpopcntdq")}
"""For gcc's name of an instruction set, the name in /proc/cpuinfo. Newer sets are left out: a
kernel that does not know a set does not list it, although the CPU has it and gcc uses it."""


def lacking_instructions(library: bytes, available: frozenset[str]) -> frozenset[str] | None:
    """Return the instruction sets that a library may use and a CPU lacks.

    Args:
        library: its bytes.
        available: the flags of the CPU, as /proc/cpuinfo has them.

    Returns:
        None when the library does not say, or the flags are not known.
    """
    written = _written_options(library)
    if written is None or not available:
        return None
    options = {name.decode() for name in _OPTION.findall(written + b" ")}
    return frozenset(_SETS[name] for name in options if name in _SETS) - available


def _written_options(library: bytes) -> bytes | None:
    """Return the options that gcc recorded, or None; one pass, whatever the bytes are."""
    at = library.find(_PRODUCER)
    for _ in range(_PRODUCERS if at >= 0 else 0):
        end = library.find(b"\0", at, at + _LONGEST_PRODUCER)
        if end < 0:
            end = at + _LONGEST_PRODUCER
        else:
            first = library.find(b" -m", at, min(end, at + 48))
            if first >= 0:
                return library[first:end]
        at = library.find(_PRODUCER, end)
        if at < 0:
            break
    return None
