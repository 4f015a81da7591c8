"""Loads into real folders: what they add, what they leave alone, and what they do without room."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import b10_transfer
from b10_store.tree.placement import place_staged
from b10_transfer import CacheError, OperationStatus
from b10_transfer.caches.kinds import INDUCTOR
from b10_transfer.caches.roots import CacheRoot
from b10_transfer.local.clear import clear_root
from b10_transfer.local.clear_survey import survey
from tests.support.cache_trees import (
    LOCAL_RECORD,
    TRITON_HASH,
    compiled_graph,
    leftovers,
    noise,
    snapshot,
    triton_kernel,
    write_tree,
)
from tests.support.crowd import Act, run_together
from tests.support.mounts import read_only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store.folders import OpenFolder
    from b10_store.tree.placement import OpenRoot, Placed, RestoreTarget
    from b10_store.tree.scan import Fingerprint
    from b10_transfer.local.clear_survey import Survey
    from tests.support.sites import Site

TREE = {**compiled_graph("model"), **compiled_graph("another model", 1)}
LARGE = {f"{number:02d}/artifact.bin": noise(200_000, number) for number in range(30)}


def split(tree: Sequence[str]) -> tuple[set[str], set[str]]:
    ordered = sorted(tree)
    return set(ordered[::2]), set(ordered[1::2])


def test_a_load_leaves_every_local_file_as_it_is_and_brings_the_rest(site: Site) -> None:
    site.host("saver", TREE).save()
    here, lacking = split(list(TREE))
    own = {path: b"compiled here: " + TREE[path][:40] for path in here}
    loader = site.host("loader", own)
    before = {path: (loader.root / path).stat() for path in own}
    report = loader.load()
    assert (report.status, report.loaded) == (OperationStatus.SUCCESS, len(lacking))
    assert (report.already_here, report.unavailable) == (len(here), 0)
    assert report.bytes_loaded == sum(len(TREE[path]) for path in lacking)
    assert loader.tree() == {**TREE, **own}
    after = {path: (loader.root / path).stat() for path in own}
    assert [item.st_ino for item in after.values()] == [item.st_ino for item in before.values()]
    assert [item.st_mtime_ns for item in after.values()] == [
        item.st_mtime_ns for item in before.values()
    ]


def test_a_load_adds_to_a_tree_and_a_second_one_finds_nothing_to_do(site: Site) -> None:
    saver = site.host("saver", compiled_graph("model"))
    saver.save()
    loader = site.host("loader")
    loader.load()
    saver.write(TREE)
    saver.save()
    report = loader.load()
    assert (report.loaded, report.already_here) == (len(TREE) - 4, 4)
    before = {path: loader.root.joinpath(path).stat().st_mtime_ns for path in TREE}
    report = loader.load()
    assert (report.status, report.loaded) == (OperationStatus.SKIPPED, 0)
    assert report.already_here == len(TREE)
    assert {path: loader.root.joinpath(path).stat().st_mtime_ns for path in TREE} == before


def test_what_the_store_has_lost_is_a_failure_when_it_is_more_than_what_is_here(
    site: Site,
) -> None:
    few = {"aa/caa.py": b"few = 1", "ab/cab.py": b"few = 2"}
    many = {f"b{number}/cb{number}.py": f"many = {number}".encode() for number in range(4)}
    saver = site.host("saver", few)
    saver.save()
    (pack_of_few,) = site.files("packs")
    saver.write(many)
    saver.save()
    pack_of_few.unlink()
    report = site.host("with many", many).load()
    assert (report.status, report.already_here, report.unavailable) == (
        OperationStatus.SKIPPED,
        4,
        2,
    )
    assert "2 could not be read and will be compiled" in str(report)
    (pack_of_many,) = site.files("packs")
    pack_of_many.unlink()
    with pytest.raises(
        CacheError,
        match=(
            "no stored artifact could be loaded: 4 blobs could not be read: packs/.*.pack in the "
            f"store {site.store}: No such file or directory$"
        ),
    ):
        site.host("with few", few).load()


def test_both_roots_are_loaded_and_executables_stay_executable(site: Site) -> None:
    saver = site.host("saver", {"ab/run": b"#!/bin/sh"})
    (saver.root / "ab/run").chmod(0o755)
    kernel = saver.triton / TRITON_HASH
    write_tree(kernel, triton_kernel(kernel))
    saver.save()
    loader = site.host("loader")
    assert loader.load().loaded == 5
    assert os.access(loader.root / "ab/run", os.X_OK)
    assert sorted(os.listdir(loader.triton / TRITON_HASH)) == sorted(os.listdir(kernel))
    assert (loader.triton / TRITON_HASH / "kernel.cubin").stat().st_mode & 0o111 == 0


def test_loaded_files_are_copies_that_have_nothing_to_do_with_the_store(site: Site) -> None:
    site.host("saver", TREE).save()
    loader = site.host("loader")
    loader.load()
    before = snapshot(site.store)
    for path in TREE:
        target = loader.root / path
        assert target.stat().st_nlink == 1
        target.write_bytes(b"changed in place")
    assert snapshot(site.store) == before
    another = site.host("another")
    another.load()
    assert another.tree() == TREE


def test_two_loads_of_one_host_at_once_leave_one_whole_tree(site: Site) -> None:
    site.host("saver", LARGE).save()
    host = site.host("host")
    results = run_together([Act("load", host.variables()) for _ in range(2)])
    assert {result.status for result in results} <= {"SUCCESS", "SKIPPED"}, results
    assert sum(result.report["loaded"] for result in results) == len(LARGE)
    assert [result.report["unavailable"] for result in results] == [0, 0]
    assert host.tree() == LARGE
    assert leftovers(host.root) == []


def test_many_loads_of_one_host_in_threads_leave_one_whole_tree(site: Site) -> None:
    site.host("saver", LARGE).save()
    host = site.host("host")
    settings = host.settings()
    statuses: list[OperationStatus] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(b10_transfer.load(settings).status))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status.name for status in statuses) == ["SKIPPED"] * 5 + ["SUCCESS"]
    assert host.tree() == LARGE
    assert leftovers(host.root) == []


def test_what_a_killed_load_left_is_swept_by_the_next(site: Site) -> None:
    site.host("saver", TREE).save()
    host = site.host("host")
    left = {
        f"{LOCAL_RECORD}/staging-0123456789abcdef/ab/half.py": b"half",
        f"{LOCAL_RECORD}/cleared-0123456789abcdef/cd/old.py": b"old",
    }
    write_tree(host.root, left)
    assert leftovers(host.root) != []
    host.load()
    assert leftovers(host.root) == []
    write_tree(host.root, left)
    assert host.load().status is OperationStatus.SKIPPED
    assert leftovers(host.root) == []
    assert host.tree() == TREE


def test_a_load_from_a_read_only_store_is_like_any_other(site: Site) -> None:
    site.host("saver", TREE).save()
    with read_only(site.store):
        loader = site.host("loader")
        assert loader.load().status is OperationStatus.SUCCESS
        assert loader.load().status is OperationStatus.SKIPPED
    assert loader.tree() == TREE


def test_a_missing_pack_costs_the_artifacts_in_it_and_no_others(site: Site) -> None:
    saver = site.host("saver", compiled_graph("model"))
    saver.save()
    (first_pack,) = site.files("packs")
    saver.write(TREE)
    saver.save()
    first_pack.unlink()
    loader = site.host("loader")
    report = loader.load()
    assert report.status is OperationStatus.SUCCESS
    assert (report.loaded, report.unavailable) == (4, 4)
    assert loader.tree() == compiled_graph("another model", 1)
    assert any(first_pack.name in problem for problem in report.problems)

    # Whoever compiles the missing ones, or has them still, heals the store.
    assert saver.save().status is OperationStatus.SUCCESS
    assert loader.load().loaded == 4
    assert loader.tree() == TREE


def test_an_unreadable_manifest_beside_a_good_one_costs_only_what_it_alone_listed(
    site: Site,
) -> None:
    saver = site.host("saver", compiled_graph("model"))
    saver.save()
    (good,) = site.files("manifests")
    content = good.read_bytes()
    saver.write(TREE)
    saver.save()
    for manifest in site.files("manifests"):
        if manifest != good:
            manifest.write_bytes(content)
    loader = site.host("loader")
    report = loader.load()
    assert report.loaded == 4
    assert any("manifests/" in problem for problem in report.problems)
    assert loader.tree() == compiled_graph("model")


def test_a_compiler_at_work_in_the_tree_meanwhile_keeps_its_own_files(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.host("saver", LARGE).save()
    loader = site.host("loader")
    own = dict.fromkeys(list(LARGE)[:10], b"compiled at the same time")

    def compile_then_place(
        staging: OpenFolder,
        target: OpenRoot,
        written: Sequence[tuple[RestoreTarget, Fingerprint]],
        result: Placed,
    ) -> None:
        loader.write(own)
        place_staged(staging, target, written, result)

    monkeypatch.setattr("b10_store.tree.staging.place_staged", compile_then_place)
    report = loader.load()
    assert (report.loaded, report.already_here) == (20, 10)
    assert loader.tree() == {**LARGE, **own}


def test_a_root_that_is_cleared_while_a_load_waits_for_it_is_filled_all_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.host("saver", TREE).save()
    host = site.host("host", {"old/file.py": b"to be cleared"})
    reports: list[object] = []

    def load_now() -> None:
        try:
            reports.append(host.load())
        except CacheError as error:
            reports.append(error)

    load = threading.Thread(target=load_now)

    def survey_slowly(*arguments: Any) -> Survey:
        # The clear holds the lock now.
        if not load.ident:
            load.start()
            time.sleep(0.3)
        return survey(*arguments)

    monkeypatch.setattr("b10_transfer.local.clear.survey", survey_slowly)
    clear_root(CacheRoot(INDUCTOR, str(host.root)))
    load.join()
    (report,) = reports
    assert isinstance(report, b10_transfer.LoadReport), report
    assert report.loaded == len(TREE)
    assert host.tree() == TREE
