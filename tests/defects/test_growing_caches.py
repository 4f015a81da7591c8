"""Caches that are not the same everywhere: other shapes, other versions, other files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support.cache_trees import compiled_graph
from tests.support.crowd import Act, run_one
from tests.support.other_torch import with_other_torch

if TYPE_CHECKING:
    from tests.support.sites import Site

FIRST_SHAPE = compiled_graph("first shape")
SECOND_SHAPE = compiled_graph("second shape", 1)


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
