"""I12: stores in which somebody put a link in the place of a folder, as any writer can."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.remote.folder_names import FOLDERS
from b10_transfer import CacheError, OperationStatus
from b10_transfer.operations import upkeep
from tests.support.cache_trees import compiled_graph
from tests.support.doctor_views import one

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.sites import Host, Site

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links of POSIX")

TREE = compiled_graph("model")
LONG_AGO = time.time() - 30 * 86400

UPKEEP: dict[str, Callable[[Host], object]] = {
    "gc": lambda host: upkeep.collect(host.settings()),
    "remove": lambda host: upkeep.remove(upkeep.addresses(host.settings())[0], host.settings()),
    "save": lambda host: host.save(B10_AUTO_GC=None),
}


@pytest.fixture
def host(site: Site) -> Host:
    """A host that saved, and has something new."""
    host = site.host("host", TREE)
    host.save()
    (host.root / "aa").mkdir()
    (host.root / "aa/new.py").write_bytes(b"new = 1\n")
    return host


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of this user's, nothing of which is the store's."""
    folder = tmp_path / "victim"
    for name in ("id_rsa", "model.bin", f"{'a' * 64}.pack", "empty/", "new.tmp-0123456789abcdef"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_bytes(b"precious")
        os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


def plant(store: Path, folder: str, victim: Path) -> None:
    shutil.rmtree(store / folder, ignore_errors=True)
    (store / folder).symlink_to(victim)


@pytest.mark.parametrize("operation", UPKEEP.values(), ids=UPKEEP)
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_link_leads_no_operation_out_of_the_store(
    host: Host, victim: Path, folder: str, operation: Callable[[Host], object]
) -> None:
    plant(host.store, folder, victim)
    before = sorted((path.name, path.stat().st_mtime) for path in victim.rglob("*"))
    with pytest.raises((CacheError, IndexError)):
        operation(host)
    assert sorted((path.name, path.stat().st_mtime) for path in victim.rglob("*")) == before


@pytest.mark.parametrize("folder", ["trash", "fenced", "quarantine"])
def test_a_load_needs_the_folders_alone_that_it_reads(
    site: Site, host: Host, victim: Path, folder: str
) -> None:
    plant(host.store, folder, victim)
    other = site.host("other")
    assert other.load().status is OperationStatus.SUCCESS
    assert other.tree() == TREE


@pytest.mark.parametrize("folder", FOLDERS)
def test_doctor_names_a_folder_that_is_a_link(host: Host, victim: Path, folder: str) -> None:
    plant(host.store, folder, victim)
    finding = one(host, "store.linked")
    assert f"{host.store}/{folder}: a link" in finding.text
    assert [path.name for path in victim.glob("probe*")] == []


@pytest.mark.parametrize("folder", ["packs", "sessions", "trash", "fenced", "quarantine"])
def test_check_names_a_folder_that_is_a_link(host: Host, victim: Path, folder: str) -> None:
    plant(host.store, folder, victim)
    faults = upkeep.check(host.settings()).faults
    assert [fault.damage.value for fault in faults if fault.name == folder] == ["no folder"]
