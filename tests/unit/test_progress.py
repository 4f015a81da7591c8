"""How far a load or a save is: what the callback is told, and that it can do no harm."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus, Progress
from b10_transfer.operations import transfer
from b10_transfer.operations.progress import Meter
from tests.support.sites import Site
from tests.support.trees import compiled, put_artifacts

if TYPE_CHECKING:
    from pathlib import Path

TREE = compiled("model", spanning=True)
SIZE = sum(len(artifact.data) for artifact in TREE.values())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    put_artifacts(site.host("saver"), TREE)
    return site


def told_once(calls: list[Progress], total: int) -> None:
    assert calls, "nobody was told anything"
    assert {call.total for call in calls} == {total}
    done = [call.done for call in calls]
    assert done == sorted(set(done)), "it only grows"
    assert done[-1] == total


def test_a_save_tells_the_bytes_that_it_uploads_and_a_load_those_that_it_brings(
    site: Site,
) -> None:
    calls: list[Progress] = []
    transfer.save(site.host("saver").settings(), on_progress=calls.append)
    # A group is stored without its folder's path, and an empty artifact needs no upload.
    uploaded = calls[-1].total
    assert uploaded <= SIZE
    told_once(calls, uploaded)
    calls.clear()
    report = transfer.load(site.host("host").settings(), on_progress=calls.append)
    told_once(calls, report.bytes_loaded)


def test_where_there_is_nothing_to_do_nobody_is_called(site: Site) -> None:
    saver, host = site.host("saver"), site.host("host")
    saver.save()
    host.load()
    calls: list[Progress] = []
    transfer.save(saver.settings(), on_progress=calls.append)
    transfer.load(host.settings(), on_progress=calls.append)
    assert calls == []


def test_a_callback_that_raises_is_called_once_and_fails_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Progress] = []

    def fail(progress: Progress) -> None:
        calls.append(progress)
        raise OSError(28, "no room for a progress bar")

    settings = site.host("saver").settings()
    with caplog.at_level(logging.ERROR, "b10_transfer"):
        assert transfer.save(settings, on_progress=fail).status is OperationStatus.SUCCESS
    assert len(calls) == 1
    assert [record.message for record in caplog.records] == [
        "the progress callback failed; it is not called again"
    ]


def test_calls_are_a_tenth_of_a_second_apart_but_for_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    calls: list[Progress] = []
    meter = Meter(calls.append, 1000)
    for _ in range(50):
        meter.add(10)
        now += 0.03
    meter.finish()
    assert calls[0] == Progress(10, 1000)
    assert calls[-1] == Progress(1000, 1000)
    assert len(calls) == 1 + 12 + 1


def test_bytes_that_are_read_twice_do_not_count_beyond_the_end() -> None:
    calls: list[Progress] = []
    meter = Meter(calls.append, 10)
    meter.add(8)
    meter.add(8)
    meter.finish()
    assert calls == [Progress(8, 10), Progress(10, 10)]


def test_a_failed_operation_does_not_say_that_all_is_done(site: Site) -> None:
    saver = site.host("another saver", {"ab/cabc.py": b"source"})
    saver.save()
    for pack in site.files("packs"):
        os.truncate(pack, 10)
    calls: list[Progress] = []
    with pytest.raises(Exception, match="no stored artifact"):
        transfer.load(site.host("host").settings(), on_progress=calls.append)
    assert all(call.done < call.total for call in calls)
