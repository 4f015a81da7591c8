"""`b10-compile-cache & vllm serve ...`: real processes, started by a shell as users do."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.cache_trees import compiled_graph
from tests.support.companions import (
    assert_ended,
    assert_nothing_stored,
    companion_beside,
    stored_tree,
)
from tests.support.fake_servers import FakeServer, stranger
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Host, Site

FIRST = compiled_graph("at startup")
LATER = compiled_graph("at a request")


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    return FakeServer(tmp_path / "fake").prepare(FIRST, LATER)


def test_a_server_beside_it_is_saved_when_it_is_ready(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    script = f"COMPANION & SERVER --port {port}"
    with companion_beside(server, script, host.variables()) as beside:
        beside.wait_for_log("found the vLLM server")
        time.sleep(0.5)
        assert_nothing_stored(site)
        server.allow("ready")
        result = assert_ended(beside, "DONE", 0)
        assert result["added"] == [len(FIRST)]
    assert stored_tree(site) == FIRST


@pytest.mark.parametrize("companion", ["COMPANION", "DETACHED"])
def test_the_server_may_be_what_the_shell_became(
    site: Site, host: Host, server: FakeServer, port: int, companion: str
) -> None:
    server.allow("ready")
    script = f"{companion} & exec SERVER --port={port}"
    with companion_beside(server, script, host.variables()) as beside:
        assert_ended(beside, "DONE", 0)
    assert stored_tree(site) == FIRST


def test_the_next_replica_has_the_artifacts_before_its_server_looks_for_them(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    site.host("earlier", FIRST).save()
    # This one compiles nothing by itself.
    server.prepare().allow("ready")
    script = f"COMPANION & SERVER --port {port}"
    with companion_beside(server, script, host.variables()) as beside:
        result = assert_ended(beside, "DONE", 0)
    assert result["loaded"] == [len(FIRST)]
    assert host.tree() == FIRST


def test_a_server_that_comes_later_and_from_elsewhere_in_the_session(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    server.allow("ready")
    script = f"COMPANION & sleep 1; (sleep 0.2; SERVER --port {port} & wait) & wait"
    with companion_beside(server, script, host.variables()) as beside:
        assert_ended(beside, "DONE", 0)
    assert stored_tree(site) == FIRST


def test_a_server_that_came_earlier(site: Site, host: Host, server: FakeServer, port: int) -> None:
    server.allow("ready")
    script = f"SERVER --port {port} & sleep 0.5; COMPANION"
    with companion_beside(server, script, host.variables()) as beside:
        assert_ended(beside, "DONE", 0)
    assert stored_tree(site) == FIRST


def test_nothing_is_saved_of_a_server_that_ends_while_it_loads(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    host.write(FIRST)
    script = f"COMPANION & SERVER --port {port}; wait"
    with companion_beside(server, script, host.variables()) as beside:
        beside.wait_for_log("found the vLLM server")
        server.allow("crash")
        result = assert_ended(beside, "SERVER_ENDED", 6)
    assert "ended before it was ready" in str(result["errors"])
    assert_nothing_stored(site)


def test_a_server_that_is_not_ready_in_time(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    host.write(FIRST)
    # On a busy machine the server would start later than that.
    script = (
        f"SERVER --port {port} & until [ -e {server.gates}/started ]; do sleep 0.1; done; COMPANION"
    )
    variables = host.variables(B10_TRANSFER_TIMEOUT_S="2.5")
    with companion_beside(server, script, variables) as beside:
        result = assert_ended(beside, "NOT_READY", 5)
    assert "was not ready within 2.5 s (it does not listen yet)" in str(result["errors"])
    assert_nothing_stored(site)


def test_no_server_at_all(site: Site, host: Host, server: FakeServer) -> None:
    host.write(FIRST)
    with companion_beside(server, "COMPANION", host.variables(), "--timeout", "1.5") as beside:
        result = assert_ended(beside, "NOT_READY", 5)
    assert "no vLLM or SGLang server was found within 1.5 s" in str(result["errors"])
    assert_nothing_stored(site)


def test_another_server_on_the_same_port_is_not_taken_for_it(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    script = f"COMPANION & SERVER --host 127.0.0.2 --port {port}"
    with (
        stranger(port) as asked,
        companion_beside(server, script, host.variables()) as beside,
    ):
        beside.wait_for_log("found the vLLM server")
        time.sleep(0.5)
        assert_nothing_stored(site)
        server.allow("ready")
        assert_ended(beside, "DONE", 0)
    assert asked == []
    assert stored_tree(site) == FIRST


def test_what_later_requests_compile_is_saved_until_the_server_ends(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    server.allow("ready")
    script = f"COMPANION & SERVER --port {port}; wait"
    with companion_beside(server, script, host.variables(), watch="always") as beside:
        eventually(lambda: bool(site.files("manifests")))
        time.sleep(0.7)
        assert not beside.is_over
        server.allow("later")
        eventually(lambda: stored_tree(site) == FIRST | LATER)
        assert not beside.is_over
        server.allow("end")
        result = assert_ended(beside, "DONE", 0)
    # A compiler that pauses is saved in parts.
    assert (result["added"][0], sum(result["added"])) == (len(FIRST), len(FIRST | LATER))


def test_what_was_compiled_just_before_the_server_ended_is_saved(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    server.allow("ready")
    script = f"COMPANION & SERVER --port {port}; wait"
    with companion_beside(server, script, host.variables(), watch="default") as beside:
        eventually(lambda: bool(site.files("manifests")))
        server.allow("later")
        server.allow("end")
        assert_ended(beside, "DONE", 0)
    assert stored_tree(site) == FIRST | LATER


def test_where_the_caches_lie_is_what_the_server_says(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    site.host("earlier", compiled_graph("stored")).save()
    theirs = site.host("theirs")
    script = f"COMPANION & TORCHINDUCTOR_CACHE_DIR={theirs.root} SERVER --port {port}"
    with companion_beside(server, script, host.variables()) as beside:
        eventually(lambda: theirs.tree() == compiled_graph("stored"))
        server.allow("ready")
        result = assert_ended(beside, "DONE", 0)
    # It did not wait for the server before it loaded where its own variables say.
    assert result["loaded"] == [4, 4]
    assert stored_tree(site) == FIRST | compiled_graph("stored")


def test_a_url_is_enough_where_the_server_cannot_be_seen(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    host.write(FIRST)
    url = f"http://127.0.0.1:{port}/v1/models"
    variables = host.variables(B10_TRANSFER_VLLM_URL=url)
    with companion_beside(server, "COMPANION", variables) as beside:
        time.sleep(0.8)
        assert not beside.is_over
        with stranger(port) as asked:
            assert_ended(beside, "DONE", 0)
    assert asked[0] == "/v1/models"
    assert stored_tree(site) == FIRST


def test_told_to_end_before_the_server_is_ready_it_saves_nothing(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    host.write(FIRST)
    script = f"COMPANION & SERVER --port {port}"
    with companion_beside(server, script, host.variables()) as beside:
        beside.wait_for_log("found the vLLM server")
        os.kill(beside.pid, signal.SIGTERM)
        assert_ended(beside, "INTERRUPTED", 130)
    assert_nothing_stored(site)


def test_told_to_end_later_it_saves_what_is_there_at_once(
    site: Site, host: Host, server: FakeServer, port: int
) -> None:
    server.allow("ready")
    script = f"COMPANION & SERVER --port {port}"
    with companion_beside(server, script, host.variables(), watch="always") as beside:
        eventually(lambda: bool(site.files("manifests")))
        server.allow("later")
        server.wait_for("later.done")
        os.kill(beside.pid, signal.SIGTERM)
        assert_ended(beside, "DONE", 0)
    assert stored_tree(site) == FIRST | LATER
