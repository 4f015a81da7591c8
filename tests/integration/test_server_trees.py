"""The caches of vLLM and SGLang: all of their artifacts travel, each once, and nothing else.

A server tells its compilers where to keep their caches by changing its own environment variables,
so that what runs inside it sees other cache roots than a process that runs beside it.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_store.format.names import pack_path
from b10_store.manifests.merge import merge
from b10_transfer import OperationStatus as Status
from b10_transfer.operations.context import open_context
from tests.support.cache_trees import TRITON_HASH, compiled_graph, elf, read_tree, write_tree
from tests.support.server_trees import (
    GRAPH_LIST,
    GRAPHS,
    KERNEL,
    OTHER_KERNEL,
    ServerHost,
    dates,
    files_below,
    sglang_artifacts,
    sglang_host,
    sglang_rest,
    vllm_artifacts,
    vllm_host,
    vllm_rest,
    write_dated,
)
from tests.support.sites import Host, Site, become

if TYPE_CHECKING:
    from collections.abc import Callable

VIEWS = [(False, False), (True, False), (False, True), (True, True)]
VIEW_NAMES = ["beside-to-beside", "inside-to-beside", "beside-to-inside", "inside-to-inside"]


def vllm_saver(site: Site) -> ServerHost:
    """A host on which vLLM has compiled, with everything that it leaves."""
    saver = vllm_host(site.host("saver"), VLLM_CACHE_ROOT=str(site.folder / "data" / "vllm"))
    write_dated(saver.root, vllm_artifacts(saver.root) | vllm_rest(saver.root))
    return saver


def sglang_saver(site: Site) -> ServerHost:
    saver = sglang_host(site.host("saver"), SGLANG_CACHE_DIR=str(site.folder / "data" / "one"))
    write_dated(saver.root, sglang_artifacts(saver.root) | sglang_rest())
    return saver


def damage(saver: ServerHost, path: str) -> None:
    """Flip a byte in the store of a large artifact that shares this part of its pack with none."""
    context = open_context(saver.host.settings(**saver.outside))
    stored = merge(context.store.heads(context.address).manifests)
    (entry,) = [entry for identity, entry in stored.entries.items() if identity.path == path]
    frames = stored.packs[entry.location.pack].frames
    alone = frames.covering(entry.location.offset, entry.size)[0]
    for other in stored.entries.values():
        if other.location.pack == entry.location.pack and other is not entry:
            assert alone not in frames.covering(other.location.offset, other.size)
    place = frames.stored_start(alone) + 100
    with open(saver.host.store / pack_path(entry.location.pack), "r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize(("saved_inside", "loaded_inside"), VIEWS, ids=VIEW_NAMES)
def test_the_compile_caches_of_vllm_arrive_as_they_were_and_nothing_else(
    site: Site, saved_inside: bool, loaded_inside: bool
) -> None:
    saver = vllm_saver(site)
    report = saver.save(in_server=saved_inside)
    assert (report.status, report.problems) == (Status.SUCCESS, ())
    loader = vllm_host(site.host("loader"), XDG_CACHE_HOME=str(site.folder / "xdg"))
    expected = vllm_artifacts(loader.root)
    assert sorted(saver.stored()) == [("vllm", path, "") for path in sorted(expected)]
    loaded = loader.load(in_server=loaded_inside)
    assert (loaded.status, loaded.loaded, loaded.problems) == (Status.SUCCESS, len(expected), ())
    assert (loaded.unavailable, loaded.not_for_host) == (0, 0)
    assert files_below(loader.root) == expected


@pytest.mark.parametrize(("saved_inside", "loaded_inside"), VIEWS, ids=VIEW_NAMES)
def test_the_one_folder_of_sglang_arrives_as_it_was_and_nothing_else(
    site: Site, saved_inside: bool, loaded_inside: bool
) -> None:
    saver = sglang_saver(site)
    report = saver.save(in_server=saved_inside)
    assert (report.status, report.problems) == (Status.SUCCESS, ())
    loader = sglang_host(site.host("loader"))
    expected = sglang_artifacts(loader.root)
    assert sorted(saver.stored()) == [("sglang", path, "") for path in sorted(expected)]
    loaded = loader.load(in_server=loaded_inside)
    assert (loaded.status, loaded.loaded, loaded.problems) == (Status.SUCCESS, len(expected), ())
    assert files_below(loader.root) == expected
    assert dates(loader.root, expected) == dates(saver.root, expected)
    modes = {os.access(loader.root / path, os.X_OK) == path.endswith(".so") for path in expected}
    assert modes == {True}


@pytest.mark.parametrize("make", [vllm_saver, sglang_saver])
def test_a_second_look_from_the_other_side_finds_nothing_new(
    site: Site, make: Callable[[Site], ServerHost]
) -> None:
    saver = make(site)
    assert saver.save(in_server=True).status is Status.SUCCESS
    assert saver.save(in_server=False).status is Status.SKIPPED
    assert saver.load(in_server=False).status is Status.SKIPPED
    assert saver.load(in_server=True).status is Status.SKIPPED


def test_a_loaded_server_that_compiles_nothing_has_nothing_to_save(site: Site) -> None:
    sglang_saver(site).save(in_server=True)
    loader = sglang_host(site.host("loader"))
    loader.load()
    for in_server in (False, True):
        report = loader.save(in_server=in_server)
        assert (report.status, report.added, report.superseded) == (Status.SKIPPED, 0, 0)
        assert report.recompiled == 0


@pytest.mark.parametrize("make", [vllm_saver, sglang_saver])
def test_a_kernel_of_deep_gemm_of_which_a_part_is_damaged_is_left_out_whole(
    site: Site, make: Callable[[Site], ServerHost]
) -> None:
    saver = make(site)
    saver.save()
    damage(saver, f"{KERNEL}/kernel.cubin")
    choose = vllm_host if make is vllm_saver else sglang_host
    loader = choose(site.host("loader"))
    report = loader.load()
    assert report.status is Status.SUCCESS
    found = files_below(loader.root)
    assert [path for path in found if path.startswith(KERNEL)] == []
    assert not (loader.root / KERNEL).exists(), "DeepGEMM takes a folder for a kernel"
    assert [path for path in found if path.startswith(OTHER_KERNEL)] != []
    assert report.unavailable == 4


def test_a_list_of_graphs_does_not_come_without_the_graphs(site: Site) -> None:
    saver = vllm_saver(site)
    saver.save()
    damage(saver, f"{GRAPHS}/artifact_compile_range_1_8192_subgraph_0")
    loader = vllm_host(site.host("loader"))
    assert loader.load().status is Status.SUCCESS
    found = files_below(loader.root)
    assert GRAPH_LIST not in found
    assert found.keys() < vllm_artifacts(loader.root).keys()


def test_a_half_written_list_of_graphs_waits_for_the_next_save(site: Site) -> None:
    saver = vllm_saver(site)
    whole = (saver.root / GRAPH_LIST).read_bytes()
    (saver.root / GRAPH_LIST).write_bytes(whole[:40])
    report = saver.save()
    assert report.status is Status.SUCCESS
    half_written = report.left_out
    paths = {identity.path for identity in saver.stored()}
    assert paths == vllm_artifacts(saver.root).keys() - {GRAPH_LIST}
    (saver.root / GRAPH_LIST).write_bytes(whole)
    report = saver.save()
    assert (report.added, report.left_out) == (1, half_written - 1)
    loader = vllm_host(site.host("loader"))
    loader.load()
    assert (loader.root / GRAPH_LIST).read_bytes() == whole


def test_the_kernels_that_sglang_compiles_itself_do_not_follow_its_one_folder(site: Site) -> None:
    module = "sm90/norm/build-0123456789abcdef/deps-1def/norm.so"
    saver = sglang_host(site.host("saver"))
    write_tree(saver.root, {f"jit/{module}": elf(), "jit/sm90/norm/build-0abc/.staging-1/x": b""})
    saver.save(in_server=True)
    assert sorted(saver.stored()) == [("sglang_jit", module, "")]
    loader = sglang_host(site.host("loader"), SGLANG_CACHE_DIR=str(site.folder / "elsewhere"))
    loader.load()
    assert read_tree(loader.host.folder / "home") == {f".cache/sglang/jit/{module}": elf()}
    assert not (site.folder / "elsewhere").exists()


def test_what_only_deep_gemm_compiled_lies_where_its_version_looks(site: Site) -> None:
    older, newer = "cache/kernel.gemm.0abc/kernel.cubin", "cache/gemm.0abc/kernel.cubin"
    shared = site.folder / "dg"
    saver = sglang_host(site.host("saver"), DG_JIT_CACHE_DIR=str(shared))
    write_tree(shared, {older: b"older", newer: b"newer"})
    saver.save()
    assert sorted(saver.stored()) == [("deep_gemm", older, ""), ("deep_jit", newer, "")]
    loader = sglang_host(site.host("loader"))
    loader.load()
    assert read_tree(loader.host.folder / "home") == {
        f".deep_gemm/{older}": b"older",
        f".dj/{newer}": b"newer",
    }


def test_a_kernel_of_which_deep_gemm_notes_the_use_was_not_compiled_again(site: Site) -> None:
    sglang_saver(site).save()
    loader = sglang_host(site.host("loader"))
    loader.load()
    os.utime(loader.root / KERNEL / ".committed")
    report = loader.save(in_server=True)
    assert (report.status, report.compiled_kinds) == (Status.SKIPPED, {})


# The user's choice of roots.


def fill_roots(host: Host) -> None:
    """Put something into three roots of a host."""
    write_tree(host.root, compiled_graph("model"))
    write_tree(host.triton, {f"{TRITON_HASH}/kernel.cubin": b"code"})
    server = vllm_host(host)
    write_dated(server.root, vllm_artifacts(server.root))


def roots_stored(host: Host) -> set[str]:
    context = open_context(host.settings())
    stored = merge(context.store.heads(context.address).manifests)
    return {identity.root for identity in stored.entries}


def test_a_folder_of_the_users_travels_with_its_times(site: Site) -> None:
    tree = {"weights/a.bin": b"a", "engine.plan": elf(), ".ninja_log": b"", "sub/x/y": b"y"}
    saver, loader = site.host("saver"), site.host("loader")
    folders = {host: host.folder / "mine" for host in (saver, loader)}
    write_dated(folders[saver], {**tree, "a.lock": b"", "b.tmp": b"", ".hidden": b""})
    saver.save(B10_CACHE_ROOTS=f"default,mine={folders[saver]}")
    assert roots_stored(saver) == {"mine"}
    report = loader.load(B10_CACHE_ROOTS=f"default,mine={folders[loader]}")
    assert report.loaded == len(tree)
    assert read_tree(folders[loader]) == tree
    assert dates(folders[loader], tree) == dates(folders[saver], tree)


def test_a_host_that_does_not_know_a_folder_of_the_users_leaves_it_aside(site: Site) -> None:
    saver, loader = site.host("saver", compiled_graph("model")), site.host("loader")
    write_tree(saver.folder / "mine", {"a": b"a", "b": b"b"})
    saver.save(B10_CACHE_ROOTS=f"default,mine={saver.folder / 'mine'}")
    report = loader.load()
    assert (report.loaded, report.not_for_host) == (len(compiled_graph("model")), 2)


def test_a_save_of_chosen_roots_leaves_the_others_out(site: Site) -> None:
    host = site.host("host")
    fill_roots(host)
    report = host.save(B10_CACHE_ROOTS="inductor")
    assert report.found == len(compiled_graph("model"))
    assert roots_stored(host) == {"inductor"}
    host.save()
    assert roots_stored(host) == {"inductor", "triton", "vllm"}
    host.save(B10_CACHE_ROOTS="triton")
    assert roots_stored(host) == {"inductor", "triton", "vllm"}, "what is stored stays"


def test_a_load_into_chosen_roots_leaves_the_others_aside(site: Site) -> None:
    saver, loader = site.host("saver"), site.host("loader")
    fill_roots(saver)
    saver.save()
    report = loader.load(B10_CACHE_ROOTS="inductor")
    assert loader.tree() == compiled_graph("model")
    assert report.loaded == len(compiled_graph("model"))
    others = len(vllm_artifacts(vllm_host(loader).root)) + 1
    assert report.not_for_host == others
    assert not loader.triton.exists()
    assert not vllm_host(loader).root.exists()
    report = loader.load()
    assert (report.loaded, report.not_for_host) == (others, 0)


def test_the_roots_in_a_folder_that_cannot_be_a_root_itself_are_used_all_the_same(
    site: Site,
) -> None:
    tree = compiled_graph("model")
    host = site.host("host", tree)
    # SGLang's folder holds the store here, so it cannot be a root; what it gave Inductor can.
    changes = {"SGLANG_CACHE_DIR": str(host.folder), "B10FS_CACHE_DIR": f"{host.folder}/store"}
    report = host.save(wait=True, **changes)
    assert "the cache root sglang" in "; ".join(report.problems)
    assert report.found == len(tree)
    shutil.rmtree(host.root)
    assert host.load(**changes).loaded == len(tree)
    assert host.tree() == tree


def test_a_clear_of_vllms_root_takes_its_compile_caches_and_no_models(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = vllm_saver(site)
    saver.save()
    become(saver.host, monkeypatch, **saver.outside)
    assert b10_transfer.clear_local_cache(roots=["vllm"]) is True
    kept = {
        path: data
        for path, data in vllm_rest(saver.root).items()
        if not path.startswith(("torch_compile_cache/", "deep_gemm/", "flashinfer_autotune_cache/"))
    }
    assert len(kept) == 6
    assert read_tree(saver.root) == kept
    report = saver.load()
    assert report.loaded == len(vllm_artifacts(saver.root))
    assert read_tree(saver.root) == {**kept, **vllm_artifacts(saver.root)}
