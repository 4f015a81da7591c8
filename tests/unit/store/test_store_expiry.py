"""Saves over months: what is in use stays stored, nothing else, and without needless manifests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from b10_store.format.manifest import Identity
from b10_store.save import save as save_module
from b10_store.save.use import Use
from tests.support.meanwhile import Meanwhile, failing

if TYPE_CHECKING:
    from b10_store.remote.memory import MemoryRemote
    from b10_store.save.request import SaveOutcome
    from tests.support.clocks import SleepingClock
    from tests.support.engine_hosts import EngineHost, Hosts

DAY = 86_400
AGE_MS = 30 * DAY * 1000
BOTH = {"a/used.py": b"used", "b/idle.py": b"idle"}


@pytest.fixture(autouse=True)
def _one_clock(clock: SleepingClock, monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(time_ns=lambda: int(clock.seconds * 1e9))
    monkeypatch.setattr(save_module, "time", now)


def start(hosts: Hosts, *idle: str, **changes: object) -> SaveOutcome:
    """A replica that loads, uses all but what is idle, and saves."""
    host = hosts.new()
    host.load()
    return save(host, *idle, **changes)


def save(host: EngineHost, *idle: str, **changes: object) -> SaveOutcome:
    use = Use(frozenset(Identity("inductor", path) for path in idle), max_age_ms=AGE_MS)
    return host.save(use=use, **changes)


def stored(hosts: Hosts) -> set[str]:
    return {path for _, path, _ in hosts.new().stored().entries}


def test_what_is_used_stays_for_ever_and_what_is_not_goes_after_the_maximum_age(
    hosts: Hosts, clock: SleepingClock
) -> None:
    save(hosts.new().write(BOTH))
    days: dict[int, set[str]] = {}
    for day in range(100):
        clock.seconds += DAY
        start(hosts, "b/idle.py")
        days[day] = stored(hosts)
    assert all("a/used.py" in found for found in days.values())
    assert all("b/idle.py" in days[day] for day in range(29))
    assert all("b/idle.py" not in days[day] for day in range(45, 100))


def test_a_start_a_day_publishes_a_manifest_in_ten_days(
    hosts: Hosts, remote: MemoryRemote, clock: SleepingClock
) -> None:
    save(hosts.new().write(BOTH))
    for _ in range(60):
        clock.seconds += DAY
        start(hosts)
    assert len(remote.list("manifests")) == 1 + 60 // 10
    assert len(remote.list("packs")) == 1


def test_a_save_that_only_notes_what_is_used_adds_nothing(
    hosts: Hosts, remote: MemoryRemote, clock: SleepingClock
) -> None:
    save(hosts.new().write(BOTH))
    clock.seconds += 11 * DAY
    outcome = start(hosts, "b/idle.py")
    assert outcome.published is not None
    assert (outcome.added, outcome.superseded, outcome.expired, outcome.uploaded_bytes) == (0,) * 4
    assert start(hosts, "b/idle.py").published is None
    assert len(remote.list("manifests")) == 2


@pytest.mark.parametrize("effect", ["now", "open_token", "rename"])
def test_a_host_that_cannot_note_what_it_uses_has_nothing_new_all_the_same(
    hosts: Hosts, remote: MemoryRemote, clock: SleepingClock, effect: str
) -> None:
    save(hosts.new().write(BOTH))
    clock.seconds += 11 * DAY
    host = hosts.new(failing(remote, PermissionError("read-only"), effect))
    host.load()
    assert save(host).published is None
    assert remote.list("sessions") == []


def test_what_another_host_uses_is_kept_although_this_one_does_not(
    hosts: Hosts, clock: SleepingClock
) -> None:
    save(hosts.new().write(BOTH))
    for _ in range(10):
        clock.seconds += 8 * DAY
        start(hosts, "a/used.py")
        clock.seconds += 8 * DAY
        start(hosts, "b/idle.py")
    assert stored(hosts) == BOTH.keys()


def test_what_expired_is_not_brought_back_by_a_host_that_has_it_and_does_not_use_it(
    hosts: Hosts, clock: SleepingClock
) -> None:
    save(hosts.new().write(BOTH))
    idler = hosts.new()
    idler.load()
    for _ in range(4):
        clock.seconds += 11 * DAY
        start(hosts, "b/idle.py")
    assert stored(hosts) == {"a/used.py"}
    assert save(idler, *BOTH).published is None
    assert save(idler, "a/used.py").added == 1
    assert stored(hosts) == BOTH.keys()


@pytest.mark.parametrize("years", [-1, 1])
def test_nothing_expires_where_the_clocks_of_host_and_store_disagree(
    hosts: Hosts, clock: SleepingClock, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    save(hosts.new().write(BOTH))
    clock.seconds += 40 * DAY
    wrong = SimpleNamespace(time_ns=lambda: int((clock.seconds + years * 365 * DAY) * 1e9))
    monkeypatch.setattr(save_module, "time", wrong)
    assert save(hosts.new().write({"c/new.py": b"new"})).expired == 0
    assert stored(hosts) == {*BOTH, "c/new.py"}


def test_a_host_whose_clock_is_ahead_publishes_nothing_at_each_start(
    hosts: Hosts, remote: MemoryRemote, clock: SleepingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(hosts.new().write(BOTH))
    ahead = SimpleNamespace(time_ns=lambda: int((clock.seconds + 400 * DAY) * 1e9))
    monkeypatch.setattr(save_module, "time", ahead)
    for _ in range(3):
        clock.seconds += 60
        assert start(hosts).published is None
    assert len(remote.list("manifests")) == 1
    assert remote.list("sessions") == []


def test_two_hosts_that_note_and_expire_at_once_lose_nothing_that_one_uses(
    hosts: Hosts, remote: MemoryRemote, clock: SleepingClock
) -> None:
    save(hosts.new().write(BOTH))
    clock.seconds += 31 * DAY
    one, two = hosts.new(), hosts.new()
    one.load()
    two.load()

    two.remote = Meanwhile(remote, lambda: save(one, "a/used.py"), "rename")
    save(two, "b/idle.py", wait_seconds=0)
    assert stored(hosts) == BOTH.keys()
