"""B10_CACHE_LOAD=0, the way out of a wrong graph: it leads out, or says that it does not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from b10_transfer.local.clear import clear_root
from b10_transfer.operations.context import open_context
from b10_transfer.status import OperationStatus

if TYPE_CHECKING:
    from tests.support.sites import Host, Site

WRONG = {"ab/cab.py": b"wrong = 1\n"}
RIGHT = {"ab/cab.py": b"right = 1\n"}


def with_the_wrong_one(site: Site, name: str) -> Host:
    """A host that had loaded what is wrong, before it is to start cold."""
    site.host("first", WRONG).save()
    host = site.host(name)
    host.load()
    return host


def stored(site: Site) -> dict[str, bytes]:
    host = site.host(f"reader at {time.monotonic_ns()}")
    host.load()
    return host.tree()


def test_a_cold_start_over_what_is_here_names_the_folder_and_the_way_out(site: Site) -> None:
    host = with_the_wrong_one(site, "second")
    report = host.load(B10_CACHE_LOAD="0")
    assert report.status is OperationStatus.DOES_NOT_EXIST
    (line,) = [line for line in report.problems if str(host.root) in line]
    assert "already has 1 artifact, " in line
    assert "clear --roots inductor --yes" in line


def test_a_save_after_such_a_start_says_that_nothing_was_replaced(site: Site) -> None:
    host = with_the_wrong_one(site, "second")
    host.load(B10_CACHE_LOAD="0")
    report = host.save(B10_CACHE_LOAD="0")
    assert report.status is OperationStatus.SKIPPED
    assert any("1 artifact from an earlier load" in line for line in report.problems)
    assert stored(site) == WRONG


def test_a_cold_start_in_empty_folders_says_nothing_and_leads_out(site: Site) -> None:
    host = with_the_wrong_one(site, "second")
    for root in open_context(host.settings()).roots:
        clear_root(root)
    assert not [line for line in host.load(B10_CACHE_LOAD="0").problems if "already has" in line]
    host.write(RIGHT)
    report = host.save(B10_CACHE_LOAD="0")
    assert (report.superseded, report.expired, report.problems) == (1, 0, ())
    assert stored(site) == RIGHT


def test_a_server_that_was_cold_before_is_not_told_that_its_own_work_was_loaded(
    site: Site,
) -> None:
    host = site.host("alone", RIGHT)
    host.save(B10_CACHE_LOAD="0")
    assert host.save(B10_CACHE_LOAD="0").problems == ()
