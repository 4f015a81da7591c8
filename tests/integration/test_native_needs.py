"""Native code that needs what a host lacks is not placed there: real libraries, made by gcc."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import blake3
import pytest

from b10_transfer import OperationStatus as Status
from b10_transfer.caches.elf_needs import read_dynamic
from b10_transfer.caches.native_needs import HostLibraries, needs_of, split_requirement
from tests.support.machines import GPU_MACHINE, running_on

if TYPE_CHECKING:
    from tests.support.sites import Host, Site

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc here")

KEY = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrs"
KERNEL = f"cd/c{KEY}.main.so"
REST = {"ab/x.py": b"x = 1\n"}


def compile_library(target: Path, source: str, *options: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    text = target.with_suffix(".c")
    text.write_text(source)
    command = ["gcc", "-shared", "-fPIC", "-O0", "-w", "-o", str(target), str(text), *options]
    subprocess.run(command, check=True, capture_output=True)
    text.unlink()


def function_of(version: str) -> str:
    return f"in_{version.replace('.', '_')}"


def make_runtime(folder: Path, *versions: str) -> Path:
    """Make a library libb10omp.so.5 in a folder, which has these versions of its symbols."""
    library = folder / "libb10omp.so.5"
    functions = "".join(
        f"int {function_of(version)}(void) {{ return 1; }}\n" for version in versions
    )
    script = folder / "versions"
    folder.mkdir(parents=True, exist_ok=True)
    script.write_text(
        "".join(f"{version} {{ global: {function_of(version)}; }};\n" for version in versions)
    )
    options = ["-Wl,-soname,libb10omp.so.5", f"-Wl,--version-script={script}"]
    compile_library(library, functions, *options)
    return library


def make_kernel(host: Host, runtime: Path, version: str, *options: str) -> None:
    host.write(REST)
    called = function_of(version)
    source = f"int {called}(void); int kernel(void) {{ return {called}(); }}\n"
    compile_library(host.root / KERNEL, source, str(runtime), *options)


def test_a_library_that_the_host_lacks_is_a_miss_and_one_that_it_has_is_none(
    site: Site, tmp_path: Path
) -> None:
    runtime = make_runtime(tmp_path / "runtime", "B10_1.0")
    saver = site.host("saver")
    make_kernel(saver, runtime, "B10_1.0")
    saver.save(LD_LIBRARY_PATH=str(runtime.parent))
    without = site.host("without")
    report = without.load(LD_LIBRARY_PATH="")
    assert (report.status, report.loaded, report.not_for_host) == (Status.SUCCESS, 1, 1)
    assert "libb10omp.so.5" in "".join(report.problems)
    assert without.tree() == REST
    beside = site.host("beside")
    assert beside.load(LD_LIBRARY_PATH=str(runtime.parent)).loaded == 2
    assert beside.tree() == saver.tree()
    assert beside.save(LD_LIBRARY_PATH=str(runtime.parent)).status is Status.SKIPPED


def test_a_version_that_the_library_of_the_host_lacks_is_a_miss_and_both_hosts_keep_their_own(
    site: Site, tmp_path: Path
) -> None:
    old = make_runtime(tmp_path / "old", "B10_1.9")
    new = make_runtime(tmp_path / "new", "B10_1.9", "B10_1.10")
    saver = site.host("saver")
    make_kernel(saver, new, "B10_1.10")
    saver.save(LD_LIBRARY_PATH=str(new.parent))
    host = site.host("host")
    report = host.load(LD_LIBRARY_PATH=str(old.parent))
    assert "B10_1.10 of libb10omp.so.5" in "".join(report.problems)
    assert host.tree() == REST
    make_kernel(host, old, "B10_1.9")
    assert host.save(LD_LIBRARY_PATH=str(old.parent)).added == 1
    for runtime, kernels in (
        (old, {host.tree()[KERNEL]}),
        (new, {h.tree()[KERNEL] for h in (saver, host)}),
    ):
        loader = site.host(f"loader of {runtime.parent.name}")
        assert loader.load(LD_LIBRARY_PATH=str(runtime.parent)).loaded == 2
        assert loader.tree()[KERNEL] in kernels


def test_what_a_library_finds_in_a_folder_of_its_own_is_looked_for_there(
    site: Site, tmp_path: Path
) -> None:
    runtime = make_runtime(tmp_path / "private", "B10_1.0")
    saver = site.host("saver")
    make_kernel(saver, runtime, "B10_1.0", f"-Wl,-rpath,{runtime.parent}")
    saver.save()
    assert site.host("with it").load().loaded == 2
    runtime.unlink()
    assert site.host("without it").load().loaded == 1


def test_on_a_gpu_machine_the_needs_stand_behind_the_hash_of_the_cpu(
    site: Site, tmp_path: Path
) -> None:
    runtime = make_runtime(tmp_path / "runtime", "B10_1.0")
    with running_on(GPU_MACHINE):
        saver = site.host("saver")
        make_kernel(saver, runtime, "B10_1.0")
        saver.save(LD_LIBRARY_PATH=str(runtime.parent))
        assert site.host("with it").load(LD_LIBRARY_PATH=str(runtime.parent)).loaded == 2
        assert site.host("without it").load(LD_LIBRARY_PATH="").loaded == 1
    with running_on(GPU_MACHINE.but(flags=f"{GPU_MACHINE.flags} gfni")):
        assert site.host("other cpu").load(LD_LIBRARY_PATH=str(runtime.parent)).loaded == 1


def test_the_c_plus_plus_runtime_and_openmp_of_this_compiler_are_named_and_met_here(
    tmp_path: Path,
) -> None:
    source = tmp_path / "k.cpp"
    source.write_text(
        '#include <string>\n#include <omp.h>\nextern "C" int k(const char* t)'
        "{ return std::string(t).size() + omp_get_max_threads(); }\n"
    )
    library = tmp_path / "k.so"
    command = ["g++", "-shared", "-fPIC", "-fopenmp", "-o", str(library), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    needs = needs_of(str(library), HostLibraries(os.environ))
    assert "libstdc++.so.6(" in needs
    assert "libgomp.so.1" in needs
    assert "libc.so" not in needs
    assert HostLibraries({}).lacks(needs) == ""
    assert HostLibraries({}).lacks(needs.replace("GLIBCXX_3.4", "GLIBCXX_9.9.9"))


def test_a_requirement_is_split_as_it_was_joined() -> None:
    for host in ("", "0123456789abcdef"):
        for needs in ("", "libx.so.1", "libx.so.1(V_1,V_2) /opt/liby.so"):
            text = f"{host} {needs}" if host and needs else host or needs
            assert split_requirement(text) == (host, needs)


def test_needs_that_cannot_be_read_are_not_met() -> None:
    for needs in ("nothing.dll", "libc.so.6(", "libc.so.6()x", "a(b)"):
        assert HostLibraries({}).lacks(needs)


def test_a_save_that_looks_what_a_library_needs_is_no_use_of_it(site: Site, tmp_path: Path) -> None:
    saver = site.host("saver")
    make_kernel(saver, make_runtime(tmp_path / "runtime", "B10_1.0"), "B10_1.0")
    library = saver.root / KERNEL
    os.utime(library, ns=(0, 0))
    before = library.stat().st_atime_ns
    saver.save()
    assert library.stat().st_atime_ns == before


# Planted files.


def test_damaged_libraries_are_read_in_bounded_time_and_without_an_exception(
    tmp_path: Path,
) -> None:
    runtime = make_runtime(tmp_path / "runtime", "B10_1.0", "B10_2.0")
    (extension,) = list(Path(blake3.__file__).parent.glob("*.so"))[:1]
    source = random.Random(6)
    target = tmp_path / "planted.so"
    started = time.thread_time()
    for original in (runtime.read_bytes(), extension.read_bytes()[: 1 << 20]):
        for number in range(1500):
            data = bytearray(original[: source.choice((len(original), source.randrange(4096)))])
            for _ in range(source.choice((1, 8, 64)) if data else 0):
                data[source.randrange(min(len(data), 6000))] = source.choice(
                    (0, 1, 255, number % 256)
                )
            target.write_bytes(data)
            needs_of(str(target), HostLibraries({}))
    assert time.thread_time() - started < 120


def test_a_list_of_versions_that_never_ends_is_left_after_a_while(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path / "runtime", "B10_1.0")
    kernel = tmp_path / "kernel.so"
    compile_library(kernel, "int in_B10_1(void);", str(runtime))
    data = runtime.read_bytes()
    for at in range(0, len(data) - 4, 4):
        if data[at : at + 4] == b"\x1c\0\0\0":
            target = tmp_path / "loop.so"
            target.write_bytes(data[:at] + b"\0\0\0\x80" + data[at + 4 :])
            read_dynamic(str(target))


def test_what_is_no_library_needs_nothing(tmp_path: Path) -> None:
    for name, data in {
        "empty": b"",
        "text": b"text" * 100,
        "magic": b"\x7fELF" + bytes(60),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert read_dynamic(str(tmp_path / name)) is None
    assert read_dynamic(str(tmp_path)) is None
    assert read_dynamic(str(tmp_path / "absent")) is None
