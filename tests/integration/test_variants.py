"""Many replicas that compiled the same model, none with the same bytes: what the store keeps."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from b10_store.save.variants import GROUP_LIMIT
from b10_transfer import OperationStatus
from b10_transfer.caches.artifacts import variant_group_length
from tests.support.cache_trees import (
    TRITON_HASH,
    Tree,
    compiled_graph,
    elf,
    noise,
    snapshot,
    triton_kernel,
)
from tests.support.crowd import Act, run_together
from tests.support.earlier import hours_ago

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.crowd import Result
    from tests.support.sites import Host, Site

REPLICAS = 50
MIB = 1 << 20
OUTSIDER = 10_000
"""The number of a replica that is none of the first ones."""


@functools.cache
def compiled_by(replica: int) -> Tree:
    """What a replica made of the model by itself.

    Sources, libraries and kernels have the same names everywhere and bytes of their own; graphs,
    two variants of each, are named by bytes of their own.
    """
    tree: Tree = {}
    for part, name in enumerate(("encoder", "decoder")):
        for shape in range(2):
            tree.update(compiled_graph(name, 100 * replica + 10 * part + shape))
    kernel = triton_kernel(Path("/cache"), code=noise(300, replica))
    return {**tree, **{f"triton/0/{TRITON_HASH}/{name}": data for name, data in kernel.items()}}


LIBRARY = next(path for path in compiled_by(0) if path.endswith(".so"))
GROUP = next(path[: variant_group_length(path)] for path in compiled_by(0) if "aot" in path)


def without_paths(tree: Tree) -> Tree:
    """Less the files that name their own folder, which differs from host to host."""
    return {path: data for path, data in tree.items() if "__grp__" not in path}


def replica(site: Site, number: int) -> Host:
    """A replica that found no cache and compiled."""
    return site.host(f"replica {number}", compiled_by(number))


def loaded_by_a_new_host(site: Site, name: str = "new host") -> Tree:
    host = site.host(name)
    report = host.load()
    assert (report.unavailable, report.problems) == (0, ())
    return host.tree()


def stored_size(site: Site, folder: str = "packs") -> int:
    return sum(path.stat().st_size for path in site.files(folder))


def saved_together(hosts: Sequence[Host], *, wait: bool = True) -> list[Result]:
    """All of them save at once, each in a process of its own."""
    results = run_together([Act("save", host.variables(), wait=wait) for host in hosts])
    assert {result.status for result in results} <= {"SUCCESS", "SKIPPED"}, results
    return results


def count(results: Sequence[Result], status: str) -> int:
    return sum(result.status == status for result in results)


# Independent compilations.


def test_fifty_independent_replicas_one_after_the_other_leave_the_set_of_the_first(
    site: Site,
) -> None:
    first = replica(site, 0).save()
    assert (first.status, first.added) == (OperationStatus.SUCCESS, len(compiled_by(0)))
    before = snapshot(site.store)
    for number in range(1, REPLICAS):
        report = replica(site, number).save()
        assert report.status is OperationStatus.SKIPPED, number
        assert report.stored_bytes == first.stored_bytes
    assert snapshot(site.store) == before
    assert stored_size(site) == first.uploaded_bytes
    assert without_paths(loaded_by_a_new_host(site)) == without_paths(compiled_by(0))


def test_fifty_independent_replicas_at_once_leave_one_set(site: Site) -> None:
    results = saved_together([replica(site, number) for number in range(REPLICAS)])
    assert count(results, "SUCCESS") == 1
    (winner,) = (number for number, item in enumerate(results) if item.status == "SUCCESS")
    assert stored_size(site) == results[winner].report["uploaded_bytes"]
    assert len(site.files("manifests")) == len(site.files("packs")) == 1
    assert without_paths(loaded_by_a_new_host(site)) == without_paths(compiled_by(winner))


def test_independent_replicas_that_cannot_wait_for_each_other_are_one_set_to_every_load(
    site: Site,
) -> None:
    hosts = [replica(site, number) for number in range(8)]
    results = saved_together(hosts, wait=False)
    assert count(results, "SUCCESS") == len(site.files("manifests"))
    loaded = [without_paths(loaded_by_a_new_host(site, f"new {number}")) for number in range(3)]
    assert loaded[0] == loaded[1] == loaded[2]
    assert loaded[0] in [without_paths(compiled_by(number)) for number in range(8)]

    # The next save that adds something carries on that set, and nothing of the others.
    new = compiled_graph("something else")
    report = site.host("adding", new).save()
    assert report.added == len(new)
    assert report.stored_bytes < 1.1 * results[0].report["stored_bytes"] + report.uploaded_bytes
    assert without_paths(loaded_by_a_new_host(site)) == {**loaded[0], **new}


def test_of_models_in_part_the_same_each_replica_adds_what_nobody_had(site: Site) -> None:
    encoders = [compiled_graph("encoder", seed) for seed in range(3)]
    decoders = [compiled_graph("decoder", seed) for seed in range(3)]
    site.host("encoder alone", encoders[0]).save()
    report = site.host("both", {**encoders[1], **decoders[1]}).save()
    assert (report.added, report.superseded) == (len(decoders[1]), 0)
    assert site.host("both too", {**encoders[2], **decoders[2]}).save().added == 0
    assert loaded_by_a_new_host(site) == {**encoders[0], **decoders[1]}


# Replicas that loaded, and compiled all the same.


def one_more_variant(number: int) -> Tree:
    """What a compiler adds to a group when no member of it suits; other bytes on each replica."""
    return {f"{GROUP}/{number:064x}": noise(700, OUTSIDER + number)}


def members(tree: Tree) -> set[str]:
    """Of the group that gets more variants."""
    return {path for path in tree if path.startswith(GROUP + "/")}


def loading_replica(site: Site, name: str) -> Host:
    host = site.host(name)
    assert host.load().status is OperationStatus.SUCCESS
    return host


def loaded_replicas(site: Site, number: int) -> list[Host]:
    """So many replicas that loaded what the first one compiled."""
    replica(site, 0).save()
    return [loading_replica(site, f"loaded {index}") for index in range(number)]


def test_a_variant_that_a_replica_needed_beside_all_it_loaded_is_added(site: Site) -> None:
    (host,) = loaded_replicas(site, 1)
    host.write(one_more_variant(1))
    report = host.save()
    assert (report.added, report.superseded) == (1, 0)
    assert report.uploaded_bytes < 1500
    later = loaded_by_a_new_host(site)
    assert without_paths(later) == without_paths({**compiled_by(0), **one_more_variant(1)})


@pytest.mark.parametrize("together", [False, True], ids=["one after the other", "at once"])
def test_of_fifty_replicas_that_all_needed_one_more_variant_one_adds_it(
    site: Site, together: bool
) -> None:
    hosts = loaded_replicas(site, REPLICAS if together else 12)
    before = stored_size(site)
    for number, host in enumerate(hosts):
        host.write(one_more_variant(number))
    if together:
        assert count(saved_together(hosts), "SUCCESS") == 1
    else:
        assert sum(host.save().added for host in hosts) == 1
    assert stored_size(site) < before + 1500
    found = loaded_by_a_new_host(site)
    (added,) = found.keys() - compiled_by(0).keys()
    assert {added: found[added]} in [one_more_variant(number) for number in range(len(hosts))]


def test_replicas_that_each_add_a_variant_in_turn_fill_the_group_and_then_change_it_rarely(
    site: Site,
) -> None:
    stored = members(compiled_by(0))
    free = GROUP_LIMIT - len(stored)
    with hours_ago(2):
        replica(site, 0).save()
        for number in range(2 * GROUP_LIMIT):
            host = loading_replica(site, f"in turn {number}")
            host.write(one_more_variant(number))
            assert host.save().added == (number < free)
    first = {path for number in range(free) for path in one_more_variant(number)}
    assert members(loaded_by_a_new_host(site)) == stored | first

    # Two hours later one of the oldest makes room.
    host = loading_replica(site, "later")
    host.write(one_more_variant(99))
    assert host.save().added == 1
    found = members(loaded_by_a_new_host(site, "after that"))
    assert len(found) == GROUP_LIMIT
    assert len(stored - found) == 1
    assert found > first | one_more_variant(99).keys()


@pytest.mark.parametrize("together", [False, True], ids=["one after the other", "at once"])
def test_of_fifty_replicas_that_all_rebuilt_what_they_loaded_one_supersedes_it(
    site: Site, together: bool
) -> None:
    hosts = loaded_replicas(site, REPLICAS if together else 12)
    idle, *rebuilding = hosts
    before = stored_size(site)
    rebuilt = [elf(noise(2500, OUTSIDER + number)) for number in range(len(rebuilding))]
    for host, data in zip(rebuilding, rebuilt, strict=True):
        host.write({LIBRARY: data})
    if together:
        assert count(saved_together(rebuilding), "SUCCESS") == 1
    else:
        assert [host.save().superseded for host in rebuilding] == [1] + [0] * len(rebuilding[1:])
    assert stored_size(site) < before + 4000
    found = loaded_by_a_new_host(site)
    assert found[LIBRARY] in rebuilt
    others = {path: data for path, data in compiled_by(0).items() if path != LIBRARY}
    assert without_paths({**found, LIBRARY: b""}) == without_paths({**others, LIBRARY: b""})

    # Neither one that still has what it loaded, nor one that never loaded, takes it back.
    idle.write(compiled_graph("something else"))
    assert idle.save().superseded == 0
    assert replica(site, 1).save().superseded == 0
    assert loaded_by_a_new_host(site, "later")[LIBRARY] == found[LIBRARY]
    assert [host.save().status for host in rebuilding[:3]] == [OperationStatus.SKIPPED] * 3


# Cold on purpose.


def test_a_replica_that_started_cold_replaces_the_whole_set_and_no_variant_of_it_stays(
    site: Site,
) -> None:
    replica(site, 0).save()
    cold = replica(site, 1)
    assert cold.load(B10_CACHE_LOAD="0").status is OperationStatus.DOES_NOT_EXIST
    report = cold.save(B10_CACHE_LOAD="0")
    assert report.status is OperationStatus.SUCCESS
    assert report.stored_bytes < 1.1 * report.uploaded_bytes
    assert report.expired == 0
    assert without_paths(loaded_by_a_new_host(site)) == without_paths(compiled_by(1))
    assert cold.save(B10_CACHE_LOAD="0").status is OperationStatus.SKIPPED
    # Those who had the set before do not bring it back.
    assert replica(site, 0).save().status is OperationStatus.SKIPPED
    assert without_paths(loaded_by_a_new_host(site, "later")) == without_paths(compiled_by(1))


def test_what_a_cold_replica_did_not_compile_stays(site: Site) -> None:
    other = compiled_graph("something else")
    site.host("first", {**compiled_by(0), **other}).save()
    replica(site, 1).save(B10_CACHE_LOAD="0")
    assert without_paths(loaded_by_a_new_host(site)) == without_paths({**compiled_by(1), **other})


# Over the size limit.


def variant(group: str, number: int, size: int) -> Tree:
    return {f"aotautograd/{group}/{number:064x}": noise(size, number)}


def test_over_the_limit_the_oldest_group_expires_whole(site: Site) -> None:
    oldest = {**variant("aold", 1, 200_000), **variant("aold", 2, 200_000)}
    middle = variant("amiddle", 3, 200_000)
    for name, tree in (("one", oldest), ("two", middle)):
        site.host(name, tree).save(MAX_CACHE_SIZE_MB="1")
    newest = variant("anewest", 4, 500_000)
    report = site.host("three", newest).save(MAX_CACHE_SIZE_MB="1")
    # To let one of the two oldest variants go would have been enough.
    assert report.stored_bytes <= MIB
    assert loaded_by_a_new_host(site) == {**middle, **newest}


def test_a_group_is_as_young_as_its_youngest_variant(site: Site) -> None:
    early = variant("agroup", 1, 200_000)
    middle = variant("amiddle", 3, 400_000)
    site.host("one", early).save()
    site.host("two", middle).save()
    host = site.host("three")
    host.load()
    late = variant("agroup", 2, 200_000)
    host.write(late)
    assert host.save().added == 1
    newest = variant("anewest", 4, 400_000)
    assert site.host("four", newest).save(MAX_CACHE_SIZE_MB="1").stored_bytes <= MIB
    assert loaded_by_a_new_host(site) == {**early, **late, **newest}


def test_two_models_that_do_not_fit_together_take_turns_and_leave_no_more_than_two_packs(
    site: Site,
) -> None:
    trees = [variant("aone", 1, 700_000), variant("atwo", 2, 700_000)]
    hosts = [site.host(f"host {number}", tree) for number, tree in enumerate(trees)]
    for _ in range(3):
        for host in hosts:
            assert host.save(MAX_CACHE_SIZE_MB="1").stored_bytes <= MIB
    assert len(site.files("packs")) == 2
    assert loaded_by_a_new_host(site) == trees[1]
