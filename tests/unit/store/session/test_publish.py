from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from b10_store.errors import FencedError
from b10_store.save import session as session_module
from tests.support.meanwhile import failing
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from b10_store.remote.memory import MemoryRemote
    from b10_store.remote.protocol import Remote, Token
    from tests.support.clocks import SleepingClock
    from tests.support.sessions import Opened
    from tests.support.wrapped_remote import Call


class RecordingToken:
    """Hands on to a token, and notes what is done."""

    def __init__(self, inner: Token, steps: list[str], touched: threading.Event) -> None:
        self._inner, self._steps, self._touched = inner, steps, touched

    def write(self, chunks: Iterable[bytes]) -> None:
        self._steps.append("write")
        self._touched.clear()
        self._touched.wait(0.05)  # long enough for a heartbeat that was not stopped
        self._inner.write(chunks)

    def touch(self) -> None:
        self._steps.append("touch")
        self._touched.set()
        self._inner.touch()
        raise OSError(5, "a missed beat")

    def close(self) -> None:
        self._steps.append("close")
        self._inner.close()


class RecordingRemote(WrappedRemote):
    """Notes what is done to tokens and with renames."""

    def __init__(self, inner: Remote) -> None:
        super().__init__(inner)
        self.steps: list[str] = []
        self.touched = threading.Event()

    def open_token(self, name: str) -> Token:
        return RecordingToken(super().open_token(name), self.steps, self.touched)

    def before(self, call: Call) -> None:
        if call.effect == "rename":
            self.steps.append(call.effect)


def test_a_running_session_shows_signs_of_life_until_it_publishes(
    remote: MemoryRemote, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "HEARTBEAT_SECONDS", 0.001)
    recording = RecordingRemote(remote)
    one = opened(recording)
    for _ in range(3):
        recording.touched.clear()
        assert recording.touched.wait(300), "no heartbeat, or none after one that failed"
    one.publish([b"manifest"])
    beats, end = recording.steps[1:-3], recording.steps[-3:]
    assert recording.steps[0] == "write"
    assert set(beats) == {"touch"}
    assert end == ["write", "close", "rename"]


def test_what_is_published_is_the_token_under_its_manifests_name(
    remote: MemoryRemote, opened: Opened
) -> None:
    one = opened(remote)
    one.publish([b"mani", b"fest"])
    assert remote.list("sessions") == []
    assert remote.list("manifests") == [f"{one.name}.manifest"]
    assert remote.stat(one.name.manifest_path).size == 8


def test_a_rename_that_was_done_although_it_failed_is_a_success(
    remote: MemoryRemote, opened: Opened, clock: SleepingClock
) -> None:
    losing = failing(remote, TimeoutError("no answer"), "rename", times=1, afterwards=True)
    one = opened(losing)
    one.publish([b"manifest"])
    assert losing.happened == 1
    assert remote.list("manifests") == [f"{one.name}.manifest"]
    assert clock.passed == 0


def test_a_rename_that_failed_is_tried_again(
    remote: MemoryRemote, opened: Opened, clock: SleepingClock
) -> None:
    one = opened(failing(remote, OSError(5, "try again"), "rename", times=3))
    one.publish([b"manifest"])
    assert remote.list("manifests") == [f"{one.name}.manifest"]
    assert 0 < clock.passed < 5


def test_a_rename_that_keeps_failing_is_an_error_and_publishes_nothing(
    remote: MemoryRemote, opened: Opened
) -> None:
    one = opened(failing(remote, OSError(5, "never again"), "rename"))
    with pytest.raises(OSError, match="never again"):
        one.publish([b"manifest"])
    assert remote.list("manifests") == []
    one.abandon()
    assert remote.list("sessions") == []


def test_a_token_that_was_moved_away_publishes_nothing(
    remote: MemoryRemote, opened: Opened
) -> None:
    one = opened(remote)
    remote.rename(one.name.session_path, f"fenced/{one.name}.session")
    with pytest.raises(FencedError):
        one.publish([b"manifest"])
    assert remote.list("manifests") == []
    assert remote.list("sessions") == []
    assert remote.list("fenced") == [f"{one.name}.session"]


def test_a_token_is_never_written_by_its_name(remote: MemoryRemote, opened: Opened) -> None:
    one = opened(remote)
    remote.rename(one.name.session_path, "fenced/one")
    remote.create("sessions", f"{one.name}.session", [b"somebody else's"])
    one.publish([b"manifest"])
    assert remote.stat("fenced/one").size == len(b"manifest")
    assert remote.stat(one.name.manifest_path).size == len(b"somebody else's")


def test_while_the_names_cannot_be_looked_at_nothing_counts_as_fenced(
    remote: MemoryRemote, opened: Opened
) -> None:
    class Blind(WrappedRemote):
        renames = 0

        def before(self, call: Call) -> None:
            self.renames += call.effect == "rename"
            if call.effect in ("rename", "stat") and self.renames < 3:
                raise TimeoutError("no answer")

    one = opened(Blind(remote))
    one.publish([b"manifest"])
    assert remote.list("manifests") == [f"{one.name}.manifest"]


def test_a_manifest_that_cannot_be_written_is_not_published(
    remote: MemoryRemote, opened: Opened
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"mani"
        raise OSError(28, "the store is full")

    one = opened(remote)
    with pytest.raises(OSError, match="full"):
        one.publish(chunks())
    assert remote.list("manifests") == []
    one.abandon()
    assert remote.list("sessions") == []


def test_an_abandoned_session_leaves_no_token_where_that_is_possible(
    remote: MemoryRemote, opened: Opened
) -> None:
    one = opened(remote)
    one.abandon()
    one.abandon()
    assert remote.list("sessions") == []
    two = opened(failing(remote, PermissionError("read-only now"), "delete", times=1))
    two.abandon()
    assert remote.list("sessions") == [f"{two.name}.session"]
