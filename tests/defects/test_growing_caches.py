"""Caches that are not the same everywhere: other shapes, other versions, other files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from b10_transfer import OperationStatus
from tests.support.cache_trees import compiled_graph
from tests.support.crowd import Act, run_one, run_together
from tests.support.other_torch import with_other_torch

if TYPE_CHECKING:
    from tests.support.sites import Site

FIRST_SHAPE = compiled_graph("first shape")
SECOND_SHAPE = compiled_graph("second shape", 1)


def test_defect_06_a_second_shape_is_added_by_the_next_save_and_reaches_the_next_replica(
    site: Site,
) -> None:
    first = site.host("first", FIRST_SHAPE)
    assert first.save().added == len(FIRST_SHAPE)
    first.write(SECOND_SHAPE)
    report = first.save()
    assert (report.status, report.added) == (OperationStatus.SUCCESS, len(SECOND_SHAPE))

    replica = site.host("replica")
    assert replica.load().loaded == len(FIRST_SHAPE) + len(SECOND_SHAPE)
    assert replica.tree() == {**FIRST_SHAPE, **SECOND_SHAPE}


def test_defect_06_a_replica_that_loaded_and_compiled_a_shape_more_adds_just_that(
    site: Site,
) -> None:
    site.host("first", FIRST_SHAPE).save()
    second = site.host("second")
    second.load()
    second.write(SECOND_SHAPE)
    report = second.save()
    assert (report.added, report.superseded) == (len(SECOND_SHAPE), 0)
    assert report.uploaded_bytes < sum(map(len, SECOND_SHAPE.values())) + 1000
    third = site.host("third")
    third.load()
    assert third.tree() == {**FIRST_SHAPE, **SECOND_SHAPE}


def test_defect_07_a_tree_that_holds_another_file_already_is_added_to(site: Site) -> None:
    site.host("saver", FIRST_SHAPE).save()
    stray = {"stray.txt": b"not of a compiler"}
    loader = site.host("loader", stray)
    report = loader.load()
    assert (report.status, report.loaded) == (OperationStatus.SUCCESS, len(FIRST_SHAPE))
    assert loader.tree() == {**FIRST_SHAPE, **stray}


def test_defect_08_another_torch_version_neither_loads_the_old_cache_nor_is_kept_from_saving(
    site: Site,
) -> None:
    old, new = site.host("old", FIRST_SHAPE), site.host("new", SECOND_SHAPE)
    assert old.save().status is OperationStatus.SUCCESS
    loaded = run_one(Act("load", with_other_torch(site.host("new and empty"))))
    assert loaded.status == "DOES_NOT_EXIST", loaded

    saved = run_one(Act("save", with_other_torch(new)))
    assert saved.status == "SUCCESS", saved
    assert saved.report["environment_key"] != old.save().environment_key
    of_old, of_new = site.host("of the old torch"), site.host("of the new torch")
    assert run_one(Act("load", of_old.variables())).status == "SUCCESS"
    assert run_one(Act("load", with_other_torch(of_new))).status == "SUCCESS"
    assert (of_old.tree(), of_new.tree()) == (FIRST_SHAPE, SECOND_SHAPE)


def test_defect_08_what_a_tree_holds_of_another_torch_version_is_not_saved_as_this_ones(
    site: Site,
) -> None:
    host = site.host("host", FIRST_SHAPE)
    assert run_one(Act("save", host.variables())).status == "SUCCESS"
    assert run_one(Act("save", with_other_torch(host))).status == "SKIPPED"
    time.sleep(0.05)
    host.write(SECOND_SHAPE)
    saved = run_one(Act("save", with_other_torch(host)))
    assert (saved.status, saved.report["added"]) == ("SUCCESS", len(SECOND_SHAPE))
    loader = site.host("loader")
    assert run_one(Act("load", with_other_torch(loader))).status == "SUCCESS"
    assert loader.tree() == SECOND_SHAPE

    # A load into a tree of another version says that what is there may be wrong.
    mixed = site.host("mixed", FIRST_SHAPE)
    assert run_one(Act("save", mixed.variables())).status == "SKIPPED"
    loaded = run_one(Act("load", with_other_torch(mixed)))
    assert loaded.status == "SUCCESS"
    assert "another environment" in "".join(loaded.report["problems"])


def test_defect_10_of_two_equal_saves_at_once_one_does_the_work(site: Site) -> None:
    hosts = [site.host(name, {**FIRST_SHAPE, **SECOND_SHAPE}) for name in ("one", "two")]
    results = run_together([Act("save", host.variables()) for host in hosts])
    assert sorted(result.status for result in results) == ["SKIPPED", "SUCCESS"], results
    assert sorted(result.report["uploaded_bytes"] > 0 for result in results) == [False, True]
    assert len(site.files("packs")) == len(site.files("manifests")) == 1


def test_defect_10_of_two_different_saves_at_once_neither_replaces_the_other(site: Site) -> None:
    hosts = [site.host("one", FIRST_SHAPE), site.host("two", SECOND_SHAPE)]
    results = run_together([Act("save", host.variables()) for host in hosts])
    assert [result.status for result in results] == ["SUCCESS", "SUCCESS"], results
    loader = site.host("loader")
    loader.load()
    assert loader.tree() == {**FIRST_SHAPE, **SECOND_SHAPE}
