from __future__ import annotations

import threading

import pytest

from b10_transfer.cli.leaving import is_anything_unfinished
from b10_transfer.errors import CacheError
from b10_transfer.servers.operations import call_within
from tests.support.waiting import eventually


def test_what_an_operation_returns_and_raises_is_the_callers() -> None:
    assert call_within(300, lambda: "result", "it") == "result"
    with pytest.raises(ZeroDivisionError):
        call_within(300, lambda: 1 / 0, "it")
    assert not is_anything_unfinished()


def test_an_operation_is_not_waited_for_for_ever() -> None:
    gate = threading.Event()
    with pytest.raises(CacheError, match=r"load: not done within 0\.3 s"):
        call_within(0.3, gate.wait, "load")
    assert is_anything_unfinished()
    gate.set()
    eventually(lambda: not is_anything_unfinished())


def test_waiting_for_an_operation_can_be_stopped() -> None:
    gate, stop = threading.Event(), threading.Event()
    stop.set()
    with pytest.raises(CacheError, match="this process is to end"):
        call_within(300, gate.wait, "load", stop)
    gate.set()


def test_there_is_something_to_do_meanwhile() -> None:
    gate = threading.Event()
    assert call_within(300, gate.wait, "load", meanwhile=gate.set)
