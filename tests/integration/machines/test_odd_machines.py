"""Machines that lack a tool, or have no place to write to.

Nothing of it fails a load or a save: the report says, in a line that names the tool or the folder,
what is wrong and what to do about it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from b10_transfer import CacheError
from b10_transfer import OperationStatus as Status
from b10_transfer.operations import transfer
from tests.support.bare_machines import lines_about, ordinary_programs, programs
from tests.support.cache_trees import (
    TRITON_HASH,
    compiled_graph,
    elf,
    triton_kernel,
    write_tree,
)
from tests.support.crowd import OTHER_USER, Act, run_one
from tests.support.mounts import no_execution, read_only, tmpfs
from tests.support.sites import Site, become

TREE = compiled_graph("model")
MORE = compiled_graph("another model", 1)
WITHOUT_LIBRARY = {path: data for path, data in TREE.items() if not path.endswith(".so")}

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)
needs_gcc = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")


def test_an_ordinary_machine_has_no_problem(saved: Site, ordinary: str) -> None:
    host = saved.host("host")
    for _ in range(2):
        assert host.load(PATH=ordinary).problems == ()
    host.write(MORE)
    for _ in range(2):
        assert host.save(PATH=ordinary).problems == ()
    assert host.load(PATH=ordinary, B10_STRICT_ROOTS="1").problems == ()
    assert host.save(PATH=ordinary, B10_STRICT_ROOTS="1").problems == ()


# Tools that Inductor runs before it uses even a loaded kernel.


def test_without_a_cpp_compiler_a_load_says_so(saved: Site, tmp_path: Path) -> None:
    report = saved.host("host").load(PATH=programs(tmp_path / "bin", "openssl"), CXX=None)
    assert (report.status, report.loaded) == (Status.SUCCESS, len(TREE))
    (line,) = report.problems
    assert "no C++ compiler" in line
    assert "'g++'" in line
    assert "install g++ or set CXX" in line


def test_a_compiler_that_cxx_names_and_that_is_not_there_is_named(
    saved: Site, ordinary: str
) -> None:
    (line,) = saved.host("host").load(PATH=ordinary, CXX="/opt/none/g++-99").problems
    assert "CXX: there is no '/opt/none/g++-99' to run" in line


def test_a_compiler_that_cxx_names_will_do(saved: Site, tmp_path: Path) -> None:
    elsewhere = programs(tmp_path / "elsewhere", "clang++")
    path = programs(tmp_path / "bin", "openssl")
    assert saved.host("host").load(PATH=path, CXX=f"{elsewhere}/clang++").problems == ()


def test_without_openssl_a_load_says_so(saved: Site, tmp_path: Path) -> None:
    report = saved.host("host").load(PATH=programs(tmp_path / "bin", "g++"))
    assert (report.status, report.loaded) == (Status.SUCCESS, len(TREE))
    (line,) = report.problems
    assert "there is no openssl" in line
    assert "install it, or set TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS=0" in line


def test_where_headers_are_not_precompiled_openssl_is_not_missed(
    saved: Site, tmp_path: Path
) -> None:
    path = programs(tmp_path / "bin", "g++")
    report = saved.host("host").load(PATH=path, TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS="0")
    assert report.problems == ()


def test_a_missing_tool_is_told_by_a_load_that_finds_everything_here_too(
    saved: Site, ordinary: str, tmp_path: Path
) -> None:
    host = saved.host("host")
    host.load(PATH=ordinary)
    report = host.load(PATH=programs(tmp_path / "bin"))
    assert report.status is Status.SKIPPED
    assert len(report.problems) == 2


def test_where_nothing_needs_the_tools_they_are_not_missed(site: Site, tmp_path: Path) -> None:
    site.host("saver", WITHOUT_LIBRARY).save()
    assert site.host("host").load(PATH=programs(tmp_path / "bin")).problems == ()


def test_where_the_only_libraries_are_tritons_the_tools_are_not_missed(
    site: Site, tmp_path: Path
) -> None:
    saver = site.host("saver")
    write_tree(saver.triton, {f"{TRITON_HASH}/__triton_launcher.so": elf()})
    saver.save()
    report = site.host("host").load(PATH=programs(tmp_path / "bin"))
    assert (report.loaded, report.problems) == (1, ())


def test_a_save_needs_no_tool(site: Site, tmp_path: Path) -> None:
    report = site.host("host", TREE).save(PATH=programs(tmp_path / "bin"))
    assert (report.status, report.problems) == (Status.SUCCESS, ())


# A cache root from which no code can be run.


@pytest.mark.parametrize("there", [True, False], ids=["there already", "not there yet"])
def test_a_root_from_which_nothing_can_be_executed_is_named(
    saved: Site, ordinary: str, there: bool
) -> None:
    host = saved.host("host")
    mounted = host.root if there else host.folder
    with tmpfs(mounted, 16 << 20), no_execution(mounted):
        report = host.load(PATH=ordinary)
        assert (report.status, report.loaded) == (Status.SUCCESS, len(TREE))
        (line,) = lines_about(report.problems, "noexec")
        assert f"the cache root {host.root} is on a filesystem mounted noexec" in line
        assert "mount it exec, or put the cache root elsewhere" in line
        assert host.save(PATH=ordinary).status is Status.SKIPPED


def test_where_no_library_comes_to_such_a_root_there_is_no_such_line(
    saved: Site, ordinary: str
) -> None:
    saver = saved.host("saver")
    group = triton_kernel(saver.triton / TRITON_HASH)
    write_tree(saver.triton / TRITON_HASH, group)
    saver.save(PATH=ordinary)
    host = saved.host("host")
    with tmpfs(host.triton, 16 << 20), no_execution(host.triton):
        host.triton.chmod(0o755)
        report = host.load(PATH=ordinary)
        assert (report.loaded, report.problems) == (len(TREE) + len(group), ())


@needs_gcc
def test_a_library_in_such_a_root_cannot_be_loaded(tmp_path: Path) -> None:
    library = tmp_path / "empty.so"
    subprocess.run(
        ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(library)],  # noqa: S607  # any g++
        input=b"",
        check=True,
    )
    ctypes.CDLL(str(library))
    with tmpfs(tmp_path / "root", 16 << 20) as root, no_execution(root):
        shutil.copy(library, root)
        with pytest.raises(OSError, match="failed to map segment"):
            ctypes.CDLL(str(root / "empty.so"))


# A HOME that is of no use.


@pytest.fixture
def saved_with_triton(saved: Site, ordinary: str) -> Site:
    """With a kernel of Triton's own root beside the tree of Inductor."""
    saver = saved.host("saver")
    write_tree(saver.triton / TRITON_HASH, triton_kernel(saver.triton / TRITON_HASH))
    assert saver.save(PATH=ordinary).added == 4
    return saved


def test_a_home_that_cannot_be_written_is_named_and_the_rest_is_loaded(
    saved_with_triton: Site, ordinary: str
) -> None:
    host = saved_with_triton.host("host")
    home = host.folder / "fixed home"
    home.mkdir(parents=True)
    with read_only(home):
        report = host.load(PATH=ordinary, HOME=str(home), TRITON_CACHE_DIR=None)
        assert (report.status, report.loaded) == (Status.SUCCESS, len(TREE))
        assert report.unavailable == 4
        (line,) = report.problems
        assert f"the cache root {home}/.triton/cache cannot be written by this user" in line
        assert (
            f"made in {home} (Read-only file system): set TRITON_CACHE_DIR to a writable folder"
            in line
        )
        again = host.load(PATH=ordinary, HOME=str(home), TRITON_CACHE_DIR=None)
        assert (again.status, again.already_here) == (Status.SKIPPED, len(TREE))
        assert (again.unavailable, again.problems) == (4, (line,))
        host.write(MORE)
        saved = host.save(PATH=ordinary, HOME=str(home), TRITON_CACHE_DIR=None)
        assert (saved.status, saved.added, saved.problems) == (Status.SUCCESS, len(MORE), ())


def test_a_home_that_is_no_folder_is_named_and_the_rest_is_loaded(
    saved_with_triton: Site, ordinary: str
) -> None:
    host = saved_with_triton.host("host", {})
    home = str(Path(__file__) / "home")
    report = host.load(PATH=ordinary, HOME=home, TRITON_CACHE_DIR=None)
    assert (report.status, report.loaded) == (Status.SUCCESS, len(TREE))
    assert len(lines_about(report.problems, f"{home}/.triton/cache", "cannot be written")) == 1
    assert host.save(PATH=ordinary, HOME=home, TRITON_CACHE_DIR=None).status is Status.SKIPPED


def test_where_nothing_would_come_there_such_a_home_is_not_worth_a_word(
    saved: Site, ordinary: str
) -> None:
    home = str(Path(__file__) / "home")
    report = saved.host("host").load(PATH=ordinary, HOME=home, TRITON_CACHE_DIR=None)
    assert (report.loaded, report.problems) == (len(TREE), ())


@pytest.mark.parametrize("home", ["/", "", "/nonexistent"])
@pytest.mark.parametrize("operation", ["load", "save"])
def test_a_user_without_a_home_loads_and_saves(
    saved: Site, ordinary: str, home: str, operation: str
) -> None:
    host = saved.host("host", MORE)
    variables = host.variables(PATH=ordinary, HOME=home)
    result = run_one(Act(operation, variables))
    assert (result.status, result.error) == ("SUCCESS", "")
    assert result.report["problems"] == []


@needs_root
@pytest.mark.parametrize("operation", ["load", "save"])
def test_another_user_in_the_home_of_root_loads_and_saves(operation: str) -> None:
    with tempfile.TemporaryDirectory(prefix="b10-test-") as folder:
        Path(folder).chmod(0o755)
        site = Site(Path(folder))
        path = ordinary_programs(site.folder / "bin")
        site.store.mkdir()
        site.store.chmod(0o777)
        host = site.host("host", MORE)
        variables = host.variables(PATH=path, HOME="/root", TRITON_CACHE_DIR=None)
        for name in ("", "inductor", "work", "tmp"):
            os.chown(host.folder / name, OTHER_USER, OTHER_USER)
        variables = {**variables, "TORCHINDUCTOR_CACHE_DIR": str(host.folder / "own")}
        write_tree(host.folder / "own", MORE)
        for item in [host.folder / "own", *(host.folder / "own").rglob("*")]:
            os.chown(item, OTHER_USER, OTHER_USER)
        assert run_one(Act("save", variables, user=OTHER_USER)).status == "SUCCESS"
        if operation == "load":
            shutil.rmtree(host.folder / "own")
        result = run_one(Act(operation, variables, user=OTHER_USER))
        assert (result.status, result.error) == (
            ("SUCCESS" if operation == "load" else "SKIPPED"),
            "",
        )
        assert result.report["problems"] == []


# Folders that are named by other things than their path, where these are gone.


@pytest.mark.parametrize("operation", ["load", "save"])
def test_a_root_relative_to_a_working_folder_that_is_gone_is_named_and_left_out(
    saved: Site, ordinary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    host = saved.host("host", MORE)
    settings = host.settings(PATH=ordinary, VLLM_CACHE_ROOT="relative")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    report = getattr(transfer, operation)(settings)
    assert report.status is Status.SUCCESS
    (line,) = report.problems
    assert line == (
        "the cache root vllm cannot be found, and is left out: it is relative to a working folder "
        "that is gone; set VLLM_CACHE_ROOT to an absolute path"
    )


@pytest.fixture
def no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tempfile does where neither /tmp nor any other such folder can be written."""

    def fail() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)


@pytest.mark.usefixtures("no_temporary_folder")
@pytest.mark.parametrize("operation", ["load", "save"])
def test_without_a_temporary_folder_the_roots_that_would_be_there_are_named_and_left_out(
    saved: Site, ordinary: str, operation: str
) -> None:
    host = saved.host("host", MORE)
    report = getattr(host, operation)(PATH=ordinary, TMPDIR=None)
    assert report.status is Status.SUCCESS
    assert len(lines_about(report.problems, "is left out: No usable temporary")) == 2
    assert len(report.problems) == 2


@pytest.mark.usefixtures("no_temporary_folder")
def test_without_any_folder_for_scratch_either_the_error_says_what_to_set(
    saved: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(saved.host("host", MORE), monkeypatch, TMPDIR=None, LOCAL_WORK_DIR=None)
    for operation in (transfer.load, transfer.save):
        with pytest.raises(CacheError, match=r"No usable temporary.*set LOCAL_WORK_DIR"):
            operation()
