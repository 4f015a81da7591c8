"""Real Triton kernels, compiled for compute capability 9.0 on a machine without a GPU.

Triton's cache keeps one folder per kernel, and in it a group file with the absolute path of
each of its files: a tree that was only copied is read from where it was made, or not at all.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tools.compile_kernels import Kernel, Request, compile_in
from tools.replica import Replica, artifacts_below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from tools.transfers import Loaded

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


@dataclass(frozen=True, slots=True)
class Compiled:
    """Kernels that were compiled in one folder, and saved from there.

    Attributes:
        host: has the store.
        original: where they were compiled; it is gone but for tests that ask for it.
        kernels: as they were compiled.
        artifacts: the files that were there.
    """

    host: Path
    original: Path
    kernels: tuple[Kernel, ...]
    artifacts: AbstractSet[str]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    host = tmp_path_factory.mktemp("host")
    cache = host / "original"
    request = Request(compile=True, save=True)
    outcome = compile_in(replica_in(host, "compiling"), request, TRITON_CACHE_DIR=str(cache))
    made = [(kernel.name, kernel.hit) for kernel in outcome.kernels]
    assert made == [(name, False) for name in KERNELS]
    artifacts = artifacts_below(cache).keys()
    assert outcome.saved is not None
    assert (outcome.saved.status, outcome.saved.added) == ("SUCCESS", len(artifacts))
    cache.rename(host / "kept")
    return Compiled(host, cache, outcome.kernels, artifacts)


@pytest.fixture(scope="module")
def moved(compiled: Compiled) -> Path:
    """Where they were loaded into while the original folder was gone."""
    folder = compiled.host / "another place" / "triton"
    loaded = load_into(compiled.host, folder)
    assert loaded.loaded == len(compiled.artifacts)
    return folder


@pytest.fixture
def original(compiled: Compiled) -> Iterator[Path]:
    """The original folder, as it was after the kernels were compiled."""
    shutil.copytree(compiled.host / "kept", compiled.original)
    yield compiled.original
    shutil.rmtree(compiled.original)


def compile_kernels(tmp_path: Path, cache: Path) -> tuple[Kernel, ...]:
    replica = replica_in(tmp_path, "compiling")
    return compile_in(replica, Request(compile=True), TRITON_CACHE_DIR=str(cache)).kernels


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


def test_all_kernels_hit_when_the_original_folder_is_gone(compiled: Compiled, moved: Path) -> None:
    loaded = artifacts_below(moved)
    assert loaded.keys() == compiled.artifacts
    assert compile_kernels(compiled.host, moved) == as_hits(compiled.kernels)
    assert artifacts_below(moved) == loaded


def test_the_original_folder_is_not_read_when_it_is_still_there(
    compiled: Compiled, original: Path, tmp_path: Path
) -> None:
    for path in artifacts_below(original):
        (original / path).write_bytes(b"whoever reads this fails")

    cache = tmp_path / "moved"
    replica = replica_in(compiled.host, "loading")
    request = Request(load=True, compile=True)
    outcome = compile_in(replica, request, TRITON_CACHE_DIR=str(cache))
    assert outcome.loaded is not None
    assert outcome.loaded.status == "SUCCESS"
    assert outcome.kernels == as_hits(compiled.kernels)


def test_the_groups_name_the_files_of_the_folder_they_were_loaded_into(moved: Path) -> None:
    named = paths_in_groups(moved)
    groups = {str(moved / path) for path in artifacts_below(moved) if "__grp__" in path}
    assert len(groups) == len(KERNELS)
    assert named == {path: path for path in named}
    assert named.keys() | groups == {str(moved / path) for path in artifacts_below(moved)}


def test_a_group_with_a_missing_file_is_not_saved(
    compiled: Compiled, original: Path, tmp_path: Path
) -> None:
    damaged = group_of("add", original).parent
    (damaged / "add.cubin").unlink()
    saving, moved = replica_in(tmp_path, "saving"), tmp_path / "moved"
    saved = compile_in(saving, Request(save=True), TRITON_CACHE_DIR=str(original)).saved
    assert saved is not None
    assert saved.status == "SUCCESS"
    load_into(tmp_path, moved)

    # Triton takes a group file whose other files are missing for a hit, and fails with KeyError.
    assert not list(moved.rglob("__grp__add.json"))
    kernels = compile_kernels(tmp_path, moved)
    assert {kernel.name: kernel.hit for kernel in kernels} == {
        name: name != "add" for name in KERNELS
    }
    assert {kernel.code for kernel in kernels} == {kernel.code for kernel in compiled.kernels}


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
