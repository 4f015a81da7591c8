"""What `doctor` finds: each thing that keeps a cache from helping, in a line that names it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from b10_transfer.doctor import Finding, examine
from b10_transfer.errors import CacheValidationError
from tests.support.bare_machines import ordinary_programs, programs
from tests.support.cache_trees import (
    TRITON_HASH,
    compiled_graph,
    snapshot,
    triton_kernel,
    write_tree,
)
from tests.support.machines import CPU_MACHINE, GPU_MACHINE, Machine, running_on
from tests.support.mounts import no_execution, read_only, tmpfs
from tests.support.sites import Host, Site

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from b10_transfer.environment import Environment

TREE = compiled_graph("model")
OTHER_USER = 12345

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(autouse=True)
def ordinary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that Inductor runs is there."""
    monkeypatch.setenv("PATH", ordinary_programs(tmp_path / "ordinary"), prepend=os.pathsep)


@pytest.fixture(autouse=True)
def on_a_cpu() -> Generator[Environment]:
    with running_on(CPU_MACHINE) as environment:
        yield environment


@pytest.fixture
def saved(site: Site) -> Site:
    """A site with something in its store."""
    site.host("saver", TREE).save()
    return site


def problems(host: Host, **changes: str | None) -> list[tuple[str, str]]:
    """What is found to be wrong: subject and text."""
    findings = examine(host.settings(**changes))
    return [(item.subject, item.text) for item in findings if item.is_problem]


def only_problem(host: Host, subject: str, **changes: str | None) -> str:
    """The text of the one problem, which is with `subject`."""
    ((found, text),) = problems(host, **changes)
    assert found == subject
    return text


def notes(host: Host, subject: str, **changes: str | None) -> list[str]:
    """What is said of `subject` that is no problem."""
    findings = examine(host.settings(**changes))
    return [item.text for item in findings if item.subject == subject and not item.is_problem]


# Where nothing is wrong.


@pytest.mark.parametrize("machine", [CPU_MACHINE, GPU_MACHINE], ids=["CPU", "GPU"])
def test_a_host_that_saved_and_one_that_loaded_have_no_problem(
    site: Site, machine: Machine
) -> None:
    with running_on(machine) as environment:
        saver, loader = site.host("saver", TREE), site.host("loader")
        saver.save()
        loader.load()
        for host in (saver, loader):
            assert problems(host) == []
            (stored,) = notes(host, "stored")
            assert stored.startswith(f"{len(TREE)} artifacts, ")
            assert environment.key in stored
            (root,) = notes(host, "inductor")
            assert root.startswith(f"{host.root}: {len(TREE)} files, ")


def test_a_host_that_has_not_loaded_yet_has_no_problem(saved: Site) -> None:
    host = saved.host("host")
    assert problems(host) == []
    assert notes(host, "inductor") == [f"{host.root}: not there"]
    host.root.mkdir(parents=True)
    assert notes(host, "inductor") == [f"{host.root}: no artifacts"]


def test_every_cache_root_is_named_with_its_folder(saved: Site) -> None:
    host = saved.host("host")
    mine = f"triton,mine={host.folder}/mine"
    findings = examine(host.settings(B10_CACHE_ROOTS=mine))
    assert Finding("triton", f"{host.triton}: not there") in findings
    assert Finding("mine", f"{host.folder}/mine: not there") in findings
    assert "inductor" not in {item.subject for item in findings}


def test_it_changes_nothing_here_and_nothing_in_the_store(saved: Site) -> None:
    host = saved.host("host")
    host.load()
    host.variables()
    write_tree(host.triton / TRITON_HASH, triton_kernel(host.triton / TRITON_HASH))
    # Something that a load would sweep, and timings that it would unite.
    write_tree(host.root, {".b10_transfer/staging-0/x": b"", "cache/" + "0" * 64: b"{}"})
    strange = replace(CPU_MACHINE, c_library="glibc 2.40").environment()
    settings = host.settings()
    before = snapshot(saved.folder)
    examine(settings)
    with running_on(strange):
        examine(settings)
    assert snapshot(saved.folder) == before


def test_it_makes_no_folder_where_there_is_none(site: Site) -> None:
    host = site.host("host")
    settings = host.settings()
    before = snapshot(site.folder)
    examine(settings)
    assert snapshot(site.folder) == before


# Settings.


def test_a_cache_that_is_off_is_a_problem(saved: Site) -> None:
    line = only_problem(saved.host("host"), "settings", BASETEN_FS_ENABLED=None)
    assert line == "the cache is off: set BASETEN_FS_ENABLED=1 to use it"


def test_loads_that_are_turned_off_are_a_problem(saved: Site) -> None:
    line = only_problem(saved.host("host"), "settings", B10_CACHE_LOAD="0")
    assert line == "loads are turned off by B10_CACHE_LOAD=0"


def test_a_setting_that_cannot_be_used_is_an_error(saved: Site) -> None:
    with pytest.raises(CacheValidationError, match="B10_CACHE_NAMESPACE"):
        examine(saved.host("host").settings(B10_CACHE_NAMESPACE="Not so"))


# The store.


def test_a_store_that_is_not_there_is_a_problem(site: Site) -> None:
    line = only_problem(site.host("host"), "store")
    assert line == f"there is no folder {site.store} yet; a save makes it"


def test_a_file_in_the_place_of_the_store_is_a_problem(site: Site) -> None:
    site.store.write_bytes(b"")
    assert str(site.store) in only_problem(site.host("host"), "store")


def test_a_store_of_another_format_is_a_problem(saved: Site) -> None:
    line = "b10-transfer store, format 99, check 0123456789abcdef\n"
    (saved.store / "FORMAT").write_text(line)
    text = only_problem(saved.host("host"), "store")
    assert text.startswith(f"{saved.store} cannot be read: ")


def test_a_store_that_cannot_be_listed_is_a_problem(saved: Site) -> None:
    shutil.rmtree(saved.store / "manifests")
    (saved.store / "manifests").write_bytes(b"")
    text = only_problem(saved.host("host"), "store")
    assert text.startswith(f"{saved.store} cannot be read: ")


def test_a_read_only_store_is_worth_a_note(saved: Site) -> None:
    host = saved.host("host")
    with read_only(saved.store):
        assert problems(host) == []
        assert f"{saved.store} is read-only here: loads work, saves do not" in notes(host, "store")
    assert notes(host, "store") == []


def test_a_damaged_manifest_is_a_problem_and_named(saved: Site) -> None:
    (manifest,) = saved.files("manifests")
    manifest.write_bytes(manifest.read_bytes()[:100])
    found = problems(saved.host("host"))
    assert [(subject, manifest.name in text) for subject, text in found] == [
        ("store", True),
        ("stored", False),
    ]


def test_an_empty_store_is_a_problem(site: Site) -> None:
    site.store.mkdir()
    line = only_problem(site.host("host"), "stored")
    assert line == "nothing is stored yet, for any environment"


def test_what_is_stored_in_other_namespaces_is_named(site: Site, on_a_cpu: Environment) -> None:
    saver = site.host("saver", TREE)
    for name in ("flux", "llama"):
        saver.save(B10_CACHE_NAMESPACE=name)
    line = only_problem(site.host("host"), "stored")
    assert f"nothing for environment {on_a_cpu.key} in this namespace" in line
    assert "but in others: flux, llama; see B10_CACHE_NAMESPACE" in line
    assert problems(site.host("host"), B10_CACHE_NAMESPACE="flux") == []
    saver.save()
    line = only_problem(site.host("host"), "stored", B10_CACHE_NAMESPACE="third")
    assert "but in others: none, flux, llama" in line


def test_the_nearest_environment_is_named_by_what_differs(site: Site) -> None:
    far = CPU_MACHINE.but(torch="2.9.0+cpu", torch_git="0000", triton="3.5.0", machine="aarch64")
    for number, machine in enumerate((far, CPU_MACHINE.but(triton="3.6.0"), far.but(flags="fma"))):
        with running_on(machine):
            site.host(f"saver-{number}", TREE).save()
    line = only_problem(site.host("host"), "stored")
    assert "of 3 others the nearest has triton 3.6.0 (here 3.7.1)" in line
    assert "torch" not in line.partition("the nearest has")[2]


def test_what_differs_in_the_machine_that_saved_is_a_problem(saved: Site) -> None:
    with running_on(CPU_MACHINE.but(threads="16", compiler="/usr/bin/clang++")) as here:
        line = only_problem(saved.host("host"), "stored")
        assert here.key in notes(saved.host("host"), "stored")[0]
    assert line.startswith("the machine that saved last had ")
    assert "8 (here 16)" in line
    assert "/usr/bin/g++-12 (here /usr/bin/clang++)" in line


# Cache roots.


def test_a_root_that_every_user_can_write_is_named(saved: Site) -> None:
    host = saved.host("host")
    host.root.mkdir(parents=True)
    host.root.chmod(0o777)
    line = only_problem(host, "cache root")
    assert f"{host.root} can be written by every user (chmod o-w ends that)" in line
    strict = only_problem(host, "cache root", B10_STRICT_ROOTS="1")
    assert "it is left out, as B10_STRICT_ROOTS says" in strict
    assert notes(host, "inductor", B10_STRICT_ROOTS="1") == []


@needs_root
def test_a_root_of_another_user_is_named(saved: Site) -> None:
    host = saved.host("host")
    host.root.mkdir(parents=True)
    os.chown(host.root, OTHER_USER, OTHER_USER)
    assert f"belongs to another user (uid {OTHER_USER};" in only_problem(host, "cache root")


def test_a_root_that_cannot_be_used_is_named(saved: Site) -> None:
    # Of those that most models do without.
    host = saved.host("host")
    line = only_problem(host, "cache root", FLASHINFER_WORKSPACE_BASE=str(saved.store))
    assert "the cache root flashinfer" in line
    assert "it is left out" in line


# The machine.


@pytest.mark.parametrize(
    ("there", "expected"), [("openssl", "no C++ compiler"), ("g++", "there is no openssl")]
)
def test_a_missing_tool_is_a_problem(
    saved: Site, tmp_path: Path, there: str, expected: str
) -> None:
    path = programs(tmp_path / "bin", there)
    assert expected in only_problem(saved.host("host"), "machine", PATH=path, CXX=None)


def test_on_a_gpu_tools_are_missed_only_where_there_are_cpp_kernels(
    site: Site, tmp_path: Path
) -> None:
    path = programs(tmp_path / "bin")
    with running_on(GPU_MACHINE):
        host = site.host("host", {"ab/kernel.py": b""})
        host.save()
        assert problems(host, PATH=path, CXX=None) == []
        host.write(TREE)
        found = problems(host, PATH=path, CXX=None)
    assert [subject for subject, _ in found] == ["machine", "machine"]


@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "not loaded yet"])
def test_a_root_from_which_nothing_can_be_executed_is_a_problem(saved: Site, loaded: bool) -> None:
    host = saved.host("host")
    with tmpfs(host.root, 16 << 20), no_execution(host.root):
        host.root.chmod(0o755)
        if loaded:
            host.load()
        line = only_problem(host, "machine")
    assert f"the cache root {host.root} is on a filesystem mounted noexec" in line


def test_where_no_library_would_come_to_such_a_root_there_is_no_such_line(site: Site) -> None:
    host = site.host("host")
    with running_on(GPU_MACHINE), tmpfs(host.root, 16 << 20), no_execution(host.root):
        host.root.chmod(0o755)
        host.write({"ab/kernel.py": b""})
        host.save()
        assert problems(host) == []


def test_several_things_are_found_at_once(site: Site, tmp_path: Path) -> None:
    host = site.host("host")
    found = problems(
        host, BASETEN_FS_ENABLED="0", B10_CACHE_LOAD="0", PATH=programs(tmp_path / "bin"), CXX=None
    )
    subjects = [subject for subject, _ in found]
    assert subjects == ["settings", "settings", "store", "machine", "machine"]
