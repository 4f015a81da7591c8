"""Unit tests for b10_store.save.session_owner: real processes, alive and gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from b10_store.save import session_owner
from b10_store.save.session_owner import MARK_LIMIT, is_gone, own_mark

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere nothing is known of processes"
)

PROGRAM = """
import sys
from b10_store.save.session_owner import own_mark
sys.stdout.buffer.write(own_mark())
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that prints its mark, and lives until its standard input is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as started:
        yield started
        started.kill()


def mark_of(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_process_that_lives_is_not_gone(process: subprocess.Popen[bytes]) -> None:
    assert not is_gone(own_mark())
    assert not is_gone(mark_of(process))


def test_a_process_that_was_killed_is_gone(process: subprocess.Popen[bytes]) -> None:
    mark = mark_of(process)
    process.kill()
    process.wait()
    assert is_gone(mark)


def test_a_process_that_nobody_has_waited_for_is_gone(process: subprocess.Popen[bytes]) -> None:
    mark = mark_of(process)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(mark)


def test_a_number_that_another_process_has_now_is_of_a_process_that_is_gone() -> None:
    assert is_gone(re.sub(rb"started \d+", b"started 1", own_mark()))


def test_of_another_machine_or_container_nothing_is_known(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = mark_of(process)
    process.kill()
    process.wait()
    assert not is_gone(re.sub(rb"machine \w+", b"machine " + b"0" * 32, mark))
    monkeypatch.setattr(session_owner, "_machine", lambda: "")
    assert not is_gone(mark)


@pytest.mark.parametrize(
    "number", [b"0", b"00", b"-1", b"4294967296999", b"1; started 1", b"\xff"], ids=repr
)
def test_a_mark_of_another_form_says_nothing(number: bytes) -> None:
    assert not is_gone(re.sub(rb"process \d+", b"process " + number, own_mark()))
    assert not is_gone(b"")
    assert not is_gone(number * 99)


def test_a_number_that_no_process_can_have_says_nothing() -> None:
    assert not is_gone(re.sub(rb"process \d+", b"process 9999999999", own_mark()))


def test_a_mark_is_short_and_says_something_where_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert 0 < len(own_mark()) <= MARK_LIMIT
    monkeypatch.setattr(session_owner, "_machine", lambda: "")
    assert 0 < len(own_mark()) <= MARK_LIMIT
    assert not is_gone(own_mark())
