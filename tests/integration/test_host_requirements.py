"""Hosts with the same GPU beside different CPUs: they share everything but native code.

A compiler tells the C++ compiler to use whatever the CPU at hand can do, under a key that does not
say what that is. On another CPU such a library ends the process, so each artifact of native code
carries what it needs of a host, and is a different artifact for a host of another kind.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import shutil
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_transfer import OperationStatus
from tests.support.cache_trees import TRITON_HASH, compiled_graph, elf, noise, write_tree
from tests.support.machines import CPU_MACHINE, GPU_MACHINE, running_on
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from b10_transfer import Environment, LoadReport, SaveReport
    from tests.support.cache_trees import Tree
    from tests.support.machines import Machine
    from tests.support.sites import Host

OTHER_MACHINES = [
    pytest.param(GPU_MACHINE.but(flags=f"{GPU_MACHINE.flags} gfni"), id="another CPU"),
    pytest.param(GPU_MACHINE.but(c_library="glibc 2.39"), id="another C library"),
]

NATIVE_SUFFIXES = (".so", ".o", ".h")
KERNEL_FOLDER = f"triton/0/{TRITON_HASH}"


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A kind of machine, and its hosts around one store."""

    machine: Machine | Environment
    site: Site

    def host(self, tree: Mapping[str, bytes] | None = None) -> Host:
        """A new one, with files in its inductor root."""
        return self.site.host(secrets.token_hex(4), tree)

    def save(self, host: Host, *, load_enabled: bool = True) -> SaveReport:
        with running_on(self.machine):
            return host.save(B10_CACHE_LOAD=str(int(load_enabled)))

    def load(self, host: Host) -> LoadReport:
        with running_on(self.machine):
            return host.load()

    def saver(self, tree: Mapping[str, bytes]) -> Host:
        """A new host that compiled something and saved it."""
        host = self.host(tree)
        assert self.save(host).status is OperationStatus.SUCCESS
        return host

    def fresh(self) -> Host:
        """A new host that loaded what there is for it."""
        host = self.host()
        assert self.load(host).unavailable == 0
        return host


def compiled_by(compiler: str, model: str = "model") -> Tree:
    """What Inductor leaves, of which the native code is the given compiler's, at the same paths."""
    tree = compiled_graph(model)
    libraries = [path for path in tree if path.endswith(".so")]
    own = {path: elf(f"{compiler} made {path}".encode() + noise(800, 1)) for path in libraries}
    return {
        **tree,
        **own,
        "ab/cabc.main.o": elf(f"object of {compiler}".encode()),
        "cd/header.h": f"#include <{compiler}>".encode(),
    }


def native(tree: Mapping[str, bytes]) -> Tree:
    return {path: data for path, data in tree.items() if path.endswith(NATIVE_SUFFIXES)}


def portable(tree: Mapping[str, bytes]) -> Tree:
    return {path: data for path, data in tree.items() if not path.endswith(NATIVE_SUFFIXES)}


OURS = compiled_by("our compiler")
THEIRS = compiled_by("their compiler")


@pytest.fixture
def ours(site: Site) -> Kind:
    return Kind(GPU_MACHINE, site)


@pytest.fixture(params=OTHER_MACHINES)
def theirs(site: Site, request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param, site)


def test_a_host_of_another_kind_gets_everything_but_native_code(ours: Kind, theirs: Kind) -> None:
    assert len(native(OURS)) == 3
    ours.saver(OURS)
    host = theirs.host()
    report = theirs.load(host)
    assert (report.status, report.loaded) == (OperationStatus.SUCCESS, len(portable(OURS)))
    assert (report.unavailable, report.not_for_host) == (0, len(native(OURS)))
    assert host.tree() == portable(OURS)
    # It made nothing itself, so that there is nothing to save.
    assert theirs.save(host).status is OperationStatus.SKIPPED


def test_each_kind_of_host_gets_its_own_native_code_of_one_path(ours: Kind, theirs: Kind) -> None:
    ours.saver(OURS)
    host = theirs.fresh()
    host.write(native(THEIRS))
    saved = theirs.save(host)
    assert (saved.added, saved.superseded) == (len(native(THEIRS)), 0)
    assert ours.fresh().tree() == OURS
    assert theirs.fresh().tree() == {**portable(OURS), **native(THEIRS)}


def test_no_kind_of_host_replaces_what_the_other_saved(ours: Kind, theirs: Kind) -> None:
    savers = [(ours, ours.saver(OURS)), (theirs, theirs.saver(THEIRS))]
    before = ours.site.files("manifests")
    for _ in range(2):
        for kind, saver in savers:
            assert kind.save(saver).status is OperationStatus.SKIPPED
            assert kind.save(kind.fresh()).status is OperationStatus.SKIPPED
    assert ours.site.files("manifests") == before


def test_hosts_that_compiled_independently_agree_on_all_but_their_native_code(
    ours: Kind, theirs: Kind
) -> None:
    ours.saver({**compiled_graph("model", 1), **OURS})
    saved = theirs.save(theirs.host({**compiled_graph("model", 2), **THEIRS}))
    assert saved.added == len(native(THEIRS))
    first, second = ours.fresh().tree(), theirs.fresh().tree()
    assert portable(first) == portable(second) == portable({**compiled_graph("model", 1), **OURS})
    assert (native(first), native(second)) == (native(OURS), native(THEIRS))


def test_a_library_that_is_made_again_takes_the_place_of_its_own_kind_only(
    ours: Kind, theirs: Kind
) -> None:
    ours.saver(OURS)
    theirs.saver(THEIRS)
    host = theirs.fresh()
    anew = native(compiled_by("their next compiler"))
    host.write(anew)
    saved = theirs.save(host)
    assert (saved.added, saved.superseded) == (0, len(anew))
    assert native(theirs.fresh().tree()) == anew
    assert ours.fresh().tree() == OURS


def test_a_start_that_was_cold_on_purpose_replaces_the_native_code_of_its_own_kind_only(
    ours: Kind, theirs: Kind
) -> None:
    ours.saver(OURS)
    theirs.saver(THEIRS)
    anew = {path: data + b"anew" for path, data in portable(OURS).items() if "/c" in path}
    libraries = native(compiled_by("their next compiler"))
    saved = theirs.save(theirs.host({**OURS, **anew, **libraries}), load_enabled=False)
    assert (saved.added, saved.superseded) == (0, len(anew) + len(libraries))
    assert ours.fresh().tree() == {**OURS, **anew}
    assert theirs.fresh().tree() == {**portable(OURS), **anew, **libraries}


def test_each_kind_finds_its_own_when_both_saved_without_knowing_of_each_other(
    ours: Kind, theirs: Kind
) -> None:
    apart = dataclasses.replace(theirs, site=Site(theirs.site.folder / "apart"))
    ours.saver(OURS)
    apart.saver(THEIRS)
    shutil.copytree(apart.site.store, ours.site.store, dirs_exist_ok=True)
    assert len(ours.site.files("manifests")) == 2
    assert ours.fresh().tree() == OURS
    assert theirs.fresh().tree() == {**portable(OURS), **native(THEIRS)}


def test_native_code_of_the_same_bytes_is_stored_once(ours: Kind, theirs: Kind) -> None:
    ours.saver(OURS)
    packs = ours.site.files("packs")
    host = theirs.fresh()
    host.write(native(OURS))
    saved = theirs.save(host)
    assert (saved.status, saved.added) == (OperationStatus.SUCCESS, len(native(OURS)))
    assert saved.uploaded_bytes == 0
    assert ours.site.files("packs") == packs
    assert theirs.fresh().tree() == OURS


def test_hosts_with_one_gpu_and_different_cpus_share_one_cache(
    ours: Kind, theirs: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(ours.saver(OURS), monkeypatch)
    theirs.saver(THEIRS)
    for kind in (ours, theirs):
        with running_on(kind.machine):
            listing = b10_transfer.list_available_caches()
        (row,) = listing["caches"]
        assert (row["is_current_environment"], listing["current_cache_exists"]) == (True, True)
        assert row["artifacts"] == len(OURS) + len(native(THEIRS))


def kernel_by(compiler: str, folder: Path, *, names_library: bool) -> Tree:
    """A kernel as Triton leaves it below the cache root `folder`, with a library beside it."""
    files = {
        "kernel.cubin": b"the same code for the same GPU",
        "kernel.json": b'{"num_warps": 4}',
        "launcher.so": elf(f"launcher by {compiler}".encode()),
    }
    children = [name for name in files if names_library or not name.endswith(".so")]
    paths = {name: str(folder / KERNEL_FOLDER / name) for name in children}
    group = json.dumps({"child_paths": paths}).encode()
    tree = {**files, "__grp__kernel.json": group}
    return {f"{KERNEL_FOLDER}/{name}": data for name, data in tree.items()}


def put_kernel(host: Host, compiler: str, *, names_library: bool) -> Host:
    host.write(kernel_by(compiler, host.root, names_library=names_library))
    return host


def kernel_of(host: Host) -> dict[str, bytes]:
    """What a host has of the kernel; that its group names the host's own folder is asserted."""
    prefix = f"{KERNEL_FOLDER}/"
    found = {
        path.removeprefix(prefix): data
        for path, data in host.tree().items()
        if path.startswith(prefix)
    }
    group = found.pop("__grp__kernel.json", None)
    if group is not None:
        for name, path in json.loads(group)["child_paths"].items():
            assert path == str(host.root / KERNEL_FOLDER / name)
            assert name in found
        found["__grp__kernel.json"] = b"whole"
    return found


def test_a_kernel_beside_a_library_of_another_cpu_is_loaded_without_it(
    ours: Kind, theirs: Kind
) -> None:
    saver = put_kernel(ours.host(), "our compiler", names_library=False)
    assert ours.save(saver).added == 4
    host = theirs.fresh()
    assert kernel_of(host).keys() == {"kernel.cubin", "kernel.json", "__grp__kernel.json"}
    host.write({f"{KERNEL_FOLDER}/launcher.so": elf(b"launcher by their compiler")})
    assert theirs.save(host).added == 1
    for kind, compiler in ((ours, "our compiler"), (theirs, "their compiler")):
        found = kernel_of(kind.fresh())
        assert len(found) == 4
        assert found["launcher.so"] == elf(f"launcher by {compiler}".encode())


def test_a_group_that_names_a_library_is_loaded_only_with_one_for_this_cpu(
    ours: Kind, theirs: Kind
) -> None:
    saver = put_kernel(ours.host(OURS), "our compiler", names_library=True)
    assert ours.save(saver).added == len(OURS) + 4
    host = theirs.host()
    theirs.load(host)
    # Triton fails on a group of which a file is missing: nothing of it is placed.
    assert host.tree() == portable(OURS)

    put_kernel(host, "their compiler", names_library=True)
    assert theirs.save(host).status is OperationStatus.SUCCESS
    for kind, compiler in ((ours, "our compiler"), (theirs, "their compiler")):
        found = kernel_of(kind.fresh())
        assert len(found) == 4
        assert found["launcher.so"] == elf(f"launcher by {compiler}".encode())


def test_a_kernel_with_a_library_of_another_cpu_alone_is_compiled_without_an_error(
    ours: Kind, theirs: Kind
) -> None:
    ours.save(put_kernel(ours.host(), "our compiler", names_library=True))
    host = theirs.host()
    assert theirs.load(host).loaded == 0
    assert host.tree() == {}


def test_libraries_in_the_root_of_triton_are_each_kinds_own_too(ours: Kind, theirs: Kind) -> None:
    path = f"{TRITON_HASH}/cuda_utils.cpython-312-x86_64-linux-gnu.so"
    for kind in (ours, theirs):
        host = kind.fresh() if kind is theirs else kind.host()
        assert not (host.triton / path).exists()
        write_tree(host.triton, {path: elf(repr(kind.machine).encode())})
        assert kind.save(host).added == 1
    for kind in (ours, theirs):
        library = kind.fresh().triton / path
        assert library.read_bytes() == elf(repr(kind.machine).encode())


def test_native_code_among_the_variants_of_one_key_is_each_kinds_own(
    ours: Kind, theirs: Kind
) -> None:
    """No compiler keeps any there today; it must not take the others of its key hostage."""
    group = "fxgraph/ab/fabcdef"
    graph = {f"{group}/{'1' * 64}": b"a graph"}
    ours.saver({**graph, f"{group}/ours.so": elf(b"ours")})
    host = theirs.fresh()
    assert host.tree() == graph
    more = {f"{group}/{'2' * 64}": b"another graph", f"{group}/theirs.so": elf(b"theirs")}
    host.write(more)
    assert theirs.save(host).added == 2
    assert ours.fresh().tree() == {
        **graph,
        f"{group}/{'2' * 64}": b"another graph",
        f"{group}/ours.so": elf(b"ours"),
    }
    assert theirs.fresh().tree() == {**graph, **more}


def test_on_a_machine_without_a_gpu_native_code_carries_no_requirement(site: Site) -> None:
    """The environment key says it all there, so that a requirement would only add a way to miss."""
    environment = CPU_MACHINE.environment()
    Kind(environment, site).saver(OURS)
    elsewhere = dataclasses.replace(environment, requirement="0" * 16)
    assert elsewhere.key == environment.key
    assert Kind(elsewhere, site).fresh().tree() == OURS


def test_native_code_on_a_volume_that_came_from_another_cpu_is_not_published_as_made_here(
    ours: Kind, theirs: Kind
) -> None:
    volume = ours.host(OURS)
    ours.load(volume)
    # The compiler will use what is left there, and may die of it.
    assert any(str(volume.root) in line for line in theirs.load(volume).problems)
    assert theirs.save(volume).added == len(portable(OURS))
    assert theirs.fresh().tree() == portable(OURS)

    # What is compiled there from now on is.
    volume.write(native(THEIRS))
    assert theirs.save(volume).added == len(native(THEIRS))
    assert theirs.fresh().tree() == {**portable(OURS), **native(THEIRS)}


def test_native_code_that_was_loaded_for_another_cpu_is_not_published_for_this_one(
    ours: Kind, theirs: Kind
) -> None:
    ours.saver(OURS)
    volume = ours.fresh()
    assert theirs.save(volume).status is OperationStatus.SKIPPED
    assert theirs.fresh().tree() == portable(OURS)
    assert ours.fresh().tree() == OURS
