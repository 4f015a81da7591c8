"""The token that a killed saver leaves behind, and the saver that comes next."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from b10_store.format.names import WAITING_DEAD_SECONDS
from b10_transfer.operations import transfer
from tests.support.effects import STOPPED
from tests.support.forks import fork_server
from tests.support.sites import Host
from tests.support.store_views import load_elsewhere
from tests.support.trees import compiled, differences, put_artifacts

if TYPE_CHECKING:
    from pathlib import Path

    from b10_transfer.settings import Settings

pytestmark = pytest.mark.crash


def save_and_die(settings: Settings) -> None:
    """Save up to the moment in which the manifest would be published."""

    def die(_: object) -> None:
        os._exit(STOPPED)

    with mock.patch("b10_store.save.session.Session.publish", side_effect=die):
        transfer.save(settings, wait=False)


@pytest.fixture
def token(folder: Path) -> Path:
    """The token of a saver that is dead."""
    host = Host(folder / "store", folder / "dead")
    put_artifacts(host, compiled("of the dead"))
    process = fork_server().Process(target=save_and_die, args=(host.settings(),))
    process.start()
    process.join()
    assert process.exitcode == STOPPED
    process.close()
    (left,) = host.store.glob("sessions/*.session")
    return left


def age(token: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(token, (then, then))


def test_a_token_that_was_silent_for_over_a_minute_is_not_waited_for(
    folder: Path, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(token, WAITING_DEAD_SECONDS + 1)
    monkeypatch.setattr("b10_store.save.session.time.sleep", mock.Mock(side_effect=AssertionError))
    host = Host(folder / "store", folder / "next")
    tree = compiled("next")
    put_artifacts(host, tree)
    assert host.save(wait=True).status.name == "SUCCESS"
    assert differences(load_elsewhere(host.store), tree) == []
    assert token.exists()


def test_a_token_that_still_looks_alive_is_waited_for_until_it_has_been_silent_for_a_minute(
    folder: Path, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token.write_bytes(b"of another machine")
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            age(token, WAITING_DEAD_SECONDS + 1)

    monkeypatch.setattr("b10_store.save.session.time.sleep", nap)
    host = Host(folder / "store", folder / "next")
    put_artifacts(host, compiled("next"))
    assert host.save(wait=True).status.name == "SUCCESS"
    assert len(naps) == 3


def test_a_token_of_a_process_that_was_killed_on_this_machine_is_not_waited_for(
    folder: Path, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("b10_store.save.session.time.sleep", mock.Mock(side_effect=AssertionError))
    host = Host(folder / "store", folder / "next")
    put_artifacts(host, compiled("next"))
    assert host.save(wait=True).status.name == "SUCCESS"
    assert token.exists()


def test_a_saver_that_is_not_to_wait_does_not_look_at_tokens(
    folder: Path, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert token.exists()
    monkeypatch.setattr("b10_store.save.session.time.sleep", mock.Mock(side_effect=AssertionError))
    host = Host(folder / "store", folder / "next")
    put_artifacts(host, compiled("next"))
    assert host.save(wait=False).status.name == "SUCCESS"
