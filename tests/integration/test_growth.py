"""Stores that many environments, namespaces and savers share: an operation reads what it needs."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import Address, parse_manifest_name
from b10_store.remote.folder import FolderRemote
from b10_store.save import dedup
from b10_transfer import OperationStatus
from tests.support.api_answers import info, listing
from tests.support.cache_trees import Tree, compiled_graph, elf, noise
from tests.support.counted_stores import counted_stores
from tests.support.published import publish
from tests.support.sites import Site, become
from tests.support.store_views import clock_behind
from tests.support.values import entry, manifest

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.format.manifest import Manifest
    from tests.support.counted_stores import MeasuringRemote
    from tests.support.sites import Host

OTHERS = 300
"""Environments and namespaces beside the own one."""

HEADS = 10
HEADER_READ = 1 << 16
MIB = 1 << 20


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a save finds elsewhere does not depend on how busy this machine is."""
    monkeypatch.setattr(dedup, "_SECONDS", 60.0)


@pytest.fixture
def remotes(monkeypatch: pytest.MonkeyPatch) -> list[MeasuringRemote]:
    return counted_stores(monkeypatch)


def other_manifests(key: str) -> list[Manifest]:
    """Of other environments, and of other namespaces of this one; some of them large."""
    now = int(time.time() * 1000)
    found: list[Manifest] = []
    for number in range(OTHERS):
        address = Address(key, f"model-{number}") if number % 3 == 0 else Address(f"{number:032x}")
        count = 6000 if number % 100 == 50 else 3
        entries = [entry(f"{number}/{index}/x.py") for index in range(count)]
        found.append(manifest(now - 1000 * number, entries, address=address, salt=number))
    return found


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of the manifests of all others."""
    site = Site(tmp_path_factory.mktemp("crowd"))
    key = site.host("any").load().environment_key
    publish(FolderRemote(str(site.store)), str(site.folder), *other_manifests(key))
    return site.files("manifests")


def join_crowd(site: Site, crowd: list[Path]) -> None:
    """Put the others' manifests into a store."""
    (site.store / "manifests").mkdir(parents=True, exist_ok=True)
    for path in crowd:
        shutil.copy(path, site.store / "manifests")


def kinds(remote: MeasuringRemote) -> list[str]:
    """What was done to which kind of file, sorted."""
    return sorted(f"{call.effect} {call.name.partition('/')[0]}" for call in remote.calls)


# Beside hundreds of others.


def test_a_load_beside_hundreds_of_others_does_just_what_it_does_alone(
    site: Site, crowd: list[Path], remotes: list[MeasuringRemote]
) -> None:
    tree = compiled_graph("own")
    site.host("saver", tree).save()
    site.host("alone").load()
    alone = remotes[-1]
    join_crowd(site, crowd)
    loader = site.host("loader")
    assert loader.load().loaded == len(tree)
    assert loader.tree() == tree
    assert kinds(remotes[-1]) == kinds(alone)
    assert remotes[-1].bytes_read == alone.bytes_read
    assert len(remotes[-1].read_in("manifests")) == len(remotes[-1].read_in("packs")) == 1


def test_a_load_of_nothing_beside_hundreds_of_others_reads_the_headers_of_a_few(
    site: Site, crowd: list[Path], remotes: list[MeasuringRemote]
) -> None:
    join_crowd(site, crowd)
    report = site.host("loader").load(B10_CACHE_NAMESPACE="mine")
    assert report.status is OperationStatus.DOES_NOT_EXIST
    read = remotes[-1].read_in("manifests")
    assert len(read) == len(set(read)) <= 32
    assert sum(remotes[-1].bytes_read.values()) <= 32 * HEADER_READ
    assert len(remotes[-1].calls) <= len(read) + 5


@pytest.mark.parametrize(("size", "read"), [(MIB // 2, 0), (2 * MIB, 64)])
def test_a_save_beside_hundreds_of_others_reads_64_of_them_at_most(
    site: Site, crowd: list[Path], remotes: list[MeasuringRemote], size: int, read: int
) -> None:
    join_crowd(site, crowd)
    host = site.host("host", {"ab/cab.main.so": elf(noise(size))})
    assert host.save().status is OperationStatus.SUCCESS
    found = remotes[-1].read_in("manifests")
    assert len(found) == len(set(found)) == read
    names = [parse_manifest_name(path.name) for path in crowd]
    newest = sorted((name for name in names if name), key=lambda name: name.snapshot)[OTHERS - 64 :]
    assert set(found) in (set(), {name.manifest_path for name in newest})
    assert host.save().status is OperationStatus.SKIPPED
    assert len(remotes[-1].read_in("manifests")) == 1


def test_what_one_of_the_newest_others_has_is_found_among_hundreds(
    site: Site, crowd: list[Path]
) -> None:
    join_crowd(site, crowd)
    tree = {"ab/cab.main.so": elf(noise(2 * MIB))}
    site.host("first", tree).save(B10_CACHE_NAMESPACE="first")
    report = site.host("second", tree).save(B10_CACHE_NAMESPACE="second")
    assert (report.added, report.uploaded_bytes) == (1, 0)


def test_a_listing_of_hundreds_reads_their_headers_alone(
    site: Site,
    crowd: list[Path],
    remotes: list[MeasuringRemote],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    join_crowd(site, crowd)
    large = [path for path in crowd if path.stat().st_size > 2 * HEADER_READ]
    assert len(large) == OTHERS // 100
    become(site.host("looking"), monkeypatch)
    assert len(listing()["caches"]) == OTHERS
    read = remotes[-1].bytes_read
    assert len(read) == len(remotes[-1].read_in("manifests")) == OTHERS
    assert max(read.values()) <= HEADER_READ
    assert len(remotes[-1].calls) <= OTHERS + 3

    # What is known of one of them costs one header.
    become(site.host("looking"), monkeypatch, B10_CACHE_NAMESPACE="model-150")
    assert info()["b10fs_cache_exists"] is True
    assert len(remotes[-1].read_in("manifests")) == 1
    assert sum(remotes[-1].bytes_read.values()) <= HEADER_READ


# Many heads.


def unrelated_heads(site: Site, trees: list[list[Tree]]) -> None:
    """Heads of which none knows another: of each, the trees that it saved one after the other."""
    for number, saves in enumerate(trees):
        apart = Site(site.folder / f"apart {number}")
        host = apart.host("host")
        for index, tree in enumerate(saves):
            host.write(tree)
            with clock_behind(60 * (len(saves) - index) + len(trees) - number):
                host.save()
        shutil.copytree(apart.store, site.store, dirs_exist_ok=True)


def graphs(count: int, saves: int = 1) -> list[list[Tree]]:
    """Different graphs, for each head and each of its saves."""
    return [
        [compiled_graph(f"graph {head} {save}", 10 * head + save) for save in range(saves)]
        for head in range(count)
    ]


def all_of(trees: list[list[Tree]]) -> Tree:
    return {path: data for saves in trees for tree in saves for path, data in tree.items()}


def load_counted(site: Site, remotes: list[MeasuringRemote], name: str = "loader") -> Host:
    """Load on a new host; nothing may be read twice."""
    host = site.host(name)
    report = host.load()
    assert (report.unavailable, report.problems) == (0, ())
    for folder in ("manifests", "packs"):
        read = remotes[-1].read_in(folder)
        assert len(read) == len(set(read))
    return host


def test_a_load_reads_each_of_ten_heads_and_their_packs_once_and_the_next_save_unites_them(
    site: Site, crowd: list[Path], remotes: list[MeasuringRemote]
) -> None:
    trees = graphs(HEADS)
    unrelated_heads(site, trees)
    join_crowd(site, crowd)
    assert load_counted(site, remotes).tree() == all_of(trees)
    assert len(remotes[-1].read_in("manifests")) == len(remotes[-1].read_in("packs")) == HEADS
    assert len(remotes[-1].calls) <= 12 + 2 * HEADS + HEADS

    more = compiled_graph("one more")
    site.host("saver", more).save()
    assert load_counted(site, remotes, "later").tree() == {**all_of(trees), **more}
    assert len(remotes[-1].read_in("manifests")) == 1
    assert len(remotes[-1].read_in("packs")) == HEADS + 1


def test_of_ten_heads_that_hold_the_same_names_one_pack_is_read(
    site: Site, remotes: list[MeasuringRemote]
) -> None:
    trees = [[compiled_graph("the same", number)] for number in range(HEADS)]
    unrelated_heads(site, trees)
    found = load_counted(site, remotes).tree()
    assert len(remotes[-1].read_in("manifests")) == HEADS
    assert len(remotes[-1].read_in("packs")) == 1
    assert found == trees[0][0], "of unrelated heads the older wins"


def test_a_pack_that_no_artifact_is_wanted_of_is_not_read(
    site: Site, remotes: list[MeasuringRemote]
) -> None:
    trees = graphs(HEADS)
    unrelated_heads(site, trees)
    host = site.host("host", all_of(trees[2:]))
    assert host.load().loaded == len(all_of(trees[:2]))
    assert len(remotes[-1].read_in("packs")) == 2


@pytest.mark.parametrize("heads", [1, 2])
def test_manifests_that_a_head_superseded_are_not_read(
    site: Site, remotes: list[MeasuringRemote], heads: int
) -> None:
    trees = graphs(heads, saves=8)
    unrelated_heads(site, trees)
    assert len(site.files("manifests")) == 8 * heads
    assert load_counted(site, remotes).tree() == all_of(trees)
    assert len(remotes[-1].read_in("manifests")) == heads


def test_a_load_of_ten_heads_that_each_superseded_others_calls_no_more_often(
    site: Site, remotes: list[MeasuringRemote]
) -> None:
    trees = graphs(HEADS, saves=4)
    unrelated_heads(site, trees)
    assert load_counted(site, remotes).tree() == all_of(trees)
    packs = len(remotes[-1].read_in("packs"))
    assert len(remotes[-1].calls) <= 12 + 2 * HEADS + packs
