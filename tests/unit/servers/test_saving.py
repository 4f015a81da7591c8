from __future__ import annotations

import math
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus
from b10_transfer.operations import transfer
from b10_transfer.servers import saving as server_saving
from b10_transfer.servers.saving import (
    Caches,
    Pace,
    SaveResult,
    keep_saving,
    save_now,
    save_when_settled,
)
from tests.support.cache_trees import compiled_graph
from tests.support.waiting import SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_transfer.settings import Settings
    from tests.support.sites import Host, Site

PACE = Pace(settle=0.4, settle_limit=10.0, settle_look=0.05, look=0.1, longest_look=0.2)
NEVER = threading.Event()


@pytest.fixture
def host(site: Site) -> Host:
    return site.host("one", compiled_graph("first"))


def stored_tree(site: Site) -> dict[str, bytes]:
    new = site.host(f"new {time.time_ns()}")
    new.load()
    return new.tree()


class Compiler:
    """Writes an artifact whenever a save pauses, until some time by the clock of that save.

    Attributes:
        now: what that clock shows.
    """

    def __init__(self, host: Host, until: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self._host = host
        self._until = until
        monkeypatch.setattr(server_saving, "pause", self._pause)
        monkeypatch.setattr(server_saving, "time", SimpleNamespace(monotonic=lambda: self.now))

    def _pause(self, seconds: float, _: Callable[[], bool]) -> None:
        self.now += seconds
        if self.now < self._until:
            self._host.write({f"ab/{self.now:.3f}.py": b"source"})


def test_any_work_of_a_compiler_changes_the_state(host: Host) -> None:
    caches = Caches(host.settings())
    states = [caches.state()]
    host.write({"ab/new.py": b"x = 1"})
    states.append(caches.state())
    host.write({"ab/new.py": b"x = 2"})
    states.append(caches.state())
    host.triton.mkdir()
    host.write({"locks/one.lock": b""})
    assert caches.state() == states[-1]
    assert len(set(states)) == 3
    assert None not in states


def test_a_save_waits_until_nothing_changes(
    site: Site, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = Compiler(host, 1.0, monkeypatch)
    result = save_when_settled(host.settings(), NEVER, pace=PACE)
    last_change = 1.0 - PACE.settle_look
    assert last_change + PACE.settle <= compiler.now + 1e-9 < 1.0 + PACE.settle + PACE.settle_look
    assert result.error == ""
    assert result.report is not None
    assert result.report.status is OperationStatus.SUCCESS
    assert stored_tree(site) == host.tree()


def test_a_save_does_not_wait_for_ever(
    site: Site, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = Compiler(host, 30.0, monkeypatch)
    pace = Pace(settle=0.4, settle_limit=0.8, settle_look=0.05)
    result = save_when_settled(host.settings(), NEVER, pace=pace)
    assert 0.8 <= compiler.now + 1e-9 < 0.9
    assert result.error == ""
    assert compiled_graph("first").items() <= stored_tree(site).items()


@pytest.mark.parametrize("reason", ["stopped", "ended"])
def test_in_a_hurry_a_save_waits_for_nothing(
    site: Site, host: Host, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    waits: list[bool] = []
    save = transfer.save

    def noting(settings: Settings, *, wait: bool, on_progress: None) -> object:
        waits.append(wait)
        return save(settings, wait=wait, on_progress=on_progress)

    monkeypatch.setattr(transfer, "save", noting)
    monkeypatch.setattr(server_saving, "pause", None)
    stop = threading.Event()
    is_alive: Callable[[], bool] = lambda: reason != "ended"  # noqa: E731
    if reason == "stopped":
        stop.set()
    result = save_when_settled(host.settings(), stop, is_alive=is_alive, pace=Pace())
    assert result.error == ""
    assert waits == [False]
    assert stored_tree(site) == host.tree()


def test_what_fails_is_told_and_logged_once(
    site: Site, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    site.store.write_text("a file")
    result = save_now(host.settings(), wait=True)
    assert result.report is None
    assert str(site.store) in result.error
    assert [item.levelname for item in caplog.records if item.name == "b10_transfer"] == ["ERROR"]


def test_what_nobody_foresaw_does_not_come_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr(transfer, "save", fail)
    result = save_now(host.settings(), wait=True)
    assert "nobody foresaw this" in result.error


def test_a_store_that_does_not_answer_is_given_up(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def hang(*_: object, **__: object) -> None:
        gate.wait()

    monkeypatch.setattr(transfer, "save", hang)
    result = save_now(host.settings(), wait=True, limit=0.3)
    assert "not done within" in result.error
    gate.set()


class Keeping(threading.Thread):
    """Keeps saving, in a thread of its own."""

    def __init__(self, host: Host, last: SaveResult | None, seconds: float = math.inf) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.is_server_alive = True
        self.results: list[SaveResult] | None = None
        self._arguments = (host.settings(), last, seconds)

    def run(self) -> None:
        settings, last, seconds = self._arguments
        self.results = keep_saving(
            settings,
            self.stop,
            is_alive=lambda: self.is_server_alive,
            seconds=seconds,
            last=last,
            pace=PACE,
        )

    def result(self) -> list[SaveResult]:
        self.join(SECONDS)
        assert self.results is not None
        return self.results


def test_nothing_new_is_no_reason_to_save(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    last = save_now(host.settings(), wait=True)
    monkeypatch.setattr(transfer, "save", None)
    keeping = Keeping(host, last, seconds=0.6)
    keeping.start()
    assert keeping.result() == []


def test_a_save_that_failed_is_tried_again(site: Site, host: Host) -> None:
    site.store.write_text("a file")
    last = save_now(host.settings(), wait=True)
    assert last.error
    site.store.unlink()
    keeping = Keeping(host, last, seconds=0.6)
    keeping.start()
    assert [item.error for item in keeping.result()] == [""]
    assert stored_tree(site) == host.tree()


def test_what_is_new_is_saved_from_time_to_time(site: Site, host: Host) -> None:
    keeping = Keeping(host, save_now(host.settings(), wait=True))
    keeping.start()
    for name in ("second", "third"):
        host.write(compiled_graph(name))
        eventually(lambda: stored_tree(site) == host.tree())
    keeping.is_server_alive = False
    # Files that are written slowly are saved in parts.
    assert sum(item.report.added for item in keeping.result() if item.report) == 8


@pytest.mark.parametrize("reason", ["stopped", "ended", "time"])
def test_what_is_new_in_the_end_is_saved(site: Site, host: Host, reason: str) -> None:
    seconds = 0.5 if reason == "time" else math.inf
    keeping = Keeping(host, save_now(host.settings(), wait=True), seconds)
    host.write(compiled_graph("last"))
    keeping.start()
    if reason == "stopped":
        keeping.stop.set()
    keeping.is_server_alive = reason != "ended"
    assert len(keeping.result()) == 1
    assert stored_tree(site) == host.tree()


def test_saves_become_rarer(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save of little is as much work for the store as one of much."""
    pauses: list[float] = []

    def pause(seconds: float, _: Callable[[], bool]) -> None:
        pauses.append(seconds)
        host.write({f"ab/{len(pauses)}.py": b"source"})

    monkeypatch.setattr(server_saving, "pause", pause)
    pace = Pace(settle=0.0, look=1.0, longest_look=5.0)
    is_alive: Callable[[], bool] = lambda: len(pauses) < 6  # noqa: E731
    keep_saving(host.settings(), NEVER, is_alive=is_alive, seconds=math.inf, pace=pace)
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
