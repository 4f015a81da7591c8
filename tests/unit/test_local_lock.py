from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from b10_transfer.local.lock import lock_root
from tests.support.cache_trees import LOCAL_RECORD
from tests.support.mounts import read_only
from tests.support.programs import run_python, started_python, wait_until
from tests.support.sites import Host

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys, time
from b10_transfer.local.lock import lock_root
with lock_root({folder!r}, 0) as held:
    print(held, flush=True)
    time.sleep(600)
"""

FORK = """
import os, sys, time
from b10_transfer.local.lock import lock_root
with lock_root({folder!r}, 0):
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
with lock_root({folder!r}, 0) as held:
    print(held)
os.kill(child, 9)
os.waitpid(child, 0)
"""


def test_the_lock_makes_the_root_and_is_held(tmp_path: Path) -> None:
    root = tmp_path / "not/there/yet"
    with lock_root(str(root), 0) as held:
        assert held
        assert [path.name for path in root.iterdir()] == [LOCAL_RECORD]


def test_a_second_holder_waits_for_its_time_and_then_goes_on_without(tmp_path: Path) -> None:
    with lock_root(str(tmp_path), 0):
        started = time.monotonic()
        with lock_root(str(tmp_path), 0.2) as held:
            assert not held
        assert time.monotonic() - started >= 0.2
    with lock_root(str(tmp_path), 0) as held:
        assert held


def test_a_second_holder_gets_the_lock_when_the_first_lets_go(tmp_path: Path) -> None:
    held_by_second: list[bool | None] = []

    def hold() -> None:
        with lock_root(str(tmp_path), 300) as held:
            held_by_second.append(held)

    second = threading.Thread(target=hold)
    with lock_root(str(tmp_path), 0):
        second.start()
        time.sleep(0.2)
        assert held_by_second == []
    second.join()
    assert held_by_second == [True]


def test_locks_of_different_roots_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    with lock_root(str(tmp_path / "a"), 0) as first, lock_root(str(tmp_path / "b"), 0) as second:
        assert (first, second) == (True, True)


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    host = Host(tmp_path / "store", tmp_path / "host")
    with started_python(HOLD.format(folder=root), host.variables()) as holder:
        lock = tmp_path / "root" / LOCAL_RECORD / "lock"
        wait_until(lock.exists, holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with lock_root(root, 0) as held:
            assert not held
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with lock_root(root, 0) as held:
            assert held


def test_a_lock_that_was_removed_while_it_was_waited_for_is_taken_in_its_new_place(
    tmp_path: Path,
) -> None:
    both: list[bool | None] = []

    def wait_and_look() -> None:
        with lock_root(str(tmp_path), 300) as held:
            both.append(held)
            with lock_root(str(tmp_path), 0) as again:
                both.append(again)

    waiting = threading.Thread(target=wait_and_look)
    with lock_root(str(tmp_path), 0):
        waiting.start()
        time.sleep(0.2)
        shutil.rmtree(tmp_path / LOCAL_RECORD)
    waiting.join()
    assert both == [True, False], "the lock in place is the one that was taken"


def test_where_there_are_no_locks_it_is_neither_held_nor_anybody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, f"descriptor {handle}, operation {operation}")

    monkeypatch.setattr("fcntl.flock", refuse)
    with lock_root(str(tmp_path), 300) as held:
        assert held is None


def test_a_process_forked_while_the_lock_is_held_does_not_keep_it(tmp_path: Path) -> None:
    host = Host(tmp_path / "store", tmp_path / "host")
    code = FORK.format(folder=str(tmp_path / "root"))
    done = run_python(code, host.variables(), seconds=300)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_root_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with (
        read_only(tmp_path),
        pytest.raises(OSError, match="Read-only"),
        lock_root(str(tmp_path), 0),
    ):
        pass


def test_the_descriptor_is_closed_when_the_holder_fails(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("descriptors are counted in /proc")
    before = descriptors()
    for _ in range(3):
        with pytest.raises(KeyError), lock_root(str(tmp_path), 0):
            raise KeyError
    assert descriptors() == before


def test_who_waits_says_for_what_and_until_when(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with lock_root(str(tmp_path), 1):
        with lock_root(str(tmp_path), 1.5) as held:
            assert held is False
        told = f"another process of this host works in {tmp_path}: waiting for it, until "
        assert caplog.text.count(told) == 1
