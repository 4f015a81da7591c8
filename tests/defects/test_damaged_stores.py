"""Damage in the store: it is noticed, it is not installed, and the next save heals it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zstandard

import b10_transfer
from b10_store.format.pack_footer import read_footer
from b10_store.remote.folder import FolderRemote
from b10_transfer import CacheError, OperationStatus
from tests.support.cache_trees import compiled_graph, elf, leftovers, noise
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TREE = {**compiled_graph("model"), "ab/large.bin": noise(50_000)}


def flip_bits(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 97):
        data[place] ^= 0x10
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by_garbage(path: Path) -> None:
    path.write_bytes(noise(path.stat().st_size, seed=1))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


DAMAGE = [flip_bits, cut_short, replace_by_garbage, empty]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("folder", ["packs", "manifests"])
def test_defect_04_a_damaged_file_is_an_error_for_a_load_until_the_next_save_heals_it(
    site: Site, damage: Callable[[Path], None], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = site.host("saver", TREE)
    saver.save()
    (damaged,) = site.files(folder)
    damage(damaged)

    loader = become(site.host("loader"), monkeypatch)
    assert b10_transfer.load_compile_cache() is OperationStatus.ERROR
    assert loader.tree() == {}
    assert leftovers(loader.root) == []

    assert saver.save().status is OperationStatus.SUCCESS
    assert b10_transfer.load_compile_cache() is OperationStatus.SUCCESS
    assert loader.tree() == TREE


@pytest.mark.parametrize("damage", [*DAMAGE, remove])
def test_defect_04_a_host_that_met_the_damage_and_compiled_heals_the_store(
    site: Site, damage: Callable[[Path], None]
) -> None:
    site.host("first", TREE).save()
    damage(site.files("packs")[0])
    second = site.host("second")
    with pytest.raises(CacheError, match="no stored artifact could be loaded: 5 blobs"):
        second.load()
    # A compiler writes other bytes each time, and the names of graphs follow their bytes.
    compiled = compiled_graph("model", seed=1)
    assert 0 < len(compiled.keys() & TREE.keys()) < len(compiled)
    second.write(compiled)
    assert second.save().status is OperationStatus.SUCCESS
    third = site.host("third")
    assert third.load().status is OperationStatus.SUCCESS
    assert third.tree() == compiled


def test_defect_05_a_pack_that_is_valid_but_for_a_changed_library_installs_no_such_library(
    site: Site,
) -> None:
    library = elf(noise(5000))
    site.host("saver", {"ab/kernel.so": library, "cd/other.bin": noise(1 << 20, 1)}).save()
    (pack,) = site.files("packs")
    remote = FolderRemote(str(site.store))
    frames, _ = read_footer(remote, f"packs/{pack.name}")
    stored = pack.read_bytes()
    changed = 0
    for index, (stored_size, _) in enumerate(frames.sizes):
        start = frames.stored_start(index)
        raw = zstandard.ZstdDecompressor().decompress(stored[start : start + stored_size])
        if library in raw:
            evil = raw.replace(library, library[:-100] + b"!" + library[-99:])
            again = zstandard.ZstdCompressor(level=3).compress(evil)
            assert len(again) == stored_size
            stored = stored[:start] + again + stored[start + stored_size :]
            changed += 1
    assert changed == 1
    pack.write_bytes(stored)
    assert read_footer(remote, f"packs/{pack.name}")[0] == frames

    loader = site.host("loader")
    report = loader.load()
    assert (report.loaded, report.unavailable) == (1, 1)
    assert list(loader.tree()) == ["cd/other.bin"]
    assert "damaged" in "".join(report.problems)
