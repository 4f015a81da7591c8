"""A real build by ninja, as FlashInfer makes one: after a load there is nothing to do.

FlashInfer never takes a library that it compiled before without asking ninja, which compares times
to the nanosecond with what it noted in its log (flashinfer/jit/core.py, JitSpec.build).
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.cache_trees import read_tree
from tests.support.sites import Site

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    shutil.which("ninja") is None or shutil.which("gcc") is None, reason="needs ninja and gcc"
)

BUILD = """
rule compile
  command = gcc -MMD -MF $out.d -fPIC -c $in -o $out
  depfile = $out.d
  deps = gcc
rule link
  command = gcc -shared $in -o $out
build {folder}/norm.o: compile {sources}/norm.c
build {folder}/norm.so: link {folder}/norm.o
default {folder}/norm.so
"""


def ninja(operation: Path) -> str:
    done = subprocess.run(
        ["ninja", "-v", "-C", str(operation)],  # noqa: S607  # the user's ninja
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def write_build(base: Path) -> Path:
    """Sources, and a build of them in FlashInfer's cache; returns the folder of the build."""
    sources = base / "sources"
    operation = base / ".cache" / "flashinfer" / "0.7.0" / "90a" / "cached_ops" / "norm"
    sources.mkdir(parents=True)
    operation.mkdir(parents=True)
    (sources / "norm.h").write_text("int norm(int);\n")
    (sources / "norm.c").write_text('#include "norm.h"\nint norm(int x) { return x; }\n')
    text = BUILD.format(folder=operation, sources=sources)
    (operation / "build.ninja").write_text(text)
    return operation


def test_ninja_has_nothing_to_do_after_a_load(tmp_path: Path) -> None:
    site, base = Site(tmp_path), tmp_path / "base"
    operation = write_build(base)
    assert "gcc" in ninja(operation)
    assert "no work to do" in ninja(operation)
    variables = {"FLASHINFER_WORKSPACE_BASE": str(base)}
    built = read_tree(operation)
    assert {".ninja_log", ".ninja_deps", "norm.o", "norm.so"} < built.keys()
    site.host("saver").save(wait=True, **variables)
    shutil.rmtree(base / ".cache")
    report = site.host("loader").load(**variables)
    assert report.loaded == len(built)
    assert read_tree(operation) == built
    assert "no work to do" in ninja(operation)


def test_ninja_builds_again_what_a_load_could_not_bring(tmp_path: Path) -> None:
    site, base = Site(tmp_path), tmp_path / "base"
    operation = write_build(base)
    ninja(operation)
    variables = {"FLASHINFER_WORKSPACE_BASE": str(base)}
    site.host("saver").save(wait=True, **variables)
    shutil.rmtree(base / ".cache")
    site.host("loader").load(**variables)
    (operation / "norm.o").unlink()
    assert "gcc" in ninja(operation)
    assert (operation / "norm.so").exists()
