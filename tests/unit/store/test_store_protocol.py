"""I4, I5: saves of the engine beside other savers, gc, and a store that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.errors import FencedError, StoreError, UnsupportedFormatError
from b10_store.format.keys import SigningKey
from b10_store.format.names import format_line
from b10_store.save import session as session_module
from tests.support.blobs import prose
from tests.support.counting_remote import CountingRemote
from tests.support.meanwhile import ALWAYS, Meanwhile, failing
from tests.support.packed import whole_file
from tests.support.values import ADDRESS

if TYPE_CHECKING:
    from b10_store.remote.memory import MemoryRemote
    from tests.support.clocks import SleepingClock
    from tests.support.engine_hosts import Hosts

TREE = {f"a{number}/{number}.py": prose(2000, number) for number in range(12)}
KEY = SigningKey(b"a secret of enough bytes")
HOUR = 3600.0


def test_a_save_moves_nothing_away_however_old_what_it_supersedes(
    hosts: Hosts, remote: MemoryRemote, clock: SleepingClock
) -> None:
    host = hosts.new()
    for number in range(5):
        host.write({f"{number}": b"x"}).save()
        clock.seconds += 2 * HOUR
    assert len(remote.list("manifests")) == 5
    assert remote.list("trash") == []


def fencing(remote: MemoryRemote, times: int) -> Meanwhile:
    """A gc that takes every session for dead, some times."""

    def fence() -> None:
        for name in remote.list("sessions"):
            remote.rename(f"sessions/{name}", f"fenced/{name}")

    return Meanwhile(remote, fence, "rename", "sessions/", times=times)


def test_a_fenced_save_starts_over(hosts: Hosts, remote: MemoryRemote) -> None:
    outcome = hosts.new(fencing(remote, 2)).write(TREE).save()
    assert outcome.published is not None
    assert len(remote.list("manifests")) == 1
    assert len(remote.list("packs")) == 1
    assert remote.list("sessions") == []


def test_a_save_that_is_fenced_again_and_again_gives_up(hosts: Hosts, remote: MemoryRemote) -> None:
    with pytest.raises(FencedError):
        hosts.new(fencing(remote, ALWAYS)).write(TREE).save()
    assert remote.list("manifests") == []
    assert remote.list("sessions") == []


@pytest.mark.parametrize("effect", ["create", "rename", "open_token", "now"])
def test_a_store_that_fails_publishes_nothing_and_keeps_no_token(
    hosts: Hosts, remote: MemoryRemote, effect: str
) -> None:
    host = hosts.new(failing(remote, OSError(5, "broken"), effect)).write(TREE)
    with pytest.raises(OSError, match="broken"):
        host.store().save(host.request())
    assert remote.list("manifests") == []
    assert remote.list("sessions") == []
    host.remote = remote
    assert host.save().published is not None


def test_a_rename_whose_answer_is_lost_has_published(hosts: Hosts, remote: MemoryRemote) -> None:
    losing = failing(remote, TimeoutError(), "rename", times=1, afterwards=True)
    outcome = hosts.new(losing).write(TREE).save()
    assert outcome.published is not None
    assert len(remote.list("manifests")) == 1


def test_a_store_of_another_format_is_not_touched(hosts: Hosts, remote: MemoryRemote) -> None:
    remote.create("", "FORMAT", [format_line(2)])
    counting = CountingRemote(remote)
    with pytest.raises(UnsupportedFormatError):
        hosts.new(counting).write(TREE).store().save(hosts.new().write(TREE).request())
    assert counting.changes == []


@pytest.mark.parametrize("damaged", [b"", format_line()[:10], bytes(60)])
def test_a_damaged_format_file_is_written_again(
    hosts: Hosts, remote: MemoryRemote, damaged: bytes
) -> None:
    remote.create("", "FORMAT", [damaged])
    hosts.new().write(TREE).save()
    assert whole_file(remote, "FORMAT") == format_line()


def test_a_manifest_that_cannot_be_reached_stops_the_save(
    hosts: Hosts, remote: MemoryRemote
) -> None:
    hosts.new().write(TREE).save()

    host = hosts.new(failing(remote, TimeoutError(), "read", "manifests/")).write({"new": b"x"})
    with pytest.raises(StoreError, match="cannot be read"):
        host.store().save(host.request())
    assert len(remote.list("packs")) == 1


def test_a_save_that_lost_its_turn_to_an_identical_one_leaves(
    hosts: Hosts, remote: MemoryRemote, clock: SleepingClock
) -> None:
    first = hosts.new().write(TREE)
    ahead = session_module.open_session(remote, ADDRESS)

    def finish() -> None:
        ahead.abandon()
        first.save(wait_seconds=0)

    clock.seconds += 1
    clock.after(3, finish)
    counting = CountingRemote(remote)
    assert hosts.new(counting).write(TREE).save().published is None
    assert "create" not in {call.effect for call in counting.calls if call.name == "packs"}
    assert remote.list("sessions") == []


def test_a_saver_without_the_key_neither_carries_on_nor_moves_a_signed_manifest(
    hosts: Hosts, clock: SleepingClock
) -> None:
    signing = hosts.new(key=KEY)
    for number in range(2):
        signing.write({f"signed{number}": b"x"}).save()
        clock.seconds += 2 * HOUR
    plain = hosts.new().write({"plain": b"x"})
    for _ in range(2):
        plain.write({f"plain{clock.seconds}": b"x"}).save()
        clock.seconds += 2 * HOUR
    found = hosts.new(key=KEY)
    found.load()
    assert found.tree().keys() == {"signed0", "signed1"}
    for head in plain.heads().manifests:
        if not head.signed:
            assert all(entry.identity.path.startswith("plain") for entry in head.entries.values())
