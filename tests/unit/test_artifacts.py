"""Which files are artifacts, what is special about some, and in which order they are placed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from b10_store.tree.scan import Fingerprint, FoundFile
from b10_transfer.caches.artifacts import (
    Bundles,
    find_files,
    placing_order,
    restorer,
    select_artifacts,
    variant_group_length,
)
from b10_transfer.caches.kinds import DEEP_JIT, FLASHINFER, INDUCTOR, TRITON
from b10_transfer.caches.roots import CacheRoot
from tests.support.cache_trees import LOCAL_RECORD, TRITON_HASH, elf, triton_kernel, write_tree
from tests.support.scanned_roots import artifacts_in

if TYPE_CHECKING:
    from pathlib import Path

    from b10_transfer.caches.kinds import RootKind

KEPT = [
    "ab/cabcdef.py",
    "ab/cabcdef.cpp",
    "ab/cabcdef.best_config",
    "ab/cabcdef.run_autotune.json",
    "fxgraph/ab/fabc/0123",
    "aotautograd/aabc/0123",
    "triton/0/HASH/kernel.cubin",
    "cache/0123456789abcdef",
    "aotriton/dynamo/x",
    "sub/gcc/file.h",
    "template.py",
    "ab/locksmith.py",
    "ab/x.tmp.py",
]
NATIVE = [
    "ab/cabcdef.so",
    "ab/cabcdef.main.so",
    "ab/cabcdef.main.o",
    "ab/cabcdef.optimized.o",
    "cutedsl_compile_cache/kernel.o",
]
LEFT_OUT = [
    "locks/fabc.lock",
    "deep/locks/x",
    "ab/cabc.lock",
    "triton/0/HASH/lock",
    "ab/.1234.5678.tmp",
    "ab/cabc.tmp",
    ".hidden",
    ".hidden_folder/x.py",
    "triton/0/tmp.pid_12_3/kernel.cubin",
    "ab/tmpabcd1234.py",
    "ab/x.o",
    "ab/kernel.error",
    "ab/memoizer_cache.json",
    "abc_CxxBuild/main.cpp",
    "gcc/x",
    "aoti_eager/x",
    "autoheuristic/x",
    "compiler_bisect/x",
    "torch_cutlass/x",
    "unhashed_kernel_inputs/x",
    f"{LOCAL_RECORD}/loaded",
    f"{LOCAL_RECORD}/staging-0/ab/x.py",
]


def root_at(folder: Path, kind: RootKind = INDUCTOR) -> CacheRoot:
    return CacheRoot(kind, str(folder))


def test_artifacts_are_found_and_everything_else_is_left_out(tmp_path: Path) -> None:
    write_tree(tmp_path, dict.fromkeys([*KEPT, *LEFT_OUT], b"{}"))
    native = dict.fromkeys(NATIVE, elf())
    write_tree(tmp_path, native)
    assert artifacts_in(root_at(tmp_path)) == (sorted([*KEPT, *NATIVE]), [])


@pytest.mark.layouts
def test_of_a_triton_root_only_the_files_of_kernels_are_artifacts(tmp_path: Path) -> None:
    kept = [f"{name}/kernel.cubin" for name in (TRITON_HASH, "0" * 64)]
    others = [
        "notes.txt",
        f"{'=-_' * 11}/kernel.cubin",
        "HASH/kernel.cubin",
        f"{TRITON_HASH}/sub/x",
        f"{TRITON_HASH}/lock",
    ]
    write_tree(tmp_path, dict.fromkeys([*kept, *others], b"x"))
    assert artifacts_in(root_at(tmp_path, TRITON)) == (sorted(kept), [])


def test_what_lies_in_a_folder_of_another_root_belongs_to_the_outermost_that_takes_it(
    tmp_path: Path,
) -> None:
    kernel = f"triton/{TRITON_HASH}/k.cubin"
    write_tree(tmp_path, {"ab/x.py": b"", kernel: b"", "triton2/z": b""})
    outer = root_at(tmp_path)
    inner = CacheRoot(TRITON, str(tmp_path / "triton"), ((INDUCTOR, "triton/"),))
    assert [item.path for item in find_files(outer)] == ["ab/x.py", kernel, "triton2/z"]
    assert find_files(inner) == []
    write_tree(tmp_path, {f"gcc/triton/{TRITON_HASH}/k.cubin": b""})
    inner = CacheRoot(TRITON, str(tmp_path / "gcc" / "triton"), ((INDUCTOR, "gcc/triton/"),))
    assert [item.path for item in find_files(inner)] == [f"{TRITON_HASH}/k.cubin"]


def test_a_folder_that_is_not_there_or_is_a_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("absent", "file"):
        assert artifacts_in(root_at(tmp_path / name)) == ([], [])


def test_a_path_that_no_other_host_could_write_is_skipped_and_named(tmp_path: Path) -> None:
    write_tree(tmp_path, {"good.py": b"", "back\\slash.py": b""})
    bad_utf8 = os.fsencode(tmp_path) + b"/not-\xff-utf8"
    with open(bad_utf8, "wb"):
        pass
    paths, skipped = artifacts_in(root_at(tmp_path))
    assert paths == ["good.py"]
    assert sorted(skipped) == ["back\\slash.py", "not-\udcff-utf8"]


# Shared libraries.


def test_a_library_cut_short_anywhere_is_skipped(tmp_path: Path) -> None:
    whole = elf(bytes(200))
    for size in range(len(whole)):
        (tmp_path / "x.so").write_bytes(whole[:size])
        assert artifacts_in(root_at(tmp_path)) == ([], ["x.so"]), size
    (tmp_path / "x.so").write_bytes(whole)
    assert artifacts_in(root_at(tmp_path)) == (["x.so"], [])
    (tmp_path / "x.so").write_bytes(whole + b"appended")
    assert artifacts_in(root_at(tmp_path)) == (["x.so"], [])


# Triton groups.


@pytest.mark.parametrize("folder", ["triton/0/HASH", "HASH"])
def test_a_triton_group_is_taken_with_all_its_files_or_not_at_all(
    tmp_path: Path, folder: str
) -> None:
    kernel = triton_kernel(tmp_path / folder)
    write_tree(tmp_path / folder, kernel)
    whole = sorted(f"{folder}/{name}" for name in kernel)
    assert artifacts_in(root_at(tmp_path)) == (whole, [])
    for name in sorted(set(kernel) - {"__grp__kernel.json"}):
        (tmp_path / folder / name).rename(tmp_path / "aside.txt")
        paths, skipped = artifacts_in(root_at(tmp_path))
        assert (paths, skipped) == (["aside.txt"], ["__grp__kernel.json"])
        (tmp_path / "aside.txt").rename(tmp_path / folder / name)
    assert artifacts_in(root_at(tmp_path)) == (whole, [])


def test_a_group_whose_library_is_cut_short_is_not_taken(tmp_path: Path) -> None:
    folder = tmp_path / "HASH"
    write_tree(folder, {"launch.so": elf()[:-1], "x.json": b"{}"})
    paths = {name: str(folder / name) for name in ("launch.so", "x.json")}
    (folder / "__grp__k.json").write_text(str({"child_paths": paths}).replace("'", '"'))
    paths_found, skipped = artifacts_in(root_at(tmp_path))
    assert paths_found == []
    assert skipped == ["launch.so"]


@pytest.mark.parametrize("data", [b"", b"{}", b"not json", b'{"child_paths": {"a": "/b"}}'])
def test_a_kernel_whose_group_is_none_is_skipped(tmp_path: Path, data: bytes) -> None:
    write_tree(tmp_path, {"HASH/__grp__k.json": data, "HASH/k.cubin": b"code", "other/k": b""})
    assert artifacts_in(root_at(tmp_path)) == (["other/k"], ["__grp__k.json"])


def test_a_group_too_large_to_be_rewritten_is_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "HASH"
    paths = {f"{number:05d}": str(folder / f"{number:05d}") for number in range(20_000)}
    write_tree(folder, {"__grp__k.json": str({"child_paths": paths}).replace("'", '"').encode()})
    assert artifacts_in(root_at(tmp_path)) == ([], ["__grp__k.json"])


# Facts about single artifacts.


def test_native_files_carry_the_hosts_requirement_and_others_do_not(tmp_path: Path) -> None:
    write_tree(tmp_path, dict.fromkeys(["a.py", "a.h", "a.gch"], b""))
    write_tree(tmp_path, dict.fromkeys(["a.so", "cutedsl_compile_cache/a.o"], elf()))
    root = root_at(tmp_path)
    files, _ = select_artifacts(root, find_files(root), "avx512")
    assert {file.identity.path: file.identity.requirement for file in files} == {
        "a.py": "",
        "a.h": "avx512",
        "a.gch": "avx512",
        "a.so": "avx512",
        "cutedsl_compile_cache/a.o": "avx512",
    }
    assert {file.identity.root for file in files} == {"inductor"}


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("fxgraph/ab/fabc/0123", "fxgraph/ab/fabc"),
        ("aotautograd/aabc/0123", "aotautograd/aabc"),
        ("fxgraph/ab/0123", ""),
        ("fxgraph/ab/fabc/sub/0123", ""),
        ("aotautograd/0123", ""),
        ("aotautograd/a/b/0123", ""),
        ("deep/fxgraph/ab/fabc/0123", "deep/fxgraph/ab/fabc"),
        ("deep/inductor_cache/aotautograd/aabc/0123", "deep/inductor_cache/aotautograd/aabc"),
        ("notfxgraph/ab/fabc/0123", ""),
        ("deep/notaotautograd/aabc/0123", ""),
        ("ab/cabc.py", ""),
    ],
)
def test_the_variants_of_one_key_are_a_group(path: str, group: str) -> None:
    assert path[: variant_group_length(path)] == group


def test_nothing_is_placed_before_what_it_refers_to() -> None:
    in_order = [
        ["ab/cabc.py", "ab/cabc.so", "HASH/kernel.cubin", "HASH/kernel.json"],
        ["triton/0/HASH/kernel.cubin"],
        ["triton/0/HASH/__grp__kernel.json", "HASH/__grp__kernel.json"],
        ["cache/0123", "ab/cabc.best_config"],
        ["fxgraph/ab/fabc/0123"],
        ["aotautograd/aabc/0123"],
        ["dynamo/x"],
    ]
    orders = [{placing_order(path) for path in paths} for paths in in_order]
    assert all(len(order) == 1 for order in orders)
    assert [min(order) for order in orders] == sorted({min(order) for order in orders})


def test_a_kernels_files_are_one_bundle_and_others_are_none() -> None:
    paths = ["HASH/__grp__k.json", "HASH/k.cubin", "other/k.cubin", "__grp__top.json", "top.txt"]
    bundles = Bundles(TRITON, paths)
    assert [bundles.of(path) for path in paths] == ["HASH", "HASH", "", ".", "."]
    assert Bundles(TRITON, ["HASH/k.cubin"]).of("HASH/k.cubin") == ""


def test_the_bundles_that_a_kind_of_root_names_are_bundles_without_a_group(tmp_path: Path) -> None:
    kernel = "cache/sm90_gemm.0abc"
    write_tree(tmp_path, dict.fromkeys([f"{kernel}/kernel.cubin", f"{kernel}/.committed"], b""))
    root = root_at(tmp_path, DEEP_JIT)
    files, _ = select_artifacts(root, find_files(root), "")
    assert {file.identity.path: file.bundle for file in files} == {
        f"{kernel}/kernel.cubin": kernel,
        f"{kernel}/.committed": kernel,
    }


@pytest.mark.parametrize("kind", [INDUCTOR, FLASHINFER])
def test_the_time_of_a_file_is_stored_where_its_compiler_looks_at_it(
    tmp_path: Path, kind: RootKind
) -> None:
    write_tree(tmp_path, {"autotune/x.py": b""})
    os.utime(tmp_path / "autotune" / "x.py", ns=(0, 1_234_567_890_123_456_789))
    root = root_at(tmp_path, kind)
    files, _ = select_artifacts(root, find_files(root), "")
    expected = 1_234_567_890_123_456_789 if kind is FLASHINFER else None
    assert [file.mtime_ns for file in files] == [expected]


@pytest.mark.parametrize(
    ("time_ns", "is_kept"),
    [(-1, True), ((1 << 63) - 1, True), (1 << 63, False), (1 << 64, False), (-(1 << 65), False)],
)
def test_a_time_for_which_there_is_no_room_in_a_manifest_is_not_stored(
    time_ns: int, is_kept: bool
) -> None:
    found = FoundFile("ab/x.py", "/root", Fingerprint(1, time_ns, 0, 0), executable=False)
    (file,), _ = select_artifacts(CacheRoot(FLASHINFER, "/root"), [found], "")
    assert file.mtime_ns == (time_ns if is_kept else None)


def test_only_groups_are_rewritten_on_load(tmp_path: Path) -> None:
    assert restorer("ab/cabc.py", "/root", ["cabc.py"]) is None
    kernel = triton_kernel(tmp_path)
    restore = restorer("triton/0/HASH/__grp__kernel.json", "/new", list(kernel))
    assert restore is not None
    restored = restore(kernel["__grp__kernel.json"])
    assert b"/new/triton/0/HASH/kernel.cubin" in restored
    assert os.fsencode(tmp_path) not in restored


def test_a_group_is_not_restored_where_a_file_of_it_is_neither_stored_nor_here(
    tmp_path: Path,
) -> None:
    kernel = triton_kernel(tmp_path)
    stored = [name for name in kernel if name != "kernel.cubin"]
    restore = restorer("HASH/__grp__kernel.json", str(tmp_path), stored)
    assert restore is not None
    with pytest.raises(ValueError, match=r"without kernel\.cubin"):
        restore(kernel["__grp__kernel.json"])
    write_tree(tmp_path, {"HASH/kernel.cubin": b"here already"})
    restore(kernel["__grp__kernel.json"])
