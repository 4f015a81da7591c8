"""Disks that are too small, or fill up, on real filesystems of a few MB."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_transfer import CacheOperationInterrupted, OperationStatus
from b10_transfer.local.space import LocalSpace
from tests.support.cache_trees import LOCAL_RECORD, compiled_graph, leftovers, noise
from tests.support.mounts import fill, tmpfs
from tests.support.sites import Host, Site, become

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
SMALL = compiled_graph("model")
FILES = 24
LARGE = {f"{number:02d}/artifact.bin": noise(MIB, number) for number in range(FILES)}


def assert_nothing_was_left(host: Host) -> None:
    assert host.tree() == {}
    assert leftovers(host.root) == []
    assert {path.name for path in host.root.iterdir()} <= {LOCAL_RECORD}


def assert_only_whole_files(site: Site) -> None:
    """Every file of the store has a final name, and what is published can be loaded."""
    names = [path.name for path in site.store.rglob("*") if path.is_file()]
    assert not [name for name in names if ".tmp-" in name]
    assert site.files("sessions") == []


def free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def test_a_load_that_does_not_fit_is_interrupted_before_anything_is_written(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.host("saver", LARGE).save()
    loader = become(site.host("loader"), monkeypatch)
    with tmpfs(loader.root, size=FILES * MIB - 4096):
        with pytest.raises(CacheOperationInterrupted) as caught:
            b10_transfer.load()
        assert str(loader.root) in str(caught.value)
        assert "25.2 MB are needed" in str(caught.value)
        assert free(loader.root) > FILES * MIB - 16384
        assert b10_transfer.load_compile_cache() is OperationStatus.ERROR
        assert "too little disk space" in caplog.text
        assert_nothing_was_left(loader)


def test_a_load_that_just_fits_is_done(site: Site) -> None:
    site.host("saver", LARGE).save()
    loader = site.host("loader")
    # Beside the artifacts there are two small records, and nothing is written twice.
    with tmpfs(loader.root, size=FILES * MIB + 32768):
        assert loader.load().status is OperationStatus.SUCCESS
        assert loader.tree() == LARGE


def test_what_is_here_already_needs_no_room(site: Site) -> None:
    site.host("saver", LARGE).save()
    loader = site.host("loader")
    with tmpfs(loader.root, size=FILES * MIB + 32768):
        loader.write(dict(list(LARGE.items())[1:]))
        assert loader.load().loaded == 1
        assert loader.tree() == LARGE


@pytest.mark.parametrize("written", [0, 3, 20])
def test_a_load_stops_and_cleans_up_when_somebody_else_fills_the_disk_meanwhile(
    site: Site, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.host("saver", LARGE).save()
    loader = become(site.host("loader"), monkeypatch)
    watch = LocalSpace.watch
    calls = iter(range(10_000))

    def fill_then_watch(self: LocalSpace, folder: str, size: int) -> None:
        if next(calls) == written:
            fill(loader.root / LOCAL_RECORD, leave=100_000)
        watch(self, folder, size)

    monkeypatch.setattr(LocalSpace, "watch", fill_then_watch)
    with tmpfs(loader.root, size=2 * FILES * MIB):
        with pytest.raises(CacheOperationInterrupted, match="too little disk space"):
            b10_transfer.load()
        assert_nothing_was_left(loader)
        (loader.root / LOCAL_RECORD / "ballast").unlink()
        monkeypatch.setattr(LocalSpace, "watch", watch)
        assert b10_transfer.load_compile_cache() is OperationStatus.SUCCESS
        assert loader.tree() == LARGE


def test_a_load_leaves_the_disk_to_others_before_it_is_full(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.host("saver", LARGE).save()
    loader = site.host("loader")
    lowest: list[int] = []
    watch = LocalSpace.watch
    calls = iter(range(10_000))

    def fill_then_watch(self: LocalSpace, folder: str, size: int) -> None:
        if next(calls) == 2:
            fill(loader.root / LOCAL_RECORD, leave=19 * MIB)
        lowest.append(free(loader.root))
        watch(self, folder, size)

    monkeypatch.setattr(LocalSpace, "watch", fill_then_watch)
    monkeypatch.setattr("b10_transfer.operations.load.worker_count", lambda: 1)
    with tmpfs(loader.root, size=2 * FILES * MIB):
        with pytest.raises(CacheOperationInterrupted, match="are needed and"):
            loader.load()
        assert min(lowest) > MIB, "16 MB later at the latest the load looks again"
        assert_nothing_was_left(loader)


@pytest.mark.parametrize("files", [1, 2, 3, 4, 5, 8, 20])
def test_a_load_that_runs_out_of_files_is_interrupted_and_leaves_none(
    site: Site, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.host("saver", LARGE).save()
    loader = become(site.host("loader"), monkeypatch)
    with tmpfs(loader.root, size=2 * FILES * MIB, files=files):
        with pytest.raises(CacheOperationInterrupted) as caught:
            b10_transfer.load()
        assert f"{loader.root}: No space left on device" in str(caught.value)
        assert "room for " in str(caught.value)
        assert_nothing_was_left(loader)
        assert b10_transfer.load_compile_cache() is OperationStatus.ERROR


@pytest.mark.parametrize("room", [0, 4096, 65536, 5 * MIB, 24 * MIB])
def test_a_save_into_a_full_store_is_interrupted_and_leaves_nothing_half_made(
    site: Site, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tmpfs(site.store, size=FILES * MIB + 8 * MIB):
        site.host("first", SMALL).save()
        before = sorted(path.name for path in site.store.rglob("*"))
        ballast = fill(site.store, leave=room)
        saver = become(site.host("saver", LARGE), monkeypatch)
        with pytest.raises(CacheOperationInterrupted, match="too little disk space") as caught:
            b10_transfer.save()
        assert f"{site.store}: No space left on device" in str(caught.value)
        assert "(up to 25.2 MB needed, " in str(caught.value)
        assert_only_whole_files(site)
        assert len(site.files("manifests")) == 1
        loader = site.host("loader")
        assert loader.load().loaded == len(SMALL)
        assert b10_transfer.save_compile_cache() is OperationStatus.ERROR

        ballast.unlink()
        assert sorted(path.name for path in site.store.rglob("*")) == before
        assert b10_transfer.save_compile_cache() is OperationStatus.SUCCESS
        assert loader.load().loaded == len(LARGE)
        assert loader.tree() == {**saver.tree(), **SMALL}


def test_a_save_into_a_store_that_is_full_from_the_start_leaves_no_file(site: Site) -> None:
    with tmpfs(site.store, size=MIB):
        ballast = fill(site.store, leave=0)
        with pytest.raises(CacheOperationInterrupted):
            site.host("saver", SMALL).save()
        assert [path for path in site.store.rglob("*") if path.is_file()] == [ballast]


@pytest.mark.parametrize("room", [0, 4096, 40960])
def test_a_work_folder_without_room_is_named_and_nothing_is_published(
    site: Site, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = become(site.host("saver", SMALL), monkeypatch)
    with tmpfs(saver.work, size=MIB):
        ballast = fill(saver.work, leave=room)
        with pytest.raises(CacheOperationInterrupted) as caught:
            b10_transfer.save()
        assert str(saver.work) in str(caught.value)
        assert site.files("manifests") == site.files("sessions") == []
        assert list(saver.work.iterdir()) == [ballast]
        assert b10_transfer.save_compile_cache() is OperationStatus.ERROR


@pytest.mark.parametrize("room", [0, 4096])
def test_a_load_with_no_room_for_the_manifest_names_the_work_folder(site: Site, room: int) -> None:
    site.host("saver", SMALL).save()
    loader = site.host("loader")
    loader.variables()
    with tmpfs(loader.work, size=MIB):
        ballast = fill(loader.work, leave=room)
        with pytest.raises(CacheOperationInterrupted) as caught:
            loader.load()
        assert str(loader.work) in str(caught.value)
        assert list(loader.work.iterdir()) == [ballast]
        assert loader.tree() == {}


def test_a_save_with_no_room_for_the_manifests_publishes_none_that_forgets_them(
    site: Site,
) -> None:
    site.host("first", SMALL).save()
    saver = site.host("saver", LARGE)
    saver.variables()
    with tmpfs(saver.work, size=MIB):
        fill(saver.work, leave=0)
        with pytest.raises(CacheOperationInterrupted):
            saver.save()
    assert len(site.files("manifests")) == 1
    assert len(site.files("packs")) == 1


def test_an_error_of_the_disk_that_is_not_about_room_is_no_interruption(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.host("saver", SMALL).save()
    loader = site.host("loader")

    def break_disk(self: LocalSpace, folder: str, size: int) -> None:
        del self, size
        raise OSError(errno.EIO, os.strerror(errno.EIO), folder)

    monkeypatch.setattr(LocalSpace, "watch", break_disk)
    with pytest.raises(b10_transfer.CacheError, match="Input/output error") as caught:
        loader.load()
    assert not isinstance(caught.value, CacheOperationInterrupted)
    assert_nothing_was_left(loader)
