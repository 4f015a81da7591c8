"""A store that is made where nothing shared is mounted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from b10_transfer.machine import filesystems
from b10_transfer.operations import save as saving
from tests.support.cache_trees import compiled_graph
from tests.support.sites import Host

if TYPE_CHECKING:
    from pathlib import Path

TREE = compiled_graph("model")


def put_on(filesystem: filesystems.Filesystem, monkeypatch: pytest.MonkeyPatch) -> None:
    def filesystem_of(_: str) -> filesystems.Filesystem:
        return filesystem

    monkeypatch.setattr(saving, "filesystem_of", filesystem_of)


@pytest.fixture
def on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the filesystem of the store be one of this host, whatever this machine has."""
    disk = filesystems.Filesystem("ext4", "/dev/vda", "/")
    put_on(disk, monkeypatch)


@pytest.mark.usefixtures("on_a_disk")
def test_a_save_says_once_that_it_made_a_store_which_no_other_host_sees(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "not" / "mounted"
    for name in ("first", "second"):
        host = Host(store, tmp_path / name)
        host.write({**TREE, f"{name}/own.py": b"own"})
        host.save()
    (record,) = [item for item in caplog.records if "no other host" in item.getMessage()]
    assert str(store) in record.getMessage()
    assert "ext4 (/dev/vda at /)" in record.getMessage()


@pytest.mark.usefixtures("on_a_disk")
def test_a_store_in_a_folder_that_is_there_is_made_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(tmp_path / "store", tmp_path / "host")
    host.write(TREE)
    host.save()
    assert caplog.records == []


def test_a_store_made_on_a_shared_filesystem_is_made_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = filesystems.Filesystem("nfs4", "server:/export", os.fspath(tmp_path))
    put_on(shared, monkeypatch)
    host = Host(tmp_path / "not" / "there", tmp_path / "host")
    host.write(TREE)
    host.save()
    assert caplog.records == []
