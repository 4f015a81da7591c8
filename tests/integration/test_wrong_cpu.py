"""Code for one vector instruction set on a CPU that runs another: upstream, and here.

ATEN_CPU_CAPABILITY stands for the other CPU: torch then compiles for it, on one and the same
machine. Inductor writes the number of lanes into its code and has it in none of its keys.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from b10_transfer import Environment, OperationStatus
from tests.support.cache_trees import LOCAL_RECORD, leftovers, read_tree
from tests.support.sites import Site
from tests.support.vector_runs import Run, compile_with_product, compile_without_product
from tools.replica import Replica, artifacts_below

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDE, NARROW = "avx512", "avx2"
OTHER = {WIDE: NARROW, NARROW: WIDE}

DIRECTIONS = [
    pytest.param(WIDE, NARROW, id="AVX-512 code on AVX2"),
    pytest.param(NARROW, WIDE, id="AVX2 code on AVX-512"),
]


def instruction_set(capability: str) -> str:
    variables = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    fields = {field.name: field.value for field in Environment.detect(variables).fields}
    return fields["vector_isa"]


pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch"),
    pytest.mark.skipif(
        instruction_set(WIDE).split(" ")[0] != WIDE or instruction_set(NARROW) != NARROW,
        reason="needs a CPU with AVX-512: it can pretend to have only AVX2, not the reverse",
    ),
    pytest.mark.skipif(
        "incomplete" in instruction_set(WIDE), reason="needs all of AVX-512 that torch asks for"
    ),
]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A replica, and what its process found out."""

    replica: Replica
    run: Run


def at_once(call: Callable[[str], Compiled]) -> dict[str, Compiled]:
    """Both instruction sets, in two processes at a time."""
    with ThreadPoolExecutor(max_workers=2) as threads:
        return dict(zip(OTHER, threads.map(call, OTHER), strict=True))


def keys_of(cache_root: Path) -> set[str]:
    """The keys of the graphs that Inductor's two caches hold."""
    return {
        path.rpartition("/")[0]
        for path in artifacts_below(cache_root)
        if path.startswith(("fxgraph/", "aotautograd/"))
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


def replica_in(place: Path, name: str, store: str = "store") -> Replica:
    return Replica(
        store=place / store,
        cache_root=place / name / "torchinductor",
        home=place / name,
        host_temporary=place / "tmp",
    )


@pytest.fixture(scope="module")
def cold(place: Path) -> dict[str, Compiled]:
    """One store: a replica loads from it, compiles and saves, and after it one of the other CPU."""
    runs: dict[str, Compiled] = {}
    for capability in (WIDE, NARROW):
        replica = replica_in(place, f"cold_{capability}")
        runs[capability] = Compiled(replica, compile_with_product(replica, capability, save=True))
    return runs


@pytest.fixture(scope="module")
def misled(place: Path, cold: dict[str, Compiled]) -> dict[str, Compiled]:
    """For each CPU: a plain copy of the tree that was made for the other, without the product."""

    def run(capability: str) -> Compiled:
        replica = replica_in(place, f"misled_{capability}")
        made = cold[OTHER[capability]].replica.cache_root
        without = shutil.ignore_patterns(LOCAL_RECORD)
        shutil.copytree(made, replica.cache_root, ignore=without)
        return Compiled(replica, compile_without_product(replica, capability))

    return at_once(run)


@pytest.fixture(scope="module")
def baked(place: Path, cold: dict[str, Compiled]) -> dict[str, Compiled]:
    """For each CPU: an image with a cache for the other; it loads, compiles and saves."""

    def run(capability: str) -> Compiled:
        replica = replica_in(place, f"baked_{capability}", f"store_{capability}")
        made = cold[OTHER[capability]].replica.cache_root
        without = shutil.ignore_patterns(LOCAL_RECORD)
        shutil.copytree(made, replica.cache_root, ignore=without)
        return Compiled(replica, compile_with_product(replica, capability, save=True))

    return at_once(run)


@pytest.fixture(scope="module")
def followers(place: Path, baked: dict[str, Compiled]) -> dict[str, Compiled]:
    """For each CPU: a new replica of the store into which the one with the image saved."""
    assert len(baked) == 2

    def run(capability: str) -> Compiled:
        replica = replica_in(place, f"follower_{capability}", f"store_{capability}")
        return Compiled(replica, compile_with_product(replica, capability))

    return at_once(run)


@pytest.fixture(scope="module")
def warm(place: Path, cold: dict[str, Compiled]) -> dict[str, Compiled]:
    """For each CPU: a new replica of the store that both saved into."""
    assert len(cold) == 2

    def run(capability: str) -> Compiled:
        replica = replica_in(place, f"warm_{capability}")
        return Compiled(replica, compile_with_product(replica, capability))

    return at_once(run)


@pytest.fixture
def shared_keys(cold: dict[str, Compiled]) -> None:
    wide, narrow = (keys_of(cold[capability].replica.cache_root) for capability in (WIDE, NARROW))
    if wide.isdisjoint(narrow):
        pytest.skip("this release of torch tells instruction sets apart by itself")
    assert wide == narrow


@pytest.mark.parametrize(("made_for", "runs_on"), DIRECTIONS)
@pytest.mark.usefixtures("shared_keys")
def test_upstream_reports_a_hit_on_code_for_another_cpu_and_computes_wrong_numbers(
    made_for: str, runs_on: str, cold: dict[str, Compiled], misled: dict[str, Compiled]
) -> None:
    run = misled[runs_on].run
    assert run.found == len(artifacts_below(cold[made_for].replica.cache_root))
    assert (run.hits, run.misses) == (1, 0)
    # NaN is as wrong as a large difference. The code also reads and writes past the ends of arrays,
    # which a compiler with stack protection notices: it ends the process.
    assert run.died or (run.difference is not None and not run.difference < 0.1)


@pytest.mark.parametrize("capability", OTHER)
def test_a_replica_without_a_cache_of_its_own_cpu_compiles_and_is_right(
    capability: str, cold: dict[str, Compiled]
) -> None:
    run = cold[capability].run
    assert run.loaded is not None
    assert run.saved is not None
    assert (run.loaded.status, run.loaded.loaded, run.found) == ("DOES_NOT_EXIST", 0, 0)
    assert (run.hits, run.misses, run.died) == (0, 1, False)
    assert run.difference is not None
    assert run.difference < 1e-5
    assert run.made
    assert (run.saved.status, run.saved.added) == ("SUCCESS", len(run.made))


@pytest.mark.parametrize(("made_for", "runs_on"), DIRECTIONS)
def test_nothing_is_brought_of_what_was_made_for_another_cpu(
    made_for: str, runs_on: str, cold: dict[str, Compiled], tmp_path: Path
) -> None:
    site = Site(tmp_path)
    saver = site.host("saver", read_tree(cold[made_for].replica.cache_root))
    saved = saver.save(ATEN_CPU_CAPABILITY=made_for)
    loader = site.host("loader")
    report = loader.load(ATEN_CPU_CAPABILITY=runs_on)
    assert (report.status, report.loaded) == (OperationStatus.DOES_NOT_EXIST, 0)
    assert loader.tree() == {}
    assert leftovers(loader.root) == []
    reused = site.host("its own").load(ATEN_CPU_CAPABILITY=made_for)
    assert reused.loaded == saved.added > 0


@pytest.mark.parametrize("capability", OTHER)
def test_both_cpus_load_their_own_from_one_store_and_compile_nothing(
    capability: str, cold: dict[str, Compiled], warm: dict[str, Compiled]
) -> None:
    first, run = cold[capability].run, warm[capability].run
    assert first.saved is not None
    assert run.loaded is not None
    assert (run.loaded.status, run.loaded.loaded) == ("SUCCESS", first.saved.added)
    assert run.found == first.saved.added
    assert (run.hits, run.misses, run.made, run.died) == (1, 0, (), False)
    assert run.difference is not None
    assert run.difference < 1e-5
    assert run.outputs == first.outputs


@pytest.mark.parametrize("runs_on", OTHER)
def test_with_a_load_an_image_baked_for_another_cpu_is_compiled_again_and_is_right(
    runs_on: str, baked: dict[str, Compiled], cold: dict[str, Compiled]
) -> None:
    run = baked[runs_on].run
    assert run.loaded is not None
    assert (run.loaded.status, run.hits, run.died) == ("DOES_NOT_EXIST", 0, False)
    assert run.misses, "the autograd entry is found, the graph that it leads to is not"
    assert run.found == len(artifacts_below(cold[OTHER[runs_on]].replica.cache_root)) - 1
    assert run.difference is not None
    assert run.difference < 1e-5


@pytest.mark.parametrize("runs_on", OTHER)
def test_what_such_an_image_saves_is_right_for_the_next_replica(
    runs_on: str, followers: dict[str, Compiled]
) -> None:
    run = followers[runs_on].run
    assert (run.hits, run.misses, run.died) == (1, 0, False)
    assert run.difference is not None
    assert run.difference < 1e-5


@pytest.mark.parametrize("runs_on", OTHER)
@pytest.mark.usefixtures("shared_keys")
def test_without_a_load_an_image_baked_for_another_cpu_spreads_nothing(
    runs_on: str, misled: dict[str, Compiled], tmp_path: Path
) -> None:
    site = Site(tmp_path)
    saver = site.host("saver", read_tree(misled[runs_on].replica.cache_root))
    saved = saver.save(ATEN_CPU_CAPABILITY=runs_on)
    assert any("vectors of another width" in line for line in saved.problems)
    fresh = site.host("fresh")
    fresh.load(ATEN_CPU_CAPABILITY=runs_on)
    assert not any(path.startswith("fxgraph/") for path in fresh.tree())
    assert all(b"at::vec::" not in data for path, data in fresh.tree().items() if ".so" not in path)
