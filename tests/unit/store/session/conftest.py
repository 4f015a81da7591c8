"""What the tests of sessions share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.save import session as session_module
from b10_store.save.session import Session, open_session
from tests.support.clocks import SleepingClock
from tests.support.values import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from b10_store.remote.protocol import Remote
    from tests.support.sessions import Opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SleepingClock:
    """The time of this host and of the store, in the place of the one that saves see."""
    clock = SleepingClock()
    monkeypatch.setattr(session_module, "time", clock)
    return clock


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens sessions, which are abandoned at the end."""
    sessions: list[Session] = []

    def open_one(remote: Remote) -> Session:
        sessions.append(open_session(remote, ADDRESS))
        return sessions[-1]

    yield open_one
    for item in sessions:
        item.abandon()  # which ends its heartbeat too
