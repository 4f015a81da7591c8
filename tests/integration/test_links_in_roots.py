"""Links inside cache roots: folders on a bigger disk, and what is no folder of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer import CacheError
from b10_transfer import OperationStatus as Status
from tests.support.cache_trees import compiled_graph, read_tree
from tests.support.doctor_views import found

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Host, Site

TREE = compiled_graph("model")


def move_away(host: Host, folder: str, elsewhere: Path) -> None:
    """Put a folder of a cache root on another disk, with a link in its place."""
    elsewhere.mkdir(parents=True)
    moved = elsewhere / folder.replace("/", "-")
    inside = host.root / folder
    inside.parent.mkdir(parents=True, exist_ok=True)
    if inside.exists():
        inside.rename(moved)
    else:
        moved.mkdir()
    inside.symlink_to(moved)


def link_problems(host: Host) -> list[str]:
    return [item.text for item in found(host, "root.link")]


def test_what_lies_behind_a_link_is_saved_as_if_it_lay_in_the_root(site: Site) -> None:
    saver = site.host("saver", TREE)
    move_away(saver, "fxgraph", site.folder / "big")
    report = saver.save()
    assert (report.added, report.left_out) == (len(TREE), 0)
    assert link_problems(saver) == []
    loader = site.host("loader")
    assert loader.load().loaded == len(TREE)
    assert loader.tree() == TREE


@pytest.mark.parametrize("target", ["store", "triton", "around", "nowhere"])
def test_a_link_to_no_folder_of_the_roots_own_is_named_by_save_and_doctor(
    site: Site, target: str
) -> None:
    host = site.host("host", TREE)
    host.save()
    host.triton.mkdir(parents=True, exist_ok=True)
    targets = {
        "store": site.store / "packs",
        "triton": host.triton,
        "around": host.folder,
        "nowhere": host.folder / "nowhere",
    }
    link = host.root / "more"
    link.symlink_to(targets[target])
    report = host.save()
    assert (report.status, report.found) == (Status.SKIPPED, len(TREE))
    ((reason, files),) = report.left_out_files.items()
    assert files == (str(link),)
    (told,) = link_problems(host)
    assert told.startswith(f"{link} is {reason}: it is not followed")
    assert read_tree(host.root).keys() == TREE.keys()


def test_a_load_places_behind_ones_own_links_as_a_compiler_would(site: Site) -> None:
    site.host("saver", TREE).save()
    loader = site.host("loader")
    big = site.folder / "big"
    move_away(loader, "fxgraph", big)
    first = next(path for path in sorted(TREE) if path.count("/") > 1)
    report = loader.load()
    assert (report.loaded, report.problems) == (len(TREE), ())
    behind = {path for path in TREE if path.startswith("fxgraph/")}
    assert behind, first
    assert {f"fxgraph/{path}" for path in read_tree(big / "fxgraph")} == behind
    assert all((loader.root / path).read_bytes() == data for path, data in TREE.items())
    assert loader.load().status is Status.SKIPPED
    assert loader.save().status is Status.SKIPPED


def test_a_link_to_nowhere_keeps_a_load_from_what_would_be_behind_it_and_is_named(
    site: Site,
) -> None:
    site.host("saver", TREE).save()
    loader = site.host("loader")
    loader.root.mkdir(parents=True)
    (loader.root / "fxgraph").symlink_to("nowhere")
    report = loader.load()
    behind = sum(path.startswith("fxgraph/") for path in TREE)
    assert (report.loaded, report.unavailable) == (len(TREE) - behind, behind)
    (line,) = report.problems
    assert f"{loader.root}/fxgraph is in the way: a link that leads to no folder" in line


def test_a_root_that_is_a_link_to_nowhere_is_named_with_the_way_out(site: Site) -> None:
    site.host("saver", TREE).save()
    loader = site.host("loader")
    loader.root.parent.mkdir(parents=True)
    loader.root.symlink_to(site.folder / "purged")
    with pytest.raises(
        CacheError, match=r"is a link to .*/purged, which does not exist .*: create that"
    ):
        loader.load()
