"""What max-autotune measured: one file that every replica adds to, and none may lose."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest

from b10_store.tree.scan import UNITED_LIMIT
from b10_transfer import OperationStatus as Status
from tests.support.cache_trees import compiled_graph, leftovers, read_tree, snapshot, write_tree
from tests.support.crowd import Act, run_together
from tests.support.programs import run_python
from tests.support.sites import Site
from tests.support.timings import TIMINGS, measure, measured_by, stored_in, timings

if TYPE_CHECKING:
    from tests.support.sites import Host

REPLICAS = 50
REST = compiled_graph("model")


# Loads.


def test_a_load_adds_what_is_stored_and_of_what_both_measured_leaves_the_local_value(
    site: Site,
) -> None:
    site.host("saver", timings({"both": 1.0, "stored": 2.0})).save()
    host = site.host("host", timings({"both": 8.0, "local": 9.0}))
    report = host.load()
    assert (report.status, report.loaded, report.problems) == (Status.SUCCESS, 1, ())
    assert measured_by(host) == {"both": 8.0, "local": 9.0, "stored": 2.0}
    assert leftovers(host.root) == []


def test_nothing_else_that_is_here_is_replaced(site: Site) -> None:
    site.host("saver", {**timings({"stored": 2.0}), **REST}).save()
    own = {path: b"made here" for path in REST if not path.endswith(".so")}
    host = site.host("host", {**timings({"local": 9.0}), **own})
    before = {path: mark for path, mark in snapshot(host.root).items() if path in own}
    host.load()
    assert {path: mark for path, mark in snapshot(host.root).items() if path in own} == before
    assert measured_by(host) == {"local": 9.0, "stored": 2.0}


def test_a_second_load_has_nothing_to_add_and_leaves_the_file_alone(site: Site) -> None:
    site.host("saver", timings({"stored": 2.0})).save()
    host = site.host("host", timings({"local": 9.0}))
    host.load()
    before = (host.root / TIMINGS).stat()
    report = host.load()
    assert (report.status, report.already_here) == (Status.SKIPPED, 1)
    assert (host.root / TIMINGS).stat() == before


def test_what_is_stored_later_comes_with_the_next_load(site: Site) -> None:
    saver = site.host("saver", timings({"first": 1.0}))
    saver.save()
    host = site.host("host", timings({"local": 9.0}))
    host.load()
    measure(saver, {"second": 2.0})
    saver.save()
    assert host.load().status is Status.SUCCESS
    assert measured_by(host) == {"local": 9.0, "first": 1.0, "second": 2.0}


def test_local_timings_that_hold_everything_stay_byte_by_byte(site: Site) -> None:
    site.host("saver", timings({"both": 1.0})).save()
    local = timings({"both": 3.0, "local": 9.0})
    host = site.host("host", local)
    host.load()
    assert host.tree() == local


def test_state_of_profiles_and_dynamos_own_entries_stay_local(site: Site) -> None:
    paths = ["dynamo/code_state_0123.pkl", "dynamo/0123abcd/entry", "dynamo/0123abcd/dynamo"]
    site.host("saver", dict.fromkeys(paths, b"stored")).save()
    host = site.host("host", dict.fromkeys(paths[:2], b"local"))
    assert host.load().status is Status.SUCCESS
    assert host.tree() == {paths[0]: b"local", paths[1]: b"local", paths[2]: b"stored"}
    assert host.load().status is Status.SKIPPED


def test_timings_that_were_loaded_and_united_are_not_taken_for_newly_compiled(site: Site) -> None:
    site.host("saver", {**timings({"stored": 2.0}), **REST}).save()
    host = site.host("host", timings({"local": 9.0}))
    host.load()
    report = host.save()
    assert (report.reused, report.compiled_kinds) == (1 + len(REST), {})


# Saves.


def test_fifty_replicas_that_each_measured_something_else_lose_nothing_in_any_order(
    site: Site,
) -> None:
    hosts = [
        site.host(f"host {number}", timings({f"mm{number}": float(number)}))
        for number in range(REPLICAS)
    ]
    random.Random(0).shuffle(hosts)
    settings = [host.settings() for host in hosts]
    for host in hosts:
        assert host.save(wait=False).status is Status.SUCCESS
    assert len(settings) == REPLICAS
    assert stored_in(site) == {f"mm{number}": float(number) for number in range(REPLICAS)}
    for host in hosts[:5]:
        assert host.save(wait=False).status is Status.SKIPPED


def test_replicas_that_save_at_the_same_moment_lose_nothing(site: Site) -> None:
    count = 6
    hosts = [
        site.host(f"host {number}", timings({f"mm{number}": float(number)}))
        for number in range(count)
    ]
    results = run_together([Act("save", host.variables()) for host in hosts])
    assert {result.status for result in results} == {"SUCCESS"}
    assert stored_in(site) == {f"mm{number}": float(number) for number in range(count)}


def test_replicas_that_measured_the_same_to_other_values_store_the_first_ones(site: Site) -> None:
    hosts = [
        site.host(f"host {number}", timings({"mm": 1.0 + number, "bmm": 2.0 + number}))
        for number in range(5)
    ]
    first, *others = hosts
    assert first.save().status is Status.SUCCESS
    for _ in range(2):
        assert {host.save().status for host in others} == {Status.SKIPPED}
    assert first.save().status is Status.SKIPPED
    assert len(site.files("manifests")) == 1
    assert stored_in(site) == measured_by(first)


def test_a_replica_that_never_loaded_takes_nothing_from_what_is_stored(site: Site) -> None:
    site.host("saver", {**timings({"stored": 2.0}), **REST}).save()
    host = site.host("host", timings({"local": 9.0}))
    report = host.save()
    assert (report.status, report.added, report.superseded) == (Status.SUCCESS, 0, 1)
    assert stored_in(site) == {"stored": 2.0, "local": 9.0}
    assert measured_by(host) == {"local": 9.0}


def test_what_two_hosts_saved_without_knowing_of_each_other_outlives_the_save_of_a_third(
    site: Site,
) -> None:
    apart = Site(site.folder / "apart")
    site.host("saver", timings({"first": 1.0})).save()
    apart.host("saver", timings({"second": 2.0})).save()
    shutil.copytree(apart.store, site.store, dirs_exist_ok=True)
    assert len(site.files("manifests")) == 2
    third = site.host("third")
    third.load()
    third.write(REST)
    assert third.save().status is Status.SUCCESS
    assert stored_in(site) == {"first": 1.0, "second": 2.0}


def test_timings_too_large_to_be_united_are_saved_and_loaded_as_they_are(site: Site) -> None:
    large = {TIMINGS: b'{"mm": "' + b"x" * UNITED_LIMIT + b'"}'}
    report = site.host("saver", large).save()
    assert (report.added, report.left_out) == (1, 0)
    host = site.host("host")
    host.load()
    assert host.tree() == large
    other = site.host("other", {**timings({"local": 9.0}), **REST})
    loaded = other.load()
    assert (loaded.already_here, loaded.unavailable) == (1, 0)
    assert measured_by(other) == {"local": 9.0}


def test_a_file_of_the_users_that_is_only_called_so_is_saved_and_loaded_as_it_is(
    site: Site,
) -> None:
    tree = {TIMINGS: b"\0 an object of a store of the user's own"}
    saver, host = site.host("saver"), site.host("host")
    write_tree(saver.folder / "mine", tree)
    report = saver.save(B10_CACHE_ROOTS=f"mine={saver.folder}/mine")
    assert (report.added, report.left_out) == (1, 0)
    host.load(B10_CACHE_ROOTS=f"mine={host.folder}/mine")
    assert read_tree(host.folder / "mine") == tree


def test_what_is_measured_after_a_load_is_saved_once(site: Site) -> None:
    site.host("saver", timings({"stored": 2.0})).save()
    host = site.host("host")
    host.load()
    assert host.save().status is Status.SKIPPED
    measure(host, {"local": 9.0})
    assert host.save().status is Status.SUCCESS
    assert host.save().status is Status.SKIPPED
    assert stored_in(site) == {"stored": 2.0, "local": 9.0}


def test_what_others_stored_since_a_load_is_not_lost_by_the_save_after_it(site: Site) -> None:
    saver = site.host("saver", timings({"first": 1.0}))
    saver.save()
    host = site.host("host")
    host.load()
    measure(saver, {"second": 2.0})
    saver.save()
    measure(host, {"third": 3.0})
    assert host.save().status is Status.SUCCESS
    assert stored_in(site) == {"first": 1.0, "second": 2.0, "third": 3.0}


def test_after_a_cold_start_on_purpose_the_local_values_take_the_place_of_the_stored(
    site: Site,
) -> None:
    site.host("saver", timings({"both": 1.0, "stored": 2.0})).save()
    host = site.host("host", timings({"both": 8.0}))
    assert host.save(B10_CACHE_LOAD="0").status is Status.SUCCESS
    assert stored_in(site)["both"] == 8.0


# The compiler itself.

_MEASURE = """
import sys
from torch._inductor.codecache import LocalCache
cache = LocalCache()
for name in sys.argv[1:]:
    cache.set_value("mm", name, value=float(len(name)))
print(sorted(cache.get_local_cache()["mm"]), cache.get_local_cache_path())
"""


@pytest.mark.slow
@pytest.mark.torch
def test_torch_writes_and_reads_the_files_that_are_united(site: Site) -> None:
    def tell(host: Host, name: str) -> str:
        code = f"import sys; sys.argv[1:] = [{name!r}]" + _MEASURE
        done = run_python(code, host.variables(), seconds=300, warnings="ignore")
        assert done.returncode == 0, done.stderr
        names, _, path = done.stdout.strip().rpartition(" ")
        assert host.root.joinpath(path).relative_to(host.root).as_posix() in host.tree()
        return names

    saver, host = site.host("saver"), site.host("host")
    assert tell(saver, "stored") == "['stored']"
    saver.save()
    assert tell(host, "local") == "['local']"
    host.load()
    assert tell(host, "later") == "['later', 'local', 'stored']"
    host.save()
    loader = site.host("loader")
    loader.load()
    assert tell(loader, "last") == "['last', 'later', 'local', 'stored']"
