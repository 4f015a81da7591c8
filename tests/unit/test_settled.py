"""Which files can have changed unseen since they were hashed: by the clock that stamps them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from b10_store import Fingerprint, FoundFile
from b10_transfer.local import settled
from b10_transfer.local.record import filesystem_now_ns, read_hashed
from b10_transfer.local.settled import GRAIN_NS, is_settled, settled_before_ns
from tests.support.cache_trees import compiled_graph

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Site

TREE = compiled_graph("model")


def changed_at(moment: int) -> FoundFile:
    return FoundFile("ab/x.py", "/root", Fingerprint(1, 0, moment, 1), executable=False)


@pytest.mark.parametrize(
    ("now", "before"),
    [(7_000_000_001, 7_000_000_001 - GRAIN_NS), (7_000_000_000, 5_000_000_000)],
    ids=["nanoseconds", "whole seconds"],
)
def test_files_are_settled_once_the_clock_of_their_filesystem_has_gone_on(
    monkeypatch: pytest.MonkeyPatch, now: int, before: int
) -> None:
    def clock(_: str) -> int:
        return now

    monkeypatch.setattr(settled, "filesystem_now_ns", clock)
    assert settled_before_ns("/root") == before
    assert is_settled(changed_at(before - 1), before)
    assert not is_settled(changed_at(before), before)


def test_a_file_that_was_just_written_is_not_settled_and_soon_is(tmp_path: Path) -> None:
    written = filesystem_now_ns(str(tmp_path))
    assert not is_settled(changed_at(written), settled_before_ns(str(tmp_path)))
    while settled_before_ns(str(tmp_path)) <= written:
        os.sched_yield()
    assert is_settled(changed_at(written), settled_before_ns(str(tmp_path)))


def test_a_save_remembers_what_was_settled_when_it_began_to_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = site.host("host", TREE)
    last = max((host.root / path).stat().st_ctime_ns for path in TREE)

    def before(_: str) -> int:
        return last

    monkeypatch.setattr("b10_transfer.local.scan.settled_before_ns", before)
    host.save()
    fresh = {path for path in TREE if (host.root / path).stat().st_ctime_ns >= last}
    assert fresh
    assert read_hashed(str(host.root)).keys() == TREE.keys() - fresh
    assert not (host.root / ".b10_transfer/saved").exists()
