from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import Address, SnapshotName
from b10_store.remote.protocol import read_bounded
from b10_store.save import session as session_module
from b10_store.save.session import Wait, open_session
from b10_store.save.session_owner import MARK_LIMIT, own_mark
from tests.support.counting_remote import CountingRemote
from tests.support.meanwhile import Meanwhile, failing
from tests.support.values import ADDRESS, snapshot
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from b10_store.remote.memory import MemoryRemote
    from b10_store.remote.protocol import Remote
    from tests.support.clocks import SleepingClock
    from tests.support.sessions import Opened
    from tests.support.wrapped_remote import Call

OTHER = Address(ADDRESS.environment_key, "other")
SLOTS = 10
MINUTE = 60.0


def rival(
    remote: Remote, milliseconds: int, address: Address = ADDRESS, mark: bytes = b"another host"
) -> SnapshotName:
    """A session of another host, begun that much before or after the clock's start."""
    name = SnapshotName(address, snapshot(1_700_000_000_000 + milliseconds))
    token = remote.open_token(name.session_path)
    token.write([mark])
    token.close()
    return name


def unasked() -> bool:
    raise AssertionError("nothing ended, so nothing is to be planned again")


def test_a_session_begins_with_a_token_of_this_process_and_the_stores_time(
    remote: MemoryRemote, opened: Opened
) -> None:
    one = opened(remote)
    assert one.name.address == ADDRESS
    assert one.name.snapshot.startswith("1700000000000-")
    assert read_bounded(remote, one.name.session_path, MARK_LIMIT) == own_mark()


def test_two_sessions_of_one_moment_are_different(remote: MemoryRemote, opened: Opened) -> None:
    assert opened(remote).name != opened(remote).name


def test_a_token_whose_answer_was_lost_is_deleted_and_another_is_made(
    remote: MemoryRemote, opened: Opened
) -> None:
    losing = failing(remote, FileExistsError("it is there"), "open_token", times=1, afterwards=True)
    name = opened(losing).name
    assert remote.list("sessions") == [f"{name}.session"]


def test_a_store_that_never_takes_a_token_is_an_error(remote: MemoryRemote) -> None:
    refusing = failing(remote, FileExistsError("it is there"), "open_token")
    with pytest.raises(FileExistsError):
        open_session(refusing, ADDRESS)
    assert remote.list("sessions") == []


def test_a_store_that_cannot_be_written_is_an_error(remote: MemoryRemote) -> None:
    for effect in ("now", "open_token"):
        with pytest.raises(PermissionError):
            open_session(failing(remote, PermissionError("read-only"), effect, times=1), ADDRESS)
    assert remote.list("sessions") == []


def test_alone_there_is_nobody_to_wait_for(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    assert opened(remote).wait_for_turn(1, unasked, MINUTE)
    assert clock.passed == 0


def test_a_later_session_is_not_waited_for(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    one = opened(remote)
    rival(remote, +1)
    rival(remote, +1, OTHER)
    assert one.wait_for_turn(1, unasked, MINUTE)
    assert clock.passed == 0


def test_files_that_are_no_sessions_are_not_waited_for(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    one = opened(remote)
    name = SnapshotName(ADDRESS, snapshot(1))
    for foreign in (f"{name}.session.tmp-00", f"{name}.manifest", "probe.tmp-00", "x.session"):
        remote.create("sessions", foreign, [])
    assert one.wait_for_turn(1, unasked, MINUTE)
    assert clock.passed == 0


@pytest.mark.parametrize("work_left", [True, False])
def test_an_earlier_session_of_the_same_address_goes_first(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened, work_left: bool
) -> None:
    ahead = rival(remote, -1)
    one = opened(remote)
    asked: list[float] = []

    def has_work() -> bool:
        asked.append(clock.passed)
        return work_left

    clock.after(7, partial(remote.delete, ahead.session_path))
    assert one.wait_for_turn(SLOTS, has_work, MINUTE) is work_left
    assert len(asked) == 1
    assert 7 <= asked[0] <= 10


def test_each_session_that_ends_is_a_reason_to_plan_again(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    for number, milliseconds in enumerate((-3, -2, -1)):
        ahead = rival(remote, milliseconds)
        clock.after(10 * number + 5, partial(remote.delete, ahead.session_path))
    one = opened(remote)
    asked: list[float] = []

    def has_work() -> bool:
        asked.append(clock.passed)
        return True

    assert one.wait_for_turn(SLOTS, has_work, MINUTE)
    assert len(asked) == 3
    assert 25 <= clock.passed <= 28


def test_an_earlier_session_of_another_address_needs_only_a_slot(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    rival(remote, -1, OTHER)
    assert opened(remote).wait_for_turn(2, unasked, MINUTE)
    assert clock.passed == 0


def test_a_slot_is_waited_for(remote: MemoryRemote, clock: SleepingClock, opened: Opened) -> None:
    others = [rival(remote, -number, OTHER) for number in (1, 2, 3)]
    one = opened(remote)
    for seconds, other in zip((5, 10), others, strict=False):
        clock.after(seconds, partial(remote.delete, other.session_path))
    assert one.wait_for_turn(2, unasked, MINUTE)
    assert 10 <= clock.passed <= 13


def alive(remote: Remote, clock: SleepingClock, *names: SnapshotName) -> None:
    """Let sessions show a sign of life every 15 seconds."""
    for seconds in range(15, 300, 15):
        for name in names:
            clock.after(seconds, partial(remote.touch, name.session_path))


@pytest.mark.parametrize("address", [ADDRESS, OTHER])
def test_sessions_that_are_kept_alive_are_waited_for_until_a_minute_after_they_began(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened, address: Address
) -> None:
    """Anybody can make tokens, and touch them: no save must end for that, nor wait for ever."""
    alive(remote, clock, *(rival(remote, -number, address) for number in range(1, 51)))
    clock.seconds += 40
    one = opened(remote)
    assert one.wait_for_turn(50, lambda: True, MINUTE)
    assert 60 <= clock.passed <= 63
    one.abandon()
    assert opened(remote).wait_for_turn(50, unasked, MINUTE)
    assert clock.passed <= 63


def test_when_the_time_is_up_a_save_goes_on(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    rival(remote, -1)
    rival(remote, -2, OTHER)
    assert opened(remote).wait_for_turn(2, unasked, 10.0)
    assert 10 <= clock.passed <= 13


def test_of_thousands_of_sessions_few_are_looked_at(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    for number in range(1, 1001):
        rival(remote, -number, OTHER)
    rival(remote, -1_000)
    counting = CountingRemote(remote)
    one = opened(counting)
    told: list[Wait] = []
    assert one.wait_for_turn(2, lambda: True, 2.0, told.append)
    assert len(counting.names("stat")) < 1000
    assert (told[0].rivals, told[0].running) == (1, 64)
    assert clock.passed < 5


def test_a_session_without_a_sign_of_life_for_a_minute_is_not_waited_for(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    rival(remote, -1)
    rival(remote, -2, OTHER)
    clock.seconds += 61
    assert opened(remote).wait_for_turn(1, unasked, MINUTE)
    assert clock.passed == 61


def test_sessions_from_the_future_or_from_long_ago_are_not_waited_for(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    """Planted ones: a save would wait for each of them for ever."""
    nodes = vars(remote)["_nodes"]
    for number in range(50):
        name = rival(remote, -number - 1, OTHER if number % 2 else ADDRESS)
        nodes[name.session_path].mtime += 4e9
    ancient = SnapshotName(ADDRESS, snapshot(1))
    remote.open_token(ancient.session_path).close()
    assert opened(remote).wait_for_turn(1, unasked, MINUTE)
    assert clock.passed == 0


def test_a_session_that_dies_meanwhile_has_ended(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    rival(remote, -1)
    clock.seconds += 50
    one = opened(remote)
    assert one.wait_for_turn(1, lambda: True, MINUTE)
    assert 60 < clock.passed < 65


def test_a_session_whose_process_ended_on_this_machine_is_not_waited_for(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = b"mine, and gone"
    monkeypatch.setattr(session_module, "is_gone", mark.__eq__)
    rival(remote, -1, mark=mark)
    assert opened(remote).wait_for_turn(1, unasked, MINUTE)
    assert clock.passed == 0


def test_a_token_that_was_never_marked_is_waited_for_a_few_seconds(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    rival(remote, -1, mark=b"")
    assert opened(remote).wait_for_turn(1, lambda: True, MINUTE)
    assert 5 < clock.passed < 8


def test_who_waits_for_longer_than_a_moment_is_told_once_what_for_and_how_long(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    told: list[Wait] = []
    alive(remote, clock, rival(remote, -1), rival(remote, -2, OTHER))
    opened(remote).wait_for_turn(SLOTS, lambda: True, MINUTE, told.append)
    (wait,) = told
    assert (wait.rivals, wait.running) == (1, 2)
    assert 57 < wait.seconds < 60


def test_nothing_is_told_of_a_wait_that_is_over_in_a_moment(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    clock.after(0.5, partial(remote.delete, rival(remote, -1).session_path))
    told: list[Wait] = []
    assert opened(remote).wait_for_turn(SLOTS, lambda: True, MINUTE, told.append)
    assert told == []


class Vanishing(WrappedRemote):
    """Sessions are gone between their listing and the look at them."""

    def before(self, call: Call) -> None:
        if call.effect == "stat":
            self.inner.delete(call.name)


def test_a_session_that_vanishes_after_the_listing_is_not_waited_for(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:
    rival(remote, -1)
    assert opened(Vanishing(remote)).wait_for_turn(1, unasked, MINUTE)
    assert clock.passed == 0


def test_an_id_drawn_before_a_later_session_began_is_drawn_again(
    remote: MemoryRemote, clock: SleepingClock, opened: Opened
) -> None:

    def overtake() -> None:
        rival(remote, +1)
        clock.seconds += 1

    name = opened(Meanwhile(remote, overtake, "open_token")).name
    assert name.snapshot.startswith("1700000001000-")
    assert max(remote.list("sessions")) == f"{name}.session"
    assert len(remote.list("sessions")) == 2


def test_a_dead_session_of_a_later_id_does_not_keep_others_from_beginning(
    remote: MemoryRemote, opened: Opened
) -> None:
    rival(remote, +3_600_000)
    name = opened(remote).name
    assert len(remote.list("sessions")) == 2
    assert f"{name}.session" in remote.list("sessions")
