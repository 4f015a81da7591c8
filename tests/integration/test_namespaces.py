"""One store for a whole organisation: each model has a namespace, and all share what is equal."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_store.save import dedup
from b10_store.save.plan import SMALL_PACK_LIMIT
from b10_transfer import CacheValidationError, OperationStatus
from b10_transfer.operations import transfer
from tests.support.api_answers import listing, only_record
from tests.support.cache_trees import Tree, compiled_graph, elf, noise, snapshot
from tests.support.crowd import Act, run_one, run_together
from tests.support.other_torch import with_other_torch
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from tests.support.sites import Host

NAMES = tuple(f"model-{number}_{number:x}" for number in range(12))
MIB = 1 << 20


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a save finds elsewhere does not depend on how busy this machine is."""
    monkeypatch.setattr(dedup, "_SECONDS", 60.0)


def own_artifacts(name: str) -> Tree:
    """What only this model has: some artifacts at paths of their own, one at everyone's path."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    graphs = {**compiled_graph(f"{name} encoder", seed), **compiled_graph(f"{name} head", seed + 1)}
    return {**graphs, "fxgraph/aa/fshared/" + f"{seed:064x}": noise(600, seed + 2)}


def many_kernels(megabytes: int = 3) -> Tree:
    """Sources and libraries of the sizes that Inductor makes, which compress to about so much."""
    tree: Tree = {}
    size = 0
    while size < megabytes * MIB:
        number = len(tree)
        library = elf(noise(20_000 + 997 * (number % 40), number))
        key = hashlib.sha256(library).hexdigest()[:20]
        tree[f"{key[:2]}/c{key}.main.so"] = library
        tree[f"{key[:2]}/c{key}.main.cpp"] = f"// kernel {number}\n".encode() * 100
        size += len(library)
    return tree


def host_of(site: Site, name: str, tree: Tree) -> Host:
    return site.host(f"host of {name}", tree)


def loaded(site: Site, namespace: str | None, host: str = "new host") -> Tree:
    """What a new host of a namespace gets."""
    loader = site.host(f"{host} of {namespace or 'none'}")
    report = loader.load(B10_CACHE_NAMESPACE=namespace)
    assert (report.unavailable, report.problems) == (0, ())
    return loader.tree()


def stored_size(site: Site) -> int:
    """Bytes of everything in the store."""
    return sum(path.stat().st_size for path in site.store.rglob("*") if path.is_file())


# Apart.


def test_each_of_twelve_models_loads_its_own_artifacts_and_no_others(site: Site) -> None:
    for name in NAMES:
        report = host_of(site, name, own_artifacts(name)).save(B10_CACHE_NAMESPACE=name)
        assert (report.added, report.superseded) == (len(own_artifacts(name)), 0)
    for name in NAMES:
        assert loaded(site, name) == own_artifacts(name)
    assert site.host("nobody").load().status is OperationStatus.DOES_NOT_EXIST


def test_twelve_models_that_save_at_once_lose_nothing(site: Site) -> None:
    hosts = [host_of(site, name, own_artifacts(name)) for name in NAMES]
    acts = [
        Act("save", host.variables(B10_CACHE_NAMESPACE=name))
        for host, name in zip(hosts, NAMES, strict=True)
    ]
    assert {result.status for result in run_together(acts)} == {"SUCCESS"}
    assert len(site.files("manifests")) == len(NAMES)
    assert {name: loaded(site, name) for name in NAMES} == {n: own_artifacts(n) for n in NAMES}


def test_no_namespace_is_as_separate_as_any_other(site: Site) -> None:
    site.host("without", own_artifacts("without")).save()
    assert site.host("looking").load(B10_CACHE_NAMESPACE="a").status.name == "DOES_NOT_EXIST"
    site.host("with", own_artifacts("with")).save(B10_CACHE_NAMESPACE="a")
    assert loaded(site, None) == own_artifacts("without")
    assert loaded(site, "a") == own_artifacts("with")
    # One that is set to nothing is none.
    assert loaded(site, "", "another") == own_artifacts("without")


def test_what_one_namespace_supersedes_or_expires_stays_as_it_is_in_the_others(site: Site) -> None:
    path = "ab/cab.main.so"
    before, after = elf(noise(400_000, 1)), elf(noise(400_000, 2))
    for name in ("one", "other"):
        host_of(site, name, {path: before}).save(B10_CACHE_NAMESPACE=name)
    changing = site.host("changing")
    changing.load(B10_CACHE_NAMESPACE="one")
    changing.write({path: after})
    assert changing.save(B10_CACHE_NAMESPACE="one").superseded == 1
    more = {"cd/ccd.main.so": elf(noise(800_000, 3))}
    site.host("pressing", more).save(B10_CACHE_NAMESPACE="one", MAX_CACHE_SIZE_MB="1")
    assert loaded(site, "one") == more
    assert loaded(site, "other") == {path: before}


def test_a_host_that_goes_from_one_namespace_to_another_saves_all_it_has_there(site: Site) -> None:
    host = site.host("host")
    host_of(site, "first", own_artifacts("first")).save(B10_CACHE_NAMESPACE="first")
    host.load(B10_CACHE_NAMESPACE="first")
    host.write(own_artifacts("second"))
    host.save(B10_CACHE_NAMESPACE="second")
    assert loaded(site, "first") == own_artifacts("first")
    assert loaded(site, "second") == {**own_artifacts("first"), **own_artifacts("second")}


@pytest.mark.parametrize("name", ["Llama", "a/b", "a.b", "a" * 65])
def test_a_name_that_cannot_be_one_is_refused_before_anything_is_touched(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    site.host("host", own_artifacts("x")).save()
    before = snapshot(site.store)
    become(site.host("host"), monkeypatch, B10_CACHE_NAMESPACE=name)
    for operation in (transfer.load, transfer.save):
        with pytest.raises(CacheValidationError, match=r"B10_CACHE_NAMESPACE.*a-z 0-9 _ -.*64"):
            operation()
    assert b10_transfer.load_compile_cache() is OperationStatus.ERROR
    assert "B10_CACHE_NAMESPACE" in only_record(caplog).getMessage()
    assert snapshot(site.store) == before


# Together.


def test_equal_artifacts_of_twelve_models_are_stored_once(site: Site) -> None:
    common = many_kernels(2)
    first, *others = NAMES
    host_of(site, first, {**common, **own_artifacts(first)}).save(B10_CACHE_NAMESPACE=first)
    size = stored_size(site)
    for name in others:
        report = host_of(site, name, {**common, **own_artifacts(name)}).save(
            B10_CACHE_NAMESPACE=name
        )
        assert report.added == len(common) + len(own_artifacts(name))
        assert report.uploaded_bytes < 15_000
    assert len(site.files("packs")) == len(NAMES)
    assert stored_size(site) < size + len(others) * (15_000 + 0.02 * size)
    assert loaded(site, NAMES[-1]) == {**common, **own_artifacts(NAMES[-1])}


def test_a_second_namespace_with_the_same_artifacts_costs_under_2_percent_more(site: Site) -> None:
    tree = many_kernels()
    host_of(site, "first", tree).save(B10_CACHE_NAMESPACE="first")
    size = stored_size(site)
    packs = site.files("packs")
    report = host_of(site, "second", tree).save(B10_CACHE_NAMESPACE="second")
    assert (report.added, report.uploaded_bytes) == (len(tree), 0)
    assert site.files("packs") == packs
    assert stored_size(site) < 1.02 * size
    assert loaded(site, "second") == tree


def test_a_namespace_that_grows_in_many_small_saves_does_not_upload_what_it_shares(
    site: Site,
) -> None:
    tree = many_kernels()
    host_of(site, "first", tree).save(B10_CACHE_NAMESPACE="first")
    host = host_of(site, "second", tree)
    uploaded = 0
    for number in range(SMALL_PACK_LIMIT + 4):
        host.write(compiled_graph(f"graph {number}", number))
        uploaded += host.save(B10_CACHE_NAMESPACE="second").uploaded_bytes
    assert uploaded < MIB


def test_artifacts_that_another_environment_has_are_not_stored_again(site: Site) -> None:
    tree = many_kernels()
    host_of(site, "own", tree).save()
    size = stored_size(site)
    saved = run_one(Act("save", with_other_torch(host_of(site, "other", tree))))
    assert (saved.status, saved.report["uploaded_bytes"]) == ("SUCCESS", 0)
    assert stored_size(site) < 1.02 * size
    loader = site.host("loader")
    assert run_one(Act("load", with_other_torch(loader))).status == "SUCCESS"
    assert loader.tree() == tree


def test_what_others_refer_to_outlives_the_manifest_that_brought_it(site: Site) -> None:
    tree = many_kernels()
    host_of(site, "first", tree).save(B10_CACHE_NAMESPACE="first")
    (manifest,) = site.files("manifests")
    host_of(site, "second", tree).save(B10_CACHE_NAMESPACE="second")
    manifest.unlink()
    assert loaded(site, "second") == tree
    # And what its own host compiles again goes to itself alone.
    host = site.host("loader of second")
    host.load(B10_CACHE_NAMESPACE="second")
    path = next(iter(tree))
    host.write({path: elf(noise(30_000, 99))})
    assert host.save(B10_CACHE_NAMESPACE="second").superseded == 1
    assert loaded(site, "second", "a later host")[path] == elf(noise(30_000, 99))


def test_every_namespace_is_listed_with_what_it_holds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.host("host of none", own_artifacts("")).save()
    for name in NAMES:
        host_of(site, name, own_artifacts(name)).save(B10_CACHE_NAMESPACE=name)
    more = host_of(site, NAMES[0], compiled_graph("more"))
    more.save(B10_CACHE_NAMESPACE=NAMES[0])
    become(site.host("looking"), monkeypatch, B10_CACHE_NAMESPACE=NAMES[3])
    found = {cache["namespace"]: cache for cache in listing()["caches"]}
    assert found.keys() == {"", *NAMES}
    for name, cache in found.items():
        own = own_artifacts(name) | (compiled_graph("more") if name == NAMES[0] else {})
        assert cache["artifacts"] == len(own)
        assert 0 < cache["size_mb"] * MIB < 2 * sum(map(len, own.values()))
        assert (site.store / cache["filename"]).is_file()
        assert (f".{name}~" in cache["filename"]) == bool(name)
    assert len({cache["environment_key"] for cache in found.values()}) == 1
