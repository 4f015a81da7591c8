"""The headers that Inductor precompiles: their text, and a placeholder or what gcc makes of it.

Here `x.h.gch` is any bytes, except in the tests that run g++ itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus as Status
from b10_transfer.caches import folders as cache_folders
from tests.support.cache_trees import (
    TRITON_HASH,
    Tree,
    compiled_graph,
    elf,
    noise,
    read_tree,
    snapshot,
    write_tree,
)
from tests.support.mounts import read_only
from tests.support.programs import run_python

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.sites import Host, Site

TEXT = b"#include <torch/csrc/inductor/cpp_prefix.h>\n"
HEADER = {"cabc.h": TEXT}
PRECOMPILED = {"cabc.h.gch": noise(3000, 7)}
PLACEHOLDER = {"cabc.h.gch": b""}
KERNELS = compiled_graph("model")
FULL, PLAIN = "full", "placeholder"

LARGE_SIZE = 60 << 20
MEMORY_LIMIT = 40 << 20

needs_gcc = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")


def headers_of(host: Host) -> Path:
    """The folder of its precompiled headers."""
    return Path(cache_folders.inductor_headers(host.variables()))


def headers_in(host: Host) -> Tree:
    return read_tree(headers_of(host))


def precompile(host: Host, tree: Mapping[str, bytes]) -> None:
    """Write what Inductor leaves there before it compiles a kernel."""
    write_tree(headers_of(host), tree)


def compiling_host(site: Site, name: str, tree: Mapping[str, bytes] | None = None) -> Host:
    """A host that precompiled its header and then compiled its kernels with it."""
    host = site.host(name)
    precompile(host, {**HEADER, **PRECOMPILED} if tree is None else tree)
    time.sleep(0.02)  # a tick of the filesystem's clock
    host.write(KERNELS)
    return host


# The text and a placeholder.


def test_the_text_is_saved_and_what_gcc_made_of_it_is_not(site: Site) -> None:
    report = compiling_host(site, "saver").save(B10_CACHE_HEADERS=PLAIN)
    assert (report.found, report.left_out) == (len(KERNELS) + len(HEADER), 0)
    assert report.uploaded_bytes < sum(map(len, KERNELS.values())) + 1000


def test_a_load_places_the_text_and_an_empty_precompiled_header(site: Site) -> None:
    compiling_host(site, "saver").save(B10_CACHE_HEADERS=PLAIN)
    host = site.host("host")
    report = host.load(B10_CACHE_HEADERS=PLAIN)
    assert (report.loaded, report.problems) == (len(KERNELS) + len(HEADER), ())
    assert headers_in(host) == {**HEADER, **PLACEHOLDER}


def test_a_load_that_brings_nothing_places_it_too(site: Site) -> None:
    compiling_host(site, "saver").save(B10_CACHE_HEADERS=PLAIN)
    host = site.host("host")
    host.load(B10_CACHE_HEADERS=PLAIN)
    (headers_of(host) / "cabc.h.gch").unlink()
    assert host.load(B10_CACHE_HEADERS=PLAIN).status is Status.SKIPPED
    assert headers_in(host) == {**HEADER, **PLACEHOLDER}


@pytest.mark.parametrize("headers", ["placeholder", FULL])
def test_a_real_precompiled_header_is_never_replaced(site: Site, headers: str) -> None:
    compiling_host(site, "saver").save(B10_CACHE_HEADERS=headers)
    host = site.host("host")
    precompile(host, {"cabc.h.gch": b"made here"})
    mark = snapshot(headers_of(host))["cabc.h.gch"]
    assert host.load(B10_CACHE_HEADERS=headers).status is Status.SUCCESS
    assert snapshot(headers_of(host))["cabc.h.gch"] == mark
    assert headers_in(host) == {**HEADER, "cabc.h.gch": b"made here"}


def test_where_the_text_could_not_be_had_there_is_no_placeholder_either(site: Site) -> None:
    saver = site.host("saver")
    precompile(saver, HEADER)
    saver.save(B10_CACHE_HEADERS=PLAIN)
    packs_of_headers = site.files("packs")
    saver.write(KERNELS)
    saver.save(B10_CACHE_HEADERS=PLAIN)
    for pack in packs_of_headers:
        pack.unlink()
    host = site.host("host")
    report = host.load(B10_CACHE_HEADERS=PLAIN)
    assert (report.loaded, report.unavailable) == (len(KERNELS), len(HEADER))
    assert headers_in(host) == {}


def test_a_placeholder_is_never_saved_by_either_way(site: Site) -> None:
    compiling_host(site, "saver").save(B10_CACHE_HEADERS=PLAIN)
    host = site.host("host")
    host.load(B10_CACHE_HEADERS=PLAIN)
    time.sleep(0.02)
    host.write(compiled_graph("another model"))
    for headers in (PLAIN, FULL):
        report = host.save(B10_CACHE_HEADERS=headers)
        assert (report.found, report.left_out) == (2 * len(KERNELS) + len(HEADER), 0)


def test_a_read_only_folder_with_the_text_is_no_failure(site: Site) -> None:
    compiling_host(site, "saver").save(B10_CACHE_HEADERS=PLAIN)
    host = site.host("host")
    precompile(host, HEADER)
    with read_only(headers_of(host)):
        report = host.load(B10_CACHE_HEADERS=PLAIN)
    assert (report.status, report.problems) == (Status.SUCCESS, ())
    assert (report.loaded, report.already_here) == (len(KERNELS), len(HEADER))
    assert headers_in(host) == HEADER


def test_a_read_only_folder_without_the_text_is_named_and_the_rest_is_loaded(site: Site) -> None:
    compiling_host(site, "saver").save(B10_CACHE_HEADERS=PLAIN)
    host = site.host("host")
    headers_of(host).mkdir(parents=True)
    with read_only(headers_of(host)):
        report = host.load(B10_CACHE_HEADERS=PLAIN)
    assert (report.status, report.loaded, report.unavailable) == (Status.SUCCESS, len(KERNELS), 1)
    assert [line for line in report.problems if str(headers_of(host)) in line]
    assert headers_in(host) == {}
    assert host.tree() == KERNELS


# What gcc made of it.


@pytest.mark.parametrize("headers", [None, FULL])
def test_a_precompiled_header_is_carried_by_default(site: Site, headers: str | None) -> None:
    report = compiling_host(site, "saver").save(B10_CACHE_HEADERS=headers)
    assert (report.found, report.left_out) == (len(KERNELS) + 2, 0)
    host = site.host("host")
    assert host.load(B10_CACHE_HEADERS=headers).loaded == len(KERNELS) + 2
    assert headers_in(host) == {**HEADER, **PRECOMPILED}


@pytest.mark.parametrize("headers", [None, FULL])
def test_where_none_is_stored_a_placeholder_does(site: Site, headers: str | None) -> None:
    compiling_host(site, "saver").save(B10_CACHE_HEADERS=PLAIN)
    host = site.host("host")
    assert host.load(B10_CACHE_HEADERS=headers).problems == ()
    assert headers_in(host) == {**HEADER, **PLACEHOLDER}


def test_a_precompiled_header_takes_the_place_of_a_placeholder(site: Site) -> None:
    compiling_host(site, "saver").save(B10_CACHE_HEADERS=FULL)
    host = site.host("host")
    host.load(B10_CACHE_HEADERS=PLAIN)
    assert headers_in(host) == {**HEADER, **PLACEHOLDER}
    report = host.load(B10_CACHE_HEADERS=FULL)
    assert (report.status, report.loaded, report.unavailable) == (Status.SUCCESS, 1, 0)
    assert headers_in(host) == {**HEADER, **PRECOMPILED}
    assert host.load(B10_CACHE_HEADERS=PLAIN).status is Status.SKIPPED
    assert headers_in(host) == {**HEADER, **PRECOMPILED}


def test_a_placeholder_that_could_not_be_replaced_is_there_again(site: Site) -> None:
    saver = compiling_host(site, "saver")
    saver.save(B10_CACHE_HEADERS=PLAIN)
    other_packs = site.files("packs")
    saver.save(B10_CACHE_HEADERS=FULL)
    host = site.host("host")
    host.load(B10_CACHE_HEADERS=PLAIN)
    for pack in site.files("packs"):
        if pack not in other_packs:
            pack.unlink()
    assert host.load(B10_CACHE_HEADERS=FULL).unavailable == 1
    assert headers_in(host) == {**HEADER, **PLACEHOLDER}


def test_where_placeholders_are_asked_for_a_stored_precompiled_header_is_not_loaded(
    site: Site,
) -> None:
    compiling_host(site, "saver").save(B10_CACHE_HEADERS=FULL)
    host = site.host("host")
    report = host.load(B10_CACHE_HEADERS=PLAIN)
    assert (report.loaded, report.not_for_host) == (len(KERNELS) + len(HEADER), 0)
    assert headers_in(host) == {**HEADER, **PLACEHOLDER}
    assert host.save(B10_CACHE_HEADERS=PLAIN).status is Status.SKIPPED
    late = site.host("late host")
    late.load(B10_CACHE_HEADERS=FULL)
    assert headers_in(late) == {**HEADER, **PRECOMPILED}, "another's save did not remove it"


def test_one_that_nothing_was_compiled_with_yet_is_not_saved(site: Site) -> None:
    host = site.host("host", KERNELS)
    time.sleep(0.02)
    precompile(host, {**HEADER, **PRECOMPILED})
    report = host.save(B10_CACHE_HEADERS=FULL)
    assert (report.found, report.left_out) == (len(KERNELS), 2), "nor its text without it"
    time.sleep(0.02)
    host.write(compiled_graph("another model"))
    report = host.save(B10_CACHE_HEADERS=FULL)
    assert (report.found, report.left_out) == (2 * len(KERNELS) + 2, 0)


def test_without_any_library_none_is_saved(site: Site) -> None:
    host = site.host("host", {"ab/cabc.py": b"source"})
    precompile(host, {**HEADER, **PRECOMPILED})
    report = host.save(B10_CACHE_HEADERS=FULL)
    assert (report.found, report.left_out) == (1, 2)


def test_a_library_that_is_compiled_without_the_header_proves_nothing(site: Site) -> None:
    host = site.host("host")
    precompile(host, {**HEADER, **PRECOMPILED})
    time.sleep(0.02)
    launcher = {f"{TRITON_HASH}/__triton_launcher.so": elf()}
    write_tree(host.triton, launcher)
    report = host.save(B10_CACHE_HEADERS=FULL)
    assert (report.found, report.left_out) == (len(launcher), 2)


def test_a_library_that_was_loaded_later_than_the_header_was_made_proves_nothing(
    site: Site,
) -> None:
    site.host("saver", KERNELS).save()
    host = site.host("host")
    precompile(host, {**HEADER, **PRECOMPILED})
    time.sleep(0.02)
    host.load()
    report = host.save(B10_CACHE_HEADERS=FULL)
    assert (report.found, report.left_out) == (len(KERNELS), 2)


def test_where_the_first_saver_could_not_prove_its_header_a_later_one_still_can(
    site: Site,
) -> None:
    first = site.host("first")
    precompile(first, HEADER)
    first.write(KERNELS)  # beside the compiler of the header, without it
    time.sleep(0.02)
    precompile(first, PRECOMPILED)
    first.save()
    second = site.host("second")
    second.load()
    assert headers_in(second) == {}, "a placeholder would keep it from making its own"
    precompile(second, {**HEADER, **PRECOMPILED})
    time.sleep(0.02)
    second.write(compiled_graph("another model"))
    assert second.save().added == len(compiled_graph("another model")) + 2
    third = site.host("third")
    third.load()
    assert headers_in(third) == {**HEADER, **PRECOMPILED}


def test_one_of_which_the_half_is_written_is_not_saved(site: Site) -> None:
    host = compiling_host(site, "host")
    time.sleep(0.02)
    precompile(host, {"cabc.h.gch": PRECOMPILED["cabc.h.gch"][:1500]})
    assert host.save(B10_CACHE_HEADERS=FULL).found == len(KERNELS)


def test_one_that_was_loaded_later_than_the_libraries_is_none_that_is_left_out(site: Site) -> None:
    compiling_host(site, "saver").save(B10_CACHE_HEADERS=FULL)
    host = site.host("host")
    host.load(B10_CACHE_HEADERS=PLAIN)
    time.sleep(0.02)
    host.load(B10_CACHE_HEADERS=FULL)
    report = host.save(B10_CACHE_HEADERS=FULL)
    assert (report.status, report.left_out) == (Status.SKIPPED, 0)
    assert report.found == len(KERNELS) + 2


# Its size.

_MEASURE = """
import importlib, json, re, sys
from pathlib import Path
from b10_transfer.operations import transfer
operation = sys.argv[1]
operations = "b10_transfer.operations."
for module in (operations + "context", "b10_store.store", operations + "load", "psutil"):
    importlib.import_module(module)

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

before = peak()
report = getattr(transfer, operation)()
print(json.dumps({"growth": peak() - before, "status": report.status.name}))
"""


def measured(host: Host, operation: str) -> int:
    """Do it in a process of its own; returns by how many bytes that grew at most."""
    code = f"import sys; sys.argv[1:] = [{operation!r}]" + _MEASURE
    done = run_python(code, host.variables(B10_CACHE_HEADERS=FULL))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "SUCCESS"
    growth: int = answer["growth"]
    return growth


@pytest.mark.skipif(sys.platform != "linux", reason="the greatest size is read from procfs")
def test_a_large_precompiled_header_is_saved_and_loaded_in_bounded_memory(site: Site) -> None:
    large = {"cabc.h.gch": (noise(1 << 20) + bytes(2 << 20)) * (LARGE_SIZE // (3 << 20))}
    assert len(large["cabc.h.gch"]) == LARGE_SIZE
    saver = compiling_host(site, "saver", {**HEADER, **large})
    host = site.host("host")
    assert measured(saver, "save") < MEMORY_LIMIT
    assert measured(host, "load") < MEMORY_LIMIT
    assert headers_in(host) == {**HEADER, **large}
    assert host.tree() == KERNELS
    assert host.save(B10_CACHE_HEADERS=FULL).left_out == 0, "all of it is as it was loaded"


# What gcc makes of a placeholder.

_HEADER_TEXT = "#include <cmath>\n#include <vector>\ninline int twice(int x) { return 2 * x; }\n"
_SOURCE_TEXT = "int f(std::vector<int> v) { return twice(v.size()) + std::abs(-1.5); }\n"


def run_gcc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["g++", "-O2", "-std=c++17", *arguments],  # noqa: S607  # the one that Inductor would run
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )


def compile_source(folder: Path) -> subprocess.CompletedProcess[str]:
    """Compile as Inductor does, with the header named on the command line."""
    return run_gcc(folder, "-Winvalid-pch", "-include", "x.h", "-c", "source.cpp", "-o", "out.o")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x.h").write_text(_HEADER_TEXT)
    (tmp_path / "source.cpp").write_text(_SOURCE_TEXT)
    return tmp_path


@needs_gcc
def test_gcc_compiles_the_same_beside_a_placeholder(folder: Path) -> None:
    done = compile_source(folder)
    assert done.returncode == 0, done.stderr
    expected = (folder / "out.o").read_bytes()
    (folder / "out.o").unlink()
    (folder / "x.h.gch").touch()
    done = compile_source(folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "out.o").read_bytes() == expected


@needs_gcc
def test_gcc_fails_on_a_precompiled_header_that_is_cut_short(folder: Path) -> None:
    made = run_gcc(folder, "-x", "c++-header", "x.h", "-o", "x.h.gch")
    assert made.returncode == 0, made.stderr
    assert compile_source(folder).returncode == 0
    precompiled = folder / "x.h.gch"
    os.truncate(precompiled, precompiled.stat().st_size // 2)
    assert compile_source(folder).returncode != 0
