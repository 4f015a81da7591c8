"""Unit tests for b10_store.remote.patient."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from b10_store.remote import patient as patient_remote
from b10_store.remote.memory import MemoryRemote
from b10_store.remote.patient import PatientRemote
from b10_store.remote.protocol import Range
from tests.support.meanwhile import failing
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from b10_store.remote.protocol import Remote

LOOKS: dict[str, Callable[[Remote], Any]] = {
    "list": lambda remote: remote.list("packs"),
    "stat": lambda remote: remote.stat("packs/a").size,
    "read": lambda remote: list(remote.read("packs/a", [Range(0, 2), Range(4, 2)])),
    "now": lambda remote: remote.now() > 0,
}


class CutShort(WrappedRemote):
    """Fails, once, after a range was read."""

    opened = 0

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """See `Remote.read`."""
        self.opened += 1
        for data in self.inner.read(name, ranges):
            yield data
            if self.opened == 1:
                raise failure(errno.EIO)


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def filled() -> MemoryRemote:
    remote = MemoryRemote(time.time)
    remote.create("packs", "a", [b"012345"])
    return remote


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_remote, "_PAUSE_SECONDS", 0)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
@pytest.mark.parametrize("effect", LOOKS)
def test_a_look_that_fails_once_in_passing_has_its_answer(effect: str, number: int) -> None:
    inner = failing(filled(), failure(number), effect, times=1)
    assert LOOKS[effect](PatientRemote(inner)) == LOOKS[effect](filled())
    assert inner.happened == 1


@pytest.mark.parametrize("effect", LOOKS)
def test_a_look_that_fails_twice_fails(effect: str) -> None:
    inner = failing(filled(), failure(errno.EIO), effect)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        LOOKS[effect](PatientRemote(inner))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.EROFS])
@pytest.mark.parametrize("effect", LOOKS)
def test_an_error_that_is_an_answer_is_believed_at_once(effect: str, number: int) -> None:
    inner = failing(filled(), failure(number), effect)
    with pytest.raises(OSError, match=os.strerror(number)):
        LOOKS[effect](PatientRemote(inner))
    assert inner.happened == 1


def test_a_read_that_fails_half_way_gives_each_range_once() -> None:
    inner = CutShort(filled())
    parts = list(PatientRemote(inner).read("packs/a", [Range(0, 2), Range(2, 2), Range(-2, 2)]))
    assert (parts, inner.opened) == ([b"01", b"23", b"45"], 2)


def test_a_file_that_could_not_be_opened_for_writing_is_made_all_the_same() -> None:
    remote = filled()
    inner = failing(remote, failure(errno.ESTALE), "create", times=1)
    PatientRemote(inner).create("packs", "b", iter([b"whole"]))
    assert list(remote.read("packs/b", [Range(0, 9)])) == [b"whole"]


def test_a_file_that_was_begun_is_not_written_a_second_time() -> None:
    def failing() -> Iterator[bytes]:
        yield b"half"
        raise failure(errno.EIO)

    remote = filled()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        PatientRemote(remote).create("packs", "b", failing())
    assert remote.list("packs") == ["a"]


@pytest.mark.parametrize("effect", ["rename", "touch", "delete"])
def test_what_changes_something_is_done_once(effect: str) -> None:
    inner = failing(filled(), failure(errno.EIO), effect)
    changes: dict[str, Callable[[Remote], None]] = {
        "rename": lambda remote: remote.rename("packs/a", "packs/b"),
        "touch": lambda remote: remote.touch("packs/a"),
        "delete": lambda remote: remote.delete("packs/a"),
    }
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        changes[effect](PatientRemote(inner))
    assert inner.happened == 1
