"""How much room is asked for, and which folders may be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_transfer import OperationStatus, Settings
from tests.support.cache_trees import compiled_graph, noise
from tests.support.crowd import Act, run_one
from tests.support.mounts import read_only, tmpfs
from tests.support.sites import Host, Site, become

if TYPE_CHECKING:
    from pathlib import Path

TREE = compiled_graph("model")


def test_defect_15_a_store_with_little_more_room_than_the_artifacts_need_takes_a_save(
    site: Site,
) -> None:
    saver = site.host("saver", {"ab/artifact.bin": noise(3 << 20)})
    with tmpfs(site.store, size=4 << 20):
        assert saver.save().status is OperationStatus.SUCCESS
        loader = site.host("loader")
        loader.load()
        assert loader.tree() == saver.tree()


def test_defect_16_a_load_needs_the_room_of_its_artifacts_and_hardly_any_scratch(
    site: Site,
) -> None:
    saver = site.host("saver", {"ab/artifact.bin": noise(3 << 20), **TREE})
    saver.save()
    loader = site.host("loader")
    with tmpfs(loader.root, size=3500 << 10), tmpfs(loader.work, size=512 << 10):
        assert loader.load().status is OperationStatus.SUCCESS
        assert loader.tree() == saver.tree()


@pytest.mark.parametrize("scratch", [None, "", "absent/folder", "a file", "/tmp"])  # noqa: S108
def test_defect_17_any_work_folder_will_do_or_none(
    site: Site, scratch: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.folder / "a file").touch()
    value = str(site.folder / scratch) if scratch else scratch
    become(site.host("saver", TREE), monkeypatch, LOCAL_WORK_DIR=value)
    assert b10_transfer.save_compile_cache() is OperationStatus.SUCCESS
    loader = become(site.host("loader"), monkeypatch, LOCAL_WORK_DIR=value)
    assert b10_transfer.load_compile_cache() is OperationStatus.SUCCESS
    assert loader.tree() == TREE


def test_defect_17_a_work_folder_that_cannot_be_written_is_not_used(site: Site) -> None:
    saver, loader = site.host("saver", TREE), site.host("loader")
    frozen = site.folder / "frozen"
    frozen.mkdir()
    with read_only(frozen):
        for operation, host in (("save", saver), ("load", loader)):
            result = run_one(Act(operation, host.variables(LOCAL_WORK_DIR=str(frozen))))
            assert (result.status, result.error) == ("SUCCESS", "")


@pytest.mark.parametrize(
    "place", ["opt/models/cache", "srv/a folder with spaces", "home/ann/.cache/torch", "data/ü"]
)
def test_defect_18_the_tree_may_lie_anywhere(site: Site, place: str) -> None:
    site.host("saver", TREE).save()
    elsewhere = site.folder / place
    host = site.host("loader")
    assert host.load(TORCHINDUCTOR_CACHE_DIR=str(elsewhere)).loaded == len(TREE)
    assert host.save(TORCHINDUCTOR_CACHE_DIR=str(elsewhere)).found == len(TREE)


@pytest.mark.parametrize("place", ["cache/org/compile_cache", "cache/org", "mnt/nfs/b10fs"])
def test_defect_18_the_store_may_lie_anywhere_and_its_state_is_told_without_an_exception(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = become(Host(tmp_path / place, tmp_path / "host"), monkeypatch)
    assert b10_transfer.get_cache_info()["b10fs_cache_exists"] is False
    host.write(TREE)
    assert b10_transfer.save_compile_cache() is OperationStatus.SUCCESS
    assert b10_transfer.get_cache_info()["b10fs_cache_exists"] is True
    assert b10_transfer.list_available_caches()["total_caches"] == 1


@pytest.mark.parametrize("store", ["/cache/org", "/cache/org/team", "/cache/model/compile_cache"])
def test_defect_18_the_mounts_of_all_scopes_are_accepted(store: str) -> None:
    assert Settings.from_environment({"B10FS_CACHE_DIR": store}).store == store
