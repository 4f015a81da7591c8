from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from b10_transfer.caches.native_code import lacking_instructions
from b10_transfer.machine.cpu import read_cpu
from tests.support.vector_sources import AVX2_FLAGS, AVX512_FLAGS, library, silent_library

if TYPE_CHECKING:
    from pathlib import Path

GCC = shutil.which("g++")
AVX2, AVX512 = frozenset(AVX2_FLAGS.split()), frozenset(AVX512_FLAGS.split())


def test_a_library_says_which_instructions_a_cpu_lacks() -> None:
    wide = frozenset({"avx512f", "avx512vl", "avx512_vbmi2"})
    assert lacking_instructions(library(16), AVX2) == wide
    assert lacking_instructions(library(16), AVX512) == frozenset()
    assert lacking_instructions(library(8), AVX2) == frozenset()


def test_a_library_without_options_says_nothing() -> None:
    assert lacking_instructions(silent_library(), AVX2) is None
    assert lacking_instructions(b"", AVX2) is None
    assert lacking_instructions(library(16), frozenset()) is None


def test_of_all_compilers_that_a_library_names_the_first_thousands_are_looked_at() -> None:
    assert lacking_instructions(b"GNU C\0" * 1000 + library(16), AVX2)
    assert lacking_instructions(b"GNU C\0" * 5000 + library(16), AVX2) is None


@pytest.mark.skipif(GCC is None, reason="needs g++")
def test_what_gcc_makes_for_this_cpu_runs_on_it(tmp_path: Path) -> None:
    source = tmp_path / "one.cpp"
    source.write_text("int one() { return 1; }\n")
    made = tmp_path / "one.so"
    options = ["-shared", "-fPIC", "-g1", "-O3", "-march=native"]
    subprocess.run([str(GCC), *options, "-o", made, source], check=True)
    lacking = lacking_instructions(made.read_bytes(), read_cpu({}).flags)
    assert lacking == frozenset() or not read_cpu({}).flags
