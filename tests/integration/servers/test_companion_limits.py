"""What a companion cannot do, and says."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

import pytest

from b10_transfer.operations import transfer
from b10_transfer.servers.find.processes import ServerProcess, ServerSearch, find_server_below
from b10_transfer.servers.follow.companion import Outcome, accompany
from b10_transfer.servers.options import ServerOptions
from tests.support.cache_trees import compiled_graph
from tests.support.companion_program import PACE
from tests.support.companions import (
    assert_ended,
    companion_beside,
    stored_tree,
)
from tests.support.fake_servers import (
    FakeServer,
    started_server,
)

if TYPE_CHECKING:
    from pathlib import Path

    from b10_transfer import SaveReport
    from tests.support.sites import Host, Site

FIRST = compiled_graph("at startup")


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    return FakeServer(tmp_path / "fake").prepare(FIRST)


def test_a_cache_that_is_off_is_said_at_once(host: Host, server: FakeServer) -> None:
    variables = host.variables(BASETEN_FS_ENABLED="0")
    with companion_beside(server, "COMPANION", variables) as beside:
        result = assert_ended(beside, "FAILED", 4)
    assert "BASETEN_FS_ENABLED=1" in str(result["errors"])


def test_a_store_that_cannot_be_used_is_told_by_the_exit_code(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    site.store.write_text("a file")
    server.allow("ready")
    script = f"COMPANION & SERVER --port {port}"
    with companion_beside(server, script, host.variables()) as beside:
        result = assert_ended(beside, "FAILED", 4)
        assert beside.shell.poll() is None
    assert any(line.startswith("save: ") for line in result["errors"])


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"is_same_users": False}, "runs as another user: nothing is loaded into its caches"),
        ({"variables": None}, "environment variables of the vLLM server"),
        ({"sees_our_files": False}, "runs in another container"),
    ],
)
def test_what_cannot_be_done_for_a_server_is_said(
    site: Site,
    host: Host,
    server: FakeServer,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    warning: str,
) -> None:
    site.host("earlier", compiled_graph("stored")).save()
    theirs = site.host("theirs")
    server.allow("ready")
    with started_server(server, theirs.variables(), "--port", str(port)) as process:
        found = find_server_below(process.pid)
        assert found is not None
        changed = dataclasses.replace(found, **change)

        def find(_: ServerSearch) -> ServerProcess:
            return changed

        monkeypatch.setattr(ServerSearch, "find", find)
        options = ServerOptions(interval=0.1, watch_seconds=0.0)
        report = accompany(host.settings(), options, threading.Event(), pace=PACE)
    assert report.outcome is Outcome.DONE
    assert [item.getMessage() for item in caplog.records if warning in item.getMessage()]
    assert host.tree() == compiled_graph("stored")
    into_theirs = "sees_our_files" in change
    assert theirs.tree() == (FIRST | compiled_graph("stored") if into_theirs else FIRST)
    saved = compiled_graph("stored") if "variables" in change else FIRST | compiled_graph("stored")
    assert stored_tree(site) == saved


def test_what_comes_during_the_save_in_which_it_is_told_to_end_is_saved(
    site: Site, host: Host, server: FakeServer, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    later, stop = compiled_graph("at a request"), threading.Event()
    save = transfer.save

    def save_and_stop(*arguments: Any, **options: Any) -> SaveReport:
        report = save(*arguments, **options)
        if not stop.is_set():
            host.write(later)
            stop.set()
        return report

    monkeypatch.setattr(transfer, "save", save_and_stop)
    server.allow("ready")
    with started_server(server, host.variables(), "--port", str(port)) as process:

        def find(_: ServerSearch) -> ServerProcess | None:
            return find_server_below(process.pid)

        monkeypatch.setattr(ServerSearch, "find", find)
        options = ServerOptions(interval=0.1, watch_seconds=600.0)
        report = accompany(host.settings(), options, stop, pace=PACE)
    assert report.outcome is Outcome.DONE
    assert stored_tree(site) == FIRST | later
