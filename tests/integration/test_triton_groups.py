"""Real Triton kernels, compiled for compute capability 9.0 on a machine without a GPU.

Triton's cache keeps one folder per kernel, and in it a group file with the absolute path of
each of its files: a tree that was only copied is read from where it was made, or not at all.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tools.compile_kernels import Kernel, Request, compile_in
from tools.replica import Replica, artifacts_below

if TYPE_CHECKING:
    from pathlib import Path

    from tools.transfers import Loaded, Saved

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="Triton is published for Linux only"),
]

KERNELS = ("add", "softmax", "scale", "gram")


def replica_in(tmp_path: Path, name: str) -> Replica:
    home = tmp_path / name
    return Replica(
        store=tmp_path / "store",
        cache_root=home / "inductor",
        home=home,
        host_temporary=tmp_path / "tmp",
    )


def compile_kernels(tmp_path: Path, cache: Path) -> tuple[Kernel, ...]:
    replica = replica_in(tmp_path, "compiling")
    return compile_in(replica, Request(compile=True), TRITON_CACHE_DIR=str(cache)).kernels


def compile_cold(tmp_path: Path, cache: Path) -> tuple[Kernel, ...]:
    kernels = compile_kernels(tmp_path, cache)
    assert [(kernel.name, kernel.hit) for kernel in kernels] == [(name, False) for name in KERNELS]
    return kernels


def save_from(tmp_path: Path, cache: Path) -> Saved:
    replica = replica_in(tmp_path, "saving")
    saved = compile_in(replica, Request(save=True), TRITON_CACHE_DIR=str(cache)).saved
    assert saved is not None
    assert saved.status == "SUCCESS"
    return saved


def load_into(tmp_path: Path, cache: Path) -> Loaded:
    replica = replica_in(tmp_path, "loading")
    loaded = compile_in(replica, Request(load=True), TRITON_CACHE_DIR=str(cache)).loaded
    assert loaded is not None
    assert loaded.status == "SUCCESS"
    return loaded


def as_hits(kernels: tuple[Kernel, ...]) -> tuple[Kernel, ...]:
    """The same device code, but found in the cache."""
    return tuple(Kernel(kernel.name, True, kernel.code) for kernel in kernels)


def paths_in_groups(cache: Path) -> dict[str, str]:
    """Map each file that a group file should name to the path that it does name."""
    named: dict[str, str] = {}
    for group in cache.rglob("__grp__*"):
        children: dict[str, str] = json.loads(group.read_text())["child_paths"]
        named |= {str(group.parent / name): path for name, path in children.items()}
    return named


def group_of(kernel: str, cache: Path) -> Path:
    (group,) = cache.glob(f"*/__grp__{kernel}.json")
    return group


def test_all_kernels_hit_when_the_original_folder_is_gone(tmp_path: Path) -> None:
    original, moved = tmp_path / "original", tmp_path / "another place" / "triton"
    compiled = compile_cold(tmp_path, original)
    artifacts = artifacts_below(original)
    assert save_from(tmp_path, original).added == len(artifacts)
    shutil.rmtree(original)

    assert load_into(tmp_path, moved).loaded == len(artifacts)
    loaded = artifacts_below(moved)
    assert loaded.keys() == artifacts.keys()
    assert compile_kernels(tmp_path, moved) == as_hits(compiled)
    assert artifacts_below(moved) == loaded


def test_the_original_folder_is_not_read_when_it_is_still_there(tmp_path: Path) -> None:
    original, moved = tmp_path / "original", tmp_path / "moved"
    compiled = compile_cold(tmp_path, original)
    save_from(tmp_path, original)
    for path in artifacts_below(original):
        (original / path).write_bytes(b"whoever reads this fails")

    load_into(tmp_path, moved)
    assert compile_kernels(tmp_path, moved) == as_hits(compiled)


def test_the_groups_name_the_files_of_the_folder_they_were_loaded_into(tmp_path: Path) -> None:
    original, moved = tmp_path / "original", tmp_path / "moved"
    compile_cold(tmp_path, original)
    save_from(tmp_path, original)
    load_into(tmp_path, moved)

    named = paths_in_groups(moved)
    groups = {str(moved / path) for path in artifacts_below(moved) if "__grp__" in path}
    assert len(groups) == len(KERNELS)
    assert named == {path: path for path in named}
    assert named.keys() | groups == {str(moved / path) for path in artifacts_below(moved)}


def test_a_group_with_a_missing_file_is_not_saved(tmp_path: Path) -> None:
    original, moved = tmp_path / "original", tmp_path / "moved"
    compiled = compile_cold(tmp_path, original)
    damaged = group_of("add", original).parent
    (damaged / "add.cubin").unlink()
    save_from(tmp_path, original)
    load_into(tmp_path, moved)

    # Triton takes a group file whose other files are missing for a hit, and fails with KeyError.
    assert not list(moved.rglob("__grp__add.json"))
    hits = {kernel.name: kernel.hit for kernel in compile_kernels(tmp_path, moved)}
    assert hits == {name: name != "add" for name in KERNELS}
    assert {kernel.code for kernel in compiled} == {
        kernel.code for kernel in compile_kernels(tmp_path, moved)
    }


def test_kernels_below_the_inductor_root_are_stored_once_and_hit_in_another(
    tmp_path: Path,
) -> None:
    # Where Inductor lets Triton keep the kernels of device 0.
    first, second = replica_in(tmp_path, "first"), replica_in(tmp_path, "second")
    there, here = (replica.cache_root / "triton" / "0" for replica in (first, second))
    cold = compile_in(first, Request(compile=True, save=True), TRITON_CACHE_DIR=str(there))
    artifacts = artifacts_below(first.cache_root)
    assert cold.saved is not None
    assert cold.saved.added == len(artifacts) > 0
    shutil.rmtree(first.cache_root)

    warm = compile_in(second, Request(load=True, compile=True), TRITON_CACHE_DIR=str(here))
    assert warm.kernels == as_hits(cold.kernels)
    assert artifacts_below(second.cache_root).keys() == artifacts.keys()


@pytest.mark.parametrize("variable", ["TRITON_HOME", "HOME"])
def test_the_cache_is_found_where_triton_keeps_it_by_default(variable: str, tmp_path: Path) -> None:
    first, second = replica_in(tmp_path, "first"), replica_in(tmp_path, "second")
    homes = [tmp_path / "first home", tmp_path / "second home"]
    there, here = ({variable: str(home)} for home in homes)
    cold = compile_in(first, Request(compile=True, save=True), **there)
    artifacts = artifacts_below(homes[0] / ".triton" / "cache")
    assert cold.saved is not None
    assert cold.saved.added == len(artifacts) > 0
    shutil.rmtree(homes[0])

    warm = compile_in(second, Request(load=True, compile=True), **here)
    assert warm.kernels == as_hits(cold.kernels)
    assert artifacts_below(homes[1] / ".triton" / "cache").keys() == artifacts.keys()
