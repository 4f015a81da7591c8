"""Folders of which all files are of use together only: they arrive whole or not at all.

TileLang, DeepGEMM and vLLM take such a folder for whole as soon as it is there, and fail, or run
what was made for another CPU, when a part of it is missing or another's.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from b10_transfer import OperationStatus as Status
from b10_transfer.units import count_text
from tests.support.cache_trees import Tree, elf, noise, pickled, read_tree, write_tree
from tests.support.machines import GPU_MACHINE, running_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b10_transfer import LoadReport, SaveReport
    from tests.support.sites import Host, Site

OTHER_CPU = GPU_MACHINE.but(flags=f"{GPU_MACHINE.flags} gfni")
BESIDE = {"ab/cabc.py": b"# an artifact of Inductor"}


def made(path: str, data: bytes, maker: bytes) -> bytes:
    """A file of the form that its name says, with who made it in it."""
    forms: dict[str, Callable[[bytes], bytes]] = {
        ".so": elf,
        ".pkl": pickled,
        ".json": lambda text: json.dumps(text.decode()).encode(),
    }
    return forms.get(os.path.splitext(path)[1], bytes)(data + maker)


class Kind(NamedTuple):
    """A kind of bundle.

    Attributes:
        variable: names the folder of its compiler.
        folder: of the bundle, below that.
        parts: the files of the bundle.
    """

    variable: str
    folder: str
    parts: Tree

    def root(self, host: Host) -> Path:
        """The folder of its compiler on a host."""
        return host.folder / "caches"

    def save(self, host: Host) -> SaveReport:
        """Save on a host."""
        return host.save(wait=True, **{self.variable: str(self.root(host))})

    def load(self, host: Host) -> LoadReport:
        """Load on a host."""
        return host.load(**{self.variable: str(self.root(host))})

    def tree(self, maker: str = "") -> Tree:
        """The bundle as one machine makes it: no two make the same bytes."""
        return {
            f"{self.folder}/{path}": made(path, data, maker.encode())
            for path, data in self.parts.items()
        }


TILELANG = Kind(
    "TILELANG_CACHE_DIR",
    "0.1.12/linux-x86_64/autotuner/0abc",
    {
        "best_config.json": b'{"block": 128}',
        "device_kernel.cu": b"__global__ void kernel() {}",
        "function.pkl": noise(300, 1),
        "kernel_lib.so": noise(900, 2),
    },
)
DEEP_GEMM = Kind(
    "DG_JIT_CACHE_DIR",
    "cache/kernel.gemm.0abc",
    {"kernel.cu": b"__global__ void kernel() {}", "kernel.so": noise(700, 3)},
)
VLLM = Kind(
    "VLLM_CACHE_ROOT",
    "torch_compile_cache/0a1b2c3d4e/rank_0_0/backbone",
    {
        "computation_graph.py": b"def forward(self): ...\n",
        "artifact_subgraph_0/aotautograd/akey/entry": noise(200, 4),
        "artifact_subgraph_0/fxgraph/fk/fkey/entry": noise(500, 5),
        "artifact_subgraph_0/ab/cabc.py": b"code",
        "artifact_subgraph_0/ab/cabc.so": noise(600, 6),
    },
)
"""A graph that was not packed into one file, which is what VLLM_COMPILE_CACHE_SAVE_FORMAT says."""

KINDS = pytest.mark.parametrize(
    "kind", [TILELANG, DEEP_GEMM, VLLM], ids=["tilelang", "deep_gemm", "vllm"]
)


def saver_of(site: Site, kind: Kind, tree: Tree, name: str = "saver") -> Host:
    """A host with files of the compiler's, and one artifact more in its inductor root."""
    host = site.host(name, BESIDE)
    write_tree(kind.root(host), tree)
    return host


@KINDS
def test_of_a_folder_with_a_library_that_is_cut_short_nothing_is_saved(
    site: Site, kind: Kind
) -> None:
    whole = kind._replace(folder=f"{kind.folder}1").tree()
    torn = {path: data[:-1] if path.endswith(".so") else data for path, data in kind.tree().items()}
    saver = saver_of(site, kind, {**whole, **torn})
    report = kind.save(saver)
    assert (report.found, report.left_out) == (len(BESIDE) + len(whole), len(torn))
    assert len(report.left_out_files["broken native code"]) == 1
    loader = site.host("loader")
    kind.load(loader)
    assert read_tree(kind.root(loader)) == whole
    write_tree(kind.root(saver), kind.tree())
    assert kind.save(saver).added == len(torn), "once it is whole it is"


@KINDS
def test_a_folder_with_native_code_goes_to_no_other_cpu_in_part(site: Site, kind: Kind) -> None:
    saver = saver_of(site, kind, kind.tree())
    with running_on(GPU_MACHINE):
        kind.save(saver)
    host = site.host("host")
    with running_on(OTHER_CPU):
        report = kind.load(host)
    assert (report.loaded, report.unavailable) == (len(BESIDE), 0)
    assert report.not_for_host == len(kind.parts)
    assert read_tree(kind.root(host)) == {}


@KINDS
def test_each_cpu_finds_the_folder_that_its_own_kind_made(site: Site, kind: Kind) -> None:
    makers = {"ours": GPU_MACHINE, "theirs": OTHER_CPU}
    for name, machine in makers.items():
        saver = saver_of(site, kind, kind.tree(name), name)
        with running_on(machine):
            assert kind.save(saver).status is Status.SUCCESS
    for name, machine in makers.items():
        host = site.host(f"another of {name}")
        with running_on(machine):
            assert kind.load(host).unavailable == 0
        assert read_tree(kind.root(host)) == kind.tree(name)


@KINDS
def test_of_a_folder_without_native_code_every_cpu_gets_all(site: Site, kind: Kind) -> None:
    tree = {path: data for path, data in kind.tree().items() if not path.endswith(".so")}
    saver = saver_of(site, kind, tree)
    with running_on(GPU_MACHINE):
        kind.save(saver)
    host = site.host("host")
    with running_on(OTHER_CPU):
        assert kind.load(host).not_for_host == 0
    assert read_tree(kind.root(host)) == tree


@KINDS
def test_what_another_compilation_left_is_not_completed(site: Site, kind: Kind) -> None:
    saver = saver_of(site, kind, kind.tree())
    kind.save(saver)
    own = dict([*kind.tree("another").items()][:1])
    host = site.host("host")
    write_tree(kind.root(host), own)
    report = kind.load(host)
    assert (report.status, report.loaded) == (Status.SUCCESS, len(BESIDE))
    assert report.unavailable == len(kind.parts) - len(own)
    (line,) = [line for line in report.problems if "a part of the same kernel is here" in line]
    assert f"{count_text(report.unavailable, 'artifact')} could not be placed" in line
    assert read_tree(kind.root(host)) == own


@KINDS
def test_what_lacks_beside_the_stored_parts_is_brought(site: Site, kind: Kind) -> None:
    saver = saver_of(site, kind, kind.tree())
    kind.save(saver)
    host = site.host("host")
    write_tree(kind.root(host), dict([*kind.tree().items()][:1]))
    report = kind.load(host)
    assert (report.unavailable, report.problems) == (0, ())
    assert read_tree(kind.root(host)) == kind.tree()


@KINDS
@pytest.mark.parametrize("lost", [0, -1])
def test_of_a_folder_of_which_a_part_cannot_be_had_nothing_is_placed(
    site: Site, kind: Kind, lost: int
) -> None:
    tree = kind.tree()
    part = [*tree][lost]
    saver = saver_of(site, kind, {path: data for path, data in tree.items() if path != part})
    kind.save(saver)
    packs = site.files("packs")
    write_tree(kind.root(saver), {part: tree[part]})
    kind.save(saver)
    (new,) = set(site.files("packs")) - set(packs)
    new.unlink()
    host = site.host("host")
    report = kind.load(host)
    assert (report.loaded, report.unavailable) == (len(BESIDE), len(tree))
    assert read_tree(kind.root(host)) == {}
