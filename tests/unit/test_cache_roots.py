"""The cache roots of a host, and which of them an artifact belongs to where they are nested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer.caches.artifacts import find_files
from b10_transfer.caches.forms import Form
from b10_transfer.caches.kinds import ROOT_KINDS, RootKind
from b10_transfer.caches.layouts import Layout
from b10_transfer.caches.roots import ROOT_NAMES, CacheRoot, is_root_name, resolve_roots
from tests.support.cache_trees import TRITON_HASH, write_tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.layouts

SOURCE = f"ab/cab{'a2b3' * 12}7.py"

HOME = {"HOME": "/home/ann", "USER": "ann", "TMPDIR": "/big/tmp"}


def by_name(
    variables: dict[str, str], chosen: dict[str, str] | None = None
) -> dict[str, CacheRoot]:
    return {root.name: root for root in resolve_roots({**HOME, **variables}, chosen)}


def owners(roots: dict[str, CacheRoot], location: str) -> list[str]:
    """The names of the roots that take a file, given its absolute path."""
    return [
        name
        for name, root in roots.items()
        if location.startswith(root.folder + "/") and root.takes(location[len(root.folder) + 1 :])
    ]


def test_every_root_of_the_table_is_resolved_whether_it_exists_or_not() -> None:
    found = by_name({"TORCHINDUCTOR_CACHE_DIR": "/nowhere/inductor", "TRITON_HOME": "/nowhere"})
    assert tuple(found) == ROOT_NAMES == tuple(kind.name for kind in ROOT_KINDS)
    assert {name: found[name].folder for name in ("inductor", "triton", "vllm", "deep_jit")} == {
        "inductor": "/nowhere/inductor",
        "triton": "/nowhere/.triton/cache",
        "vllm": "/home/ann/.cache/vllm",
        "deep_jit": "/home/ann/.dj",
    }
    assert all(root.outer == () for name, root in found.items() if name != "sglang_jit")


def test_only_the_roots_that_were_chosen_are_resolved_in_the_order_of_the_choice() -> None:
    chosen = {"triton": "", "mine": "/data/mine", "inductor": "/data/inductor"}
    found = by_name({"TORCHINDUCTOR_CACHE_DIR": "/elsewhere", "TRITON_CACHE_DIR": "/t"}, chosen)
    assert [(name, root.folder) for name, root in found.items()] == [
        ("triton", "/t"),
        ("mine", "/data/mine"),
        ("inductor", "/data/inductor"),
    ]
    assert found["inductor"].kind is by_name({})["inductor"].kind
    assert found["mine"].takes("anything/at.all")


def test_precompiled_headers_are_artifacts_when_they_are_asked_for() -> None:
    for full in (False, True):
        roots = {root.name: root for root in resolve_roots(HOME, full_headers=full)}
        assert roots["inductor-headers"].takes("a.h.gch") is full
        assert roots["inductor-headers"].takes("a.h")


@pytest.mark.parametrize("name", ["inductor-headers", "a", "0", "my_model-3", "x" * 64])
def test_a_root_may_be_called_by_lower_case_letters_digits_and_dashes(name: str) -> None:
    assert is_root_name(name)


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "..", "é", "x" * 65, "a\n", "a=b"])
def test_a_root_may_not_be_called_otherwise(name: str) -> None:
    assert not is_root_name(name)


# An artifact belongs to one root.

ONE_FOLDER = {
    "SGLANG_CACHE_DIR": "/one",
    "TRITON_CACHE_DIR": "/one/triton",
    "TORCHINDUCTOR_CACHE_DIR": "/one/inductor",
    "FLASHINFER_WORKSPACE_BASE": "/one",
    "TILELANG_CACHE_DIR": "/one/tilelang",
    "DG_JIT_CACHE_DIR": "/one/deep_gemm",
}


@pytest.mark.parametrize(
    "path",
    [
        f"triton/{TRITON_HASH}/k.cubin",
        f"inductor/{SOURCE}",
        f"inductor/triton/0/{TRITON_HASH}/k.cubin",
        ".cache/flashinfer/0.7.0/90a/cached_ops/norm/norm.so",
        "tilelang/0.1.12/linux-x86_64/kernels/0abc/executable.so",
        "deep_gemm/cache/sm90_gemm.0abc/kernel.cubin",
    ],
)
def test_what_a_server_keeps_for_its_compilers_is_the_servers(path: str) -> None:
    assert owners(by_name(ONE_FOLDER), f"/one/{path}") == ["sglang"]
    beside = by_name({"SGLANG_CACHE_DIR": "/one"})
    assert owners(beside, f"/one/{path}") == ["sglang"], "as a process beside the server sees it"


@pytest.mark.parametrize(
    "path",
    [
        "inductor/locks/x.lock",
        "inductor/ab/x.o",
        ".cache/flashinfer/cubins/x.cubin",
        "tilelang/py-cache/x.py",
        "deep_gemm/tmp/x/kernel.cubin",
        "triton/tmp.pid_1_2/x",
        "nv/index",
    ],
)
def test_what_a_server_leaves_out_its_compilers_do_not_take_either(path: str) -> None:
    assert owners(by_name(ONE_FOLDER), f"/one/{path}") == []


def test_of_a_folder_that_two_roots_have_in_common_the_first_takes_all_that_it_can() -> None:
    chosen = {"mine": "/data", "vllm": "/data"}
    found = by_name({}, chosen)
    assert found["mine"].outer == ()
    assert found["vllm"].outer == ((found["mine"].kind, ""),)
    assert owners(found, "/data/torch_compile_cache/x") == ["mine"]
    assert owners(found, "/data/assets/x") == ["mine"]


def test_what_the_outer_root_has_no_use_for_belongs_to_the_inner_one() -> None:
    chosen = {"vllm": "/data/vllm", "models": "/data/vllm/assets", "deep_jit": "/data/vllm"}
    found = by_name({}, chosen)
    assert owners(found, "/data/vllm/assets/weights") == ["models"]
    assert owners(found, "/data/vllm/deep_gemm/cache/a.0b0b/kernel.cubin") == ["vllm"]
    assert owners(found, "/data/vllm/cache/a.0b0b/kernel.cubin") == ["deep_jit"]


def test_of_three_roots_in_each_other_the_outermost_that_takes_a_file_has_it() -> None:
    def kind(name: str, *, layout: str) -> RootKind:
        return RootKind(name, lambda _: "", layout=Layout(Form(layout), Form(".*"), Form("(?!)")))

    outer = CacheRoot(kind("outer", layout=r".*\.a"), "/data")
    middle = CacheRoot(kind("middle", layout=r".*\.[ab]"), "/data/x", ((outer.kind, "x/"),))
    inner = CacheRoot(
        kind("inner", layout=r".*"), "/data/x/y", ((outer.kind, "x/y/"), (middle.kind, "y/"))
    )
    roots = {root.name: root for root in (outer, middle, inner)}
    assert owners(roots, "/data/x/y/1.a") == ["outer"]
    assert owners(roots, "/data/x/y/1.b") == ["middle"]
    assert owners(roots, "/data/x/y/1.c") == ["inner"]
    assert owners(roots, "/data/x/1.c") == []


def test_folders_whose_names_only_begin_alike_are_not_in_each_other() -> None:
    found = by_name({"SGLANG_CACHE_DIR": "/data/one", "TRITON_CACHE_DIR": "/data/one-more/triton"})
    assert found["triton"].outer == ()
    assert owners(found, f"/data/one-more/triton/{TRITON_HASH}/k.cubin") == ["triton"]


def test_every_file_of_nested_roots_is_found_once(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        dict.fromkeys([f"triton/{TRITON_HASH}/k.cubin", f"inductor/{SOURCE}", "models/m"], b""),
    )
    changed = {name: value.replace("/one", str(tmp_path)) for name, value in ONE_FOLDER.items()}
    chosen = dict.fromkeys(ROOT_NAMES, "") | {"models": str(tmp_path / "models")}
    found = {
        name: [item.path for item in find_files(root)]
        for name, root in by_name(changed, chosen).items()
        if root.folder.startswith(str(tmp_path))
    }
    assert {name: paths for name, paths in found.items() if paths} == {
        "sglang": [f"inductor/{SOURCE}", f"triton/{TRITON_HASH}/k.cubin"],
        "models": ["m"],
    }
