"""Loads beside the caller's own work."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest

import b10_transfer
from b10_transfer import OperationStatus, Progress
from b10_transfer.operations.background import BackgroundLoad
from tests.support.cache_trees import compiled_graph
from tests.support.programs import run_python
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from pathlib import Path

TREE = compiled_graph("model")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.host("saver", TREE).save()
    return site


def test_its_result_is_that_of_the_load(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    host = become(site.host("host"), monkeypatch)
    calls: list[Progress] = []
    begun = b10_transfer.load_compile_cache_async(on_progress=calls.append)
    assert begun.result(timeout=300) is OperationStatus.SUCCESS
    assert begun.done()
    assert begun.result() is OperationStatus.SUCCESS, "as often as one asks"
    assert host.tree() == TREE
    assert calls[-1].done == calls[-1].total > 0
    become(host, monkeypatch, BASETEN_FS_ENABLED=None)
    assert b10_transfer.load_compile_cache_async().result() is OperationStatus.ERROR


def test_the_caller_goes_on_meanwhile_and_a_wait_that_is_too_short_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = threading.Event()

    def load() -> OperationStatus:
        answer.wait(300)
        return OperationStatus.SKIPPED

    begun = BackgroundLoad(load)
    assert not begun.done()
    with caplog.at_level(logging.ERROR, "b10_transfer"):
        assert begun.result(timeout=0.01) is OperationStatus.ERROR
    assert "not over after 0.0 s" in caplog.text
    answer.set()
    assert begun.result(timeout=300) is OperationStatus.SKIPPED


def test_without_a_thread_the_load_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    begun = BackgroundLoad(lambda: OperationStatus.SUCCESS)
    assert begun.done()
    assert begun.result() is OperationStatus.SUCCESS


def test_a_process_ends_though_a_load_hangs(site: Site) -> None:
    code = """
import threading
from b10_transfer import load_compile_cache_async
from b10_transfer.operations import transfer
transfer.load = lambda **_: threading.Event().wait()
print(load_compile_cache_async().result(timeout=0.01).name)
"""
    done = run_python(code, site.host("host").variables(), seconds=300)
    assert (done.returncode, done.stdout) == (0, "ERROR\n")
