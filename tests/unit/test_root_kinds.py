"""Which files of each kind of cache root are artifacts, and what is known about the kinds."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.paths import DEPTH_LIMIT
from b10_transfer.caches.artifacts import Bundles, find_files
from b10_transfer.caches.kinds import (
    CUTE_DSL,
    DEEP_GEMM,
    DEEP_JIT,
    FLASHINFER,
    FULL_HEADERS,
    HEADERS,
    INDUCTOR,
    ROOT_KINDS,
    SGLANG,
    SGLANG_JIT,
    TILELANG,
    TRITON,
    VLLM,
    RootKind,
    user_kind,
)
from b10_transfer.caches.roots import CacheRoot
from b10_transfer.caches.takers import Taker
from tests.support.cache_trees import LOCAL_RECORD, TRITON_HASH, write_tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.layouts

SHA = "0123456789abcdef" * 4
HASH = "cab" + "a2b3" * 12 + "7"
"""As Inductor names what it compiles: `c` and 51 characters of base32."""

AOT = f"torch_compile_cache/torch_aot_compile/{SHA}"
GRAPHS = "torch_compile_cache/0a1b2c3d4e/rank_0_0/backbone"
OPS = ".cache/flashinfer/0.7.0/90a/cached_ops"
UNFINISHED = f"tmp.pid_12_{SHA}"
OWN_RECORD = [f"{LOCAL_RECORD}/loaded", f"{LOCAL_RECORD}/staging-0/kept"]

KEPT: dict[str, list[str]] = {
    "inductor": [
        f"ab/{HASH}.py",
        f"ab/{HASH}.main.cpp",
        f"ab/{HASH}.main.so",
        f"ab/{HASH}.optimized.o",
        f"ab/{SHA}.best_config",
        f"ab/{HASH}.run_autotune.json",
        f"ab/{HASH}.halide/halide_kernel.a",
        f"fxgraph/ab/f{HASH[1:]}/{HASH}",
        f"aotautograd/a{HASH[1:]}/{HASH}",
        f"cache/{SHA}",
        f"cache/inductor_on_disk_cache/{SHA}",
        "dynamo/code_state_job:1_0_tag.pkl",
        f"dynamo/{SHA}/entry",
        f"triton/0/{TRITON_HASH}/__grp__kernel.json",
        f"cutedsl_compile_cache/{SHA}.o",
        f"configs_{SHA}.json",
    ],
    "inductor-headers": ["cabc.h"],
    "triton": [
        f"{TRITON_HASH}/kernel.cubin",
        f"{TRITON_HASH}/__grp__kernel.json",
        f"{TRITON_HASH}/launcher.cpython-312-x86_64-linux-gnu.so",
        f"{TRITON_HASH}/kernel.autotune.json",
        f"{SHA}/kernel.ptx",
    ],
    "vllm": [
        f"{AOT}/rank_0_0/model",
        f"{AOT}/rank_1_3/model",
        f"{AOT}/inductor_cache/ab/cabc.py",
        f"{AOT}/inductor_cache/ab/cabc.so",
        f"{AOT}/inductor_cache/ab/cabc.main.o",
        f"{AOT}/inductor_cache/fxgraph/ab/fabc/{SHA}",
        f"{AOT}/inductor_cache/aotautograd/aabc/{SHA}",
        f"{AOT}/inductor_cache/triton/0/{TRITON_HASH}/kernel.cubin",
        f"{AOT}/inductor_cache/cutedsl_compile_cache/abc.o",
        f"{GRAPHS}/cache_key_factors.json",
        f"{GRAPHS}/computation_graph.py",
        f"{GRAPHS}/transformed_code.py",
        f"{GRAPHS}/vllm_compile_cache.py",
        f"{GRAPHS}/artifact_compile_range_1_8192_subgraph_0",
        f"{GRAPHS}/artifact_compile_range_1_8192_subgraph_1/ab/cabc.py",
        "torch_compile_cache/0a1b2c3d4e/rank_0_0/triton_cache/HASH/kernel.cubin",
        "deep_gemm/cache/sm90_gemm.0abc/kernel.cu",
        "deep_gemm/cache/sm90_gemm.0abc/kernel.cubin",
        "deep_gemm/cache/sm90_gemm.0abc/meta.json",
        "deep_gemm/cache/sm90_gemm.0abc/.committed",
        f"flashinfer_autotune_cache/0.7.0/90a/{SHA}/autotune_configs.json",
        f"rocm_segmented_attention/{SHA}.json",
        f"rocm_segmented_attention/triton/{TRITON_HASH}/kernel.hsaco",
    ],
    "sglang": [
        f"triton/{TRITON_HASH}/kernel.cubin",
        f"inductor/ab/{HASH}.py",
        f"inductor/fxgraph/ab/fabc/{SHA}",
        f"inductor/triton/0/{TRITON_HASH}/kernel.json",
        f"{OPS}/norm/build.ninja",
        f"{OPS}/norm/.ninja_log",
        f"{OPS}/norm/.ninja_deps",
        f"{OPS}/norm/norm.cuda.o",
        f"{OPS}/norm/norm.so",
        ".cache/flashinfer/0.7.0/90a/generated/batch_decode/kernel.cu",
        ".cache/flashinfer/autotune/0.7.0/config.json",
        "flashinfer/autotune/0.7.0/90a/key/rank_tp0_pp0_dp0.json",
        f"tilelang/0.1.12/linux-x86_64/kernels/{SHA}/executable.so",
        f"tilelang/0.1.12/linux-x86_64/autotuner/{SHA}/best_config.json",
        "deep_gemm/cache/sm90_gemm.0abc/kernel.cubin",
        "deep_gemm/cache/sm90_gemm.0abc/.committed",
        "torch_compile_cache/0a1b2c3d4e/rank_0_0/model/sglang_compile_cache.py",
        "torch_compile_cache/0a1b2c3d4e/rank_0_0/model/inductor_cache/ab/cabc.py",
        f"torch_compile_cache/0a1b2c3d4e/rank_0_0/model/triton_cache/{TRITON_HASH}/k.cubin",
        f"cute_aot/fingerprint/{SHA}.o",
    ],
    "sglang_jit": [
        "sm90/norm/build-0123456789abcdef/deps-1def/sgl_deps.json",
        "sm90/norm/build-0123456789abcdef/deps-1def/norm.so",
    ],
    "flashinfer": [
        "0.7.0/90a/cached_ops/norm/build.ninja",
        "0.7.0/90a/cached_ops/norm/.ninja_log",
        "0.7.0/90a/cached_ops/norm/.ninja_deps",
        "0.7.0/90a/cached_ops/norm/norm.cuda.o",
        "0.7.0/90a/cached_ops/norm/norm.so",
        "0.7.0/90a/cached_ops/gemm/kernel.o",
        "0.7.0/90a/cached_ops/gemm/meta.json",
        "0.7.0/90a/generated/batch_decode/kernel.inc",
        "0.7.0/90a/autotune/sparse_mla_sm120_cpb.json",
        "autotune/0.7.0/config.json",
    ],
    "deep_gemm": [
        "cache/kernel.gemm.0abc/kernel.cu",
        "cache/kernel.gemm.0abc/kernel.cubin",
    ],
    "deep_jit": [
        "cache/sm90_gemm.0abc/kernel.cu",
        "cache/sm90_gemm.0abc/kernel.cubin",
        "cache/sm90_gemm.0abc/kernel.sass",
        "cache/sm90_gemm.0abc/meta.json",
        "cache/sm90_gemm.0abc/.committed",
        "cache/kernel.0abc/.committed",
    ],
    "tilelang": [
        f"0.1.12/linux-x86_64/kernels/{SHA}/params.pkl",
        f"0.1.12/linux-x86_64/kernels/{SHA}/kernel_lib.so",
        f"0.1.12/linux-x86_64/autotuner/{SHA}/best_config.json",
        f"0.1.12/cuda-binaries/{SHA}.cubin",
        f"0.1.15/cuda-binaries/{SHA}/metadata.json",
    ],
    "cute_dsl": [f"cute_dsl_{SHA}.mlir", f"pyir_class_facts/{SHA[:32]}.v1.facts"],
}
LEFT_OUT: dict[str, list[str]] = {
    "inductor": [
        f"locks/{HASH}.lock",
        "ab/.1234.5678.tmp",
        "ab/tmpabcd1234.py",
        f"ab/{HASH}.so.error",
        f"ab/{HASH}.o",
        f"ab/{HASH}_CxxBuild/main.cpp",
        f"{HASH}/{HASH}.wrapper.so",
        f"{HASH}/{HASH}.wrapper_metadata.json",
        f"{HASH}/kernel_information.json",
        "ab/cutlass.py",
        "ar/carousel.json",
        "io/main.py",
        "src/model.py",
        "setup.py",
        "cache/data.json",
        "triton/llama/1/model.onnx",
        "weights.safetensors",
        ".git/config",
    ],
    "inductor-headers": ["cabc.h.gch", "locks/abc.lock", "cabc.h.1.tmp", "sub/cabc.h", "notes.txt"],
    "triton": [
        f"{TRITON_HASH}/{UNFINISHED}/kernel.cubin",
        f"{TRITON_HASH}/lock",
        "HASH/kernel.cubin",
        "notes.txt",
    ],
    "vllm": [
        f"{AOT}/rank_0_0/model.123.tmp",
        f"{AOT}/inductor_cache/locks/fabc.lock",
        f"{AOT}/inductor_cache/ab/.123.456.tmp",
        f"{AOT}/inductor_cache/ab/cabc.o",
        f"{AOT}/inductor_cache/ab/tmpabcd.py",
        f"{AOT}/inductor_cache/gcc/x",
        f"{AOT}/inductor_cache/triton/0/tmp.pid_1_2/kernel.cubin",
        "torch_compile_cache/0a1b2c3d4e/rank_0_0/inductor_cache/aoti_eager/x",
        "deep_gemm/tmp/12-0abc-1def-2fff/kernel.cu",
        "deep_gemm/cache/sm90_gemm.0abc/.hidden",
        f"flashinfer_autotune_cache/0.7.0/90a/{SHA}/.autotune_configs.json.x.tmp",
        "rocm_segmented_attention/tmpabcd1234",
        f"rocm_segmented_attention/{SHA}.json.tp0.part",
        f"rocm_segmented_attention/{SHA}.json.lock",
        "assets/model.safetensors",
        "assets/torch_compile_cache/model",
        "modelinfos/llama.json",
        "modelinfos/tmpabcdefgh",
        "gpu_p2p_access_cache_for_0.json",
        "startup_plan/plan.json",
        "startup_plan/plan.json.tmp.12",
        "dummy_cache/x",
    ],
    "sglang": [
        "locks/DENSE_n1_k2_g3.lock",
        "deep_gemm/locks/DENSE_n1_k2_g3.lock",
        "deep_gemm/tmp/12-0abc/kernel.cu",
        ".cache/flashinfer/0.7.0/90a/cached_ops/tmp/norm.lock",
        ".cache/flashinfer/0.7.0/90a/cached_ops/tmp/flashinfer_jit.ninja",
        f"{OPS}/norm/.hidden",
        ".cache/flashinfer/0.7.0/90a/flashinfer_jit.log",
        ".cache/flashinfer/cubins/gemm.cubin",
        ".cache/flashinfer/cubins/gemm.cubin.lock",
        ".cache/huggingface/token",
        "inductor/locks/fabc.lock",
        f"inductor/ab/{HASH}.o",
        "inductor/aoti_eager/x",
        "torch_compile_cache/0a1b2c3d4e/rank_0_0/model/inductor_cache/ab/cabc.o",
        "tilelang/tmp/12_uuid.so",
        "tilelang/py-cache/kernel.0abc.py",
        "tilelang/0.1.12/linux-x86_64/.staging/key_12_0abc/executable.so",
        f"triton/{TRITON_HASH}/{UNFINISHED}/kernel.cubin",
        f"cute_aot/fingerprint/{SHA}.lock",
        f"cute_aot/fingerprint/.{SHA}.tmp.o",
        "jit/sm90/norm/build-0123456789abcdef/deps-1def/norm.so",  # of a root of its own
        "nv/index",
        "model_streamer/weights",
        "ple/x",
        "realesrgan/model.pth",
        "rust_extensions/x.so",
        "gpu_p2p_access_cache_for_0,1.json",
    ],
    "sglang_jit": [
        "sm90/norm/build-0123456789abcdef/.staging-0abc/norm.so",
        "sm90/norm/build.lock",
    ],
    "flashinfer": [
        "0.7.0/90a/flashinfer_jit.log",
        "0.7.0/90a/cached_ops/tmp/norm.lock",
        "0.7.0/90a/cached_ops/tmp/flashinfer_jit.lock",
        "0.7.0/90a/cached_ops/tmp/flashinfer_jit.ninja",
        "0.7.0/90a/cached_ops/gemm/kernel.o.tmp.12",
        "0.7.0/90a/cached_ops/gemm/meta.json.tmp.12",
        "0.7.0/90a/cached_ops/norm/.ninja_lock",
        "0.7.0/90a/generated/batch_decode/kernel.cu.lock",
        "autotune/0.7.0/.autotuner_x.tmp",
        "cubins/gemm.cubin",
        "cubins/gemm.cubin.0abc.tmp",
        "tmp/x.cu",
    ],
    "deep_gemm": [
        "tmp/uuid/kernel.cu",
        "cache/kernel.gemm.0abc/.hidden",
        "cache/kernel.gemm.0abc/kernel.cubin.tmp",
        "cache/loose.txt",
        "notes/kernel.cu",
    ],
    "deep_jit": [
        "tmp/12-0abc-1def-2fff/.committed",
        "cache/sm90_gemm.0abc/.hidden",
        "cache/loose.txt",
        "notes/kernel.cu",
    ],
    "tilelang": [
        "tmp/12_uuid.so",
        "py-cache/kernel.0abc.py",
        "0.1.12/linux-x86_64/.staging/key_12_0abc/executable.so",
        "0.1.15/.staging/cuda-binaries/key.12.0abc/kernel.cubin",
        f"0.1.15/linux-x86_64/kernels/{SHA}/.executable.so.12_0abc.tmp",
    ],
    "cute_dsl": [
        f"tmp.pid_12_{SHA}/cute_dsl_{SHA}.mlir",
        "pyir_class_facts/tmpabcd.tmp",
        ".hidden",
    ],
}


def kind_named(name: str) -> RootKind:
    return next(kind for kind in ROOT_KINDS if kind.name == name)


def found_in(kind: RootKind, folder: Path) -> list[str]:
    return [item.path for item in find_files(CacheRoot(kind, str(folder)))]


@pytest.mark.parametrize("name", KEPT)
def test_artifacts_are_found_and_all_that_is_of_no_use_elsewhere_is_left_out(
    name: str, tmp_path: Path
) -> None:
    write_tree(tmp_path, dict.fromkeys([*KEPT[name], *LEFT_OUT[name], *OWN_RECORD], b"x"))
    assert found_in(kind_named(name), tmp_path) == sorted(KEPT[name])


@pytest.mark.parametrize("kind", [*ROOT_KINDS, FULL_HEADERS, user_kind("mine", "/mine")])
def test_deciding_once_for_a_folder_decides_as_for_each_file(kind: RootKind) -> None:
    paths = [path for paths in (*KEPT.values(), *LEFT_OUT.values()) for path in paths]
    # Each name in each folder, and one that nobody gives: the first in a folder decides nothing.
    folders = {path.rpartition("/")[0] for path in paths}
    names = {path.rpartition("/")[2] for path in paths} | {"?"}
    for is_pure in (False, True):
        taker = Taker(kind, is_pure=is_pure)
        for folder in sorted(folders):
            for name in sorted(names):
                path = f"{folder}/{name}" if folder else name
                is_unknown = is_pure and kind.unknown.fullmatch(path) is not None
                expected = kind.takes(path) or (is_unknown and not kind.leftovers.has(path))
                assert taker.takes(path) == expected, path


@pytest.mark.parametrize("name", KEPT)
def test_a_path_is_judged_alike_whether_it_was_walked_to_or_is_stored(name: str) -> None:
    kind = kind_named(name)
    assert [path for path in KEPT[name] if not kind.takes(path)] == []
    assert [path for path in [*LEFT_OUT[name], *OWN_RECORD] if kind.takes(path)] == []
    folders = {path[: cut.start()] for path in KEPT[name] for cut in re.finditer("/", path)}
    assert [folder for folder in sorted(folders) if not kind.enters(folder)] == []


def test_the_table_has_a_row_for_each_compiler() -> None:
    where = "in KEPT and LEFT_OUT, in tests/unit/test_root_kinds.py"
    assert [kind.name for kind in ROOT_KINDS] == [*KEPT], f"add the paths of the root {where}"
    assert KEPT.keys() == LEFT_OUT.keys(), f"add the paths of the root {where}"
    assert all(re.fullmatch(r"[a-z0-9_-]{1,64}", kind.name) for kind in ROOT_KINDS)


def test_a_header_is_its_text_and_what_gcc_made_of_it_only_when_that_is_asked_for(
    tmp_path: Path,
) -> None:
    write_tree(tmp_path, dict.fromkeys(["a.h", "a.h.gch", "locks/a.lock", "a.h.gch.tmp"], b""))
    assert found_in(HEADERS, tmp_path) == ["a.h"]
    assert found_in(FULL_HEADERS, tmp_path) == ["a.h", "a.h.gch"]
    assert FULL_HEADERS.name == HEADERS.name, "the text is one artifact under both settings"


def test_both_compilers_of_deep_gemm_may_use_one_folder_and_share_no_artifact() -> None:
    for one, other in ((DEEP_GEMM, DEEP_JIT), (DEEP_JIT, DEEP_GEMM)):
        assert [path for path in KEPT[one.name] if other.takes(path)] == []


def test_a_root_of_the_users_is_everything_but_locks_and_temporary_files(tmp_path: Path) -> None:
    kept = ["a", "sub/b.bin", "sub/.ninja_log", "sub/.ninja_deps", "locksmith/c", "x.tmp.y"]
    left = ["a.lock", "locks/x", "lock", "b.tmp", "b.tmp.12", "tmp.12/x", ".hidden", "c.part"]
    left += [".staging/x", ".staging-1/x", *OWN_RECORD]
    write_tree(tmp_path, dict.fromkeys([*kept, *left], b""))
    kind = user_kind("mine", str(tmp_path))
    assert found_in(kind, tmp_path) == sorted(kept)
    assert (kind.name, kind.resolve({})) == ("mine", str(tmp_path))


def test_times_are_kept_where_a_build_tool_compares_them() -> None:
    keeping = [kind.name for kind in ROOT_KINDS if kind.keeps_times]
    assert keeping == ["sglang", "flashinfer"]
    assert user_kind("mine", "/mine").keeps_times


@pytest.mark.parametrize(
    ("kind", "path", "is_bundle"),
    [
        (VLLM, "deep_gemm/cache/sm90_gemm.0abc/kernel.cubin", True),
        (VLLM, f"{GRAPHS}/vllm_compile_cache.py", True),
        (VLLM, f"{AOT}/rank_0_0/model", False),
        (VLLM, f"{AOT}/inductor_cache/ab/cabc.py", False),
        (VLLM, "torch_compile_cache/0a1b2c3d4e/rank_0_0/inductor_cache/x", False),
        (VLLM, "torch_compile_cache/0a1b2c3d4e/rank_0_0/inductor_cache/ab/cabc.py", False),
        (SGLANG, "deep_gemm/cache/sm90_gemm.0abc/kernel.cubin", True),
        (SGLANG, f"tilelang/0.1.12/linux-x86_64/autotuner/{SHA}/best_config.json", True),
        (SGLANG, f"tilelang/0.1.12/linux-x86_64/kernels/{SHA}/executable.so", False),
        (SGLANG, f"{OPS}/norm/norm.so", False),
        (DEEP_GEMM, "cache/kernel.gemm.0abc/kernel.cubin", True),
        (DEEP_JIT, "cache/sm90_gemm.0abc/kernel.cubin", True),
        (TILELANG, f"0.1.12/linux-x86_64/autotuner/{SHA}/best_config.json", True),
        (TILELANG, f"0.1.12/linux-x86_64/kernels/{SHA}/params.pkl", False),
        (FLASHINFER, "0.7.0/90a/cached_ops/norm/norm.so", False),
        (SGLANG_JIT, "sm90/norm/build-0123456789abcdef/deps-1def/norm.so", False),
        (CUTE_DSL, f"cute_dsl_{SHA}.mlir", False),
        (INDUCTOR, "ab/cabc.py", False),
        (TRITON, f"{TRITON_HASH}/kernel.cubin", False),
    ],
)
def test_a_folder_is_a_bundle_where_a_compiler_fails_on_a_part_of_it(
    kind: RootKind, path: str, is_bundle: bool
) -> None:
    folder = path.rpartition("/")[0]
    assert Bundles(kind, [path]).of(path) == (folder if is_bundle else "")


@pytest.mark.parametrize("kind", ROOT_KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("part", ["inductor_cache/", "a/", "fxgraph/", "cache/", "rank_/"])
def test_a_long_path_is_told_from_others_in_time_that_grows_with_its_length(
    kind: RootKind, part: str
) -> None:
    path = "torch_compile_cache/" + part * (40_000 // len(part)) + "x"
    started = time.process_time()
    for pattern in (kind.bundles, kind.timings):
        pattern.fullmatch(path)
    for number in range(10):  # none of these folders is known from the one before
        kind.leftovers.has(f"torch_compile_cache/{number}/" + part * (DEPTH_LIMIT - 3) + "x")
    assert time.process_time() - started < 0.2
