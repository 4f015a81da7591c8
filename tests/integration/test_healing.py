"""Packs that a load found damaged or could not read: the next save heals them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from b10_store.remote.folder import FolderRemote
from b10_transfer import OperationStatus as Status
from b10_transfer.local.record import read_loaded
from tests.support.cache_trees import compiled_graph
from tests.support.checked_stores import flipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from b10_store.remote.protocol import Range
    from tests.support.sites import Host, Site

TREE = compiled_graph("model")


class Reads:
    """Every read of a pack, some of which fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.failing: set[str] = set()
        real = FolderRemote.read

        def read(remote: FolderRemote, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
            if name.startswith("packs/"):
                self.names.append(name)
            if name in self.failing:
                raise OSError(errno.EACCES, "Permission denied", name)
            yield from real(remote, name, ranges)

        monkeypatch.setattr(FolderRemote, "read", read)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def pack(site: Site) -> Path:
    """The one pack of a store."""
    assert site.host("first", TREE).save().status is Status.SUCCESS
    (found,) = site.files("packs")
    return found


def is_whole(site: Site) -> bool:
    loader = site.host("loader")
    loader.load()
    return loader.tree() == TREE


def suspicions(host: Host) -> int:
    return len(read_loaded(str(host.root)).distrusted)


def test_a_save_reads_no_pack(site: Site, pack: Path, reads: Reads) -> None:
    assert pack.exists()
    assert site.host("alike", TREE).save().status is Status.SKIPPED
    assert site.host("more", TREE | {"more/0.py": b"more"}).save().status is Status.SUCCESS
    assert reads.names == []


def test_what_a_load_found_damaged_is_healed_by_the_next_save(site: Site, pack: Path) -> None:
    pack.write_bytes(flipped(pack.read_bytes()))
    host = site.host("host")
    assert host.load().unavailable
    assert suspicions(host)
    host.write(TREE)
    assert host.save().status is Status.SUCCESS
    assert is_whole(site)
    assert host.save().status is Status.SKIPPED


def test_what_a_load_could_not_read_is_healed_by_the_next_save(
    site: Site, pack: Path, reads: Reads
) -> None:
    reads.failing.add(f"packs/{pack.name}")
    host = site.host("host")
    with pytest.raises(Exception, match="Permission denied"):
        host.load()
    host.write(TREE)
    assert host.save().superseded == len(TREE)


def test_a_suspicion_that_proves_wrong_uploads_nothing_and_ends(
    site: Site, pack: Path, reads: Reads
) -> None:
    name = f"packs/{pack.name}"
    reads.failing.add(name)
    host = site.host("host")
    with pytest.raises(Exception, match="Permission denied"):
        host.load()
    assert suspicions(host) == len(TREE)
    reads.failing.clear()
    reads.names.clear()
    host.write(TREE)
    assert host.save().status is Status.SKIPPED
    assert reads.names == [name]
    assert suspicions(host) == 0
    assert host.save().status is Status.SKIPPED
    assert reads.names == [name]
