from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from b10_transfer.servers.find import processes as server_processes
from b10_transfer.servers.find.command_lines import server_kind
from b10_transfer.servers.find.processes import (
    ServerProcess,
    ServerSearch,
    find_server_below,
    is_alive,
)
from tests.support.fake_servers import FakeServer, running, started_server
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    return FakeServer(tmp_path / "fake").prepare()


def test_what_is_known_of_a_server(server: FakeServer, tmp_path: Path) -> None:
    variables = {**os.environ, "VLLM_CACHE_ROOT": str(tmp_path)}
    with started_server(server, variables, "--port", "4711", "--api-key", "hidden") as process:
        found = find_server_below(process.pid)
        assert found is not None
        assert (found.pid, found.kind, found.folder) == (process.pid, "vllm", "/")
        assert found.argv[-4:] == ("--port", "4711", "--api-key", "hidden")
        assert found.started == pytest.approx(time.time(), abs=300)
        assert found.variables is not None
        assert found.variables["VLLM_CACHE_ROOT"] == str(tmp_path)
        assert found.sees_our_files
        assert found.is_same_users
        assert str(found) == f"the vLLM server (pid {process.pid})"
        assert "hidden" not in repr(found)


def test_a_server_that_its_own_children_look_like_is_found_once(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server forks processes that have its command line until they give themselves a title."""
    (server.folder / "vllm").write_text(
        "import os, pathlib, time\n"
        "pathlib.Path(os.environ['FAKE_GATES'], 'started').touch()\n"
        "time.sleep(0.1)\n"
        "os.fork()\n"
        "time.sleep(60)\n"
    )
    with started_server(server, os.environ) as process:
        top = psutil.Process(process.pid)
        eventually(lambda: len(top.children()) == 1)
        assert server_kind(top.children()[0].cmdline()) == "vllm"
        found = find_server_below(process.pid)
        assert found is not None
        assert found.pid == process.pid
        # The child is the later one, and so the nearer one to a search that begins after both.
        family = {process.pid, top.children()[0].pid}
        monkeypatch.setattr(server_processes, "_YOUNG_SECONDS", 0.0)
        found = ServerSearch(lambda found: found.pid in family).find()
        assert found is not None
        assert found.pid == process.pid


@contextlib.contextmanager
def of_nobody(server: FakeServer, ids: str = "65534, 65534, 65534") -> Generator[int]:
    """A process that looks like a server, and is another user's; yields its id."""
    (server.folder / "vllm").write_text(
        f"import os, time\nos.setresuid({ids})\nwhile True: time.sleep(0.01)\n"
    )
    with running(server.command(), server.variables(os.environ)) as process:
        eventually(lambda: 65534 in psutil.Process(process.pid).uids())
        yield process.pid


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
# The last is a program that is set-user-id: another user has started it.
@pytest.mark.parametrize("ids", ["65534, 65534, 65534", "65534, 0, 0"])
def test_a_server_of_another_user_counts_when_that_is_named(
    server: FakeServer, ids: str, caplog: pytest.LogCaptureFixture
) -> None:
    strange: list[int] = []
    with of_nobody(server, ids) as pid:
        assert find_server_below(pid, None, lambda process: strange.append(process.pid)) is None
        assert strange == [pid]
        with caplog.at_level(logging.WARNING, "b10_transfer"):
            search = ServerSearch(lambda found: found.pid == pid)
            assert [search.find(), search.find()] == [None, None]
        found = find_server_below(pid, 65534)
        assert found is not None
        assert not found.is_same_users
    assert caplog.text.count("--server-user") == 1


def test_a_server_below_a_launcher(server: FakeServer) -> None:
    command = ["/bin/sh", "-c", f"{shlex.join(server.command())}; true"]
    with running(command, server.variables(os.environ)) as shell:
        server.wait_for("started")
        found = find_server_below(shell.pid)
        assert found is not None
        assert found.pid == int((server.gates / "started").read_text())
        assert found.pid != shell.pid


def test_there_is_no_server_below_a_process_without_one() -> None:
    assert find_server_below(os.getpid()) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert find_server_below(process.pid) is None


def test_a_server_lives_until_it_ends_whether_or_not_its_parent_looks(server: FakeServer) -> None:
    with started_server(server, os.environ) as process:
        found = find_server_below(process.pid)
        assert found is not None
        assert is_alive(found)
        server.allow("end")
        eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        assert not is_alive(found)
        process.wait()
        assert not is_alive(found)


def test_another_process_under_the_same_number_is_not_the_server() -> None:
    own = psutil.Process()
    itself = ServerProcess(own.pid, own.create_time(), "vllm", ())
    assert is_alive(itself)
    assert not is_alive(dataclasses.replace(itself, started=itself.started - 60))


def test_a_server_that_this_process_started_is_near(server: FakeServer) -> None:
    search = ServerSearch()
    with started_server(server, os.environ) as process:
        found = search.find()
        assert found is not None
        assert found.pid == process.pid


def test_a_server_that_is_not_meant_is_not_found(server: FakeServer) -> None:
    with started_server(server, os.environ) as process:
        search = ServerSearch(lambda found: found.pid != process.pid)
        found = search.find()
        assert found is None or found.pid != process.pid


def test_of_several_servers_the_one_that_was_started_next_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_processes, "_YOUNG_SECONDS", 0.0)
    servers = [FakeServer(tmp_path / str(number)).prepare() for number in range(3)]
    own: set[int] = set()  # other tests start servers, too
    with contextlib.ExitStack() as stack:
        before = stack.enter_context(started_server(servers[0], os.environ))
        own.add(before.pid)
        time.sleep(1.5)  # when the system was booted is known to a second, and that changes
        search = ServerSearch(lambda found: found.pid in own)
        found = search.find()
        assert found is not None
        assert found.pid == before.pid
        time.sleep(1.5)
        after = stack.enter_context(started_server(servers[1], os.environ))
        much_later = stack.enter_context(started_server(servers[2], os.environ))
        own |= {after.pid, much_later.pid}
        found = search.find()
        assert found is not None
        assert found.pid == after.pid
        assert much_later.poll() is None


def test_a_server_that_was_started_with_a_young_process_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process looks for its server some time after both were started by one shell."""
    monkeypatch.setattr(server_processes, "_YOUNG_SECONDS", 1e9)
    servers = [FakeServer(tmp_path / str(number)).prepare() for number in range(2)]
    with (
        started_server(servers[0], os.environ) as first,
        started_server(servers[1], os.environ) as second,
    ):
        pids = {first.pid, second.pid}
        found = ServerSearch(lambda found: found.pid in pids).find()
        assert found is not None
        assert found.pid == first.pid


def test_a_server_that_ran_long_before_is_taken_only_when_no_newer_one_comes(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_processes, "_YOUNG_SECONDS", 0.0)
    monkeypatch.setattr(server_processes, "_LONG_BEFORE_SECONDS", 0.0)
    monkeypatch.setattr(server_processes, "_NEWER_FIRST_SECONDS", 1e9)
    with started_server(server, os.environ) as process:
        time.sleep(1.5)
        search = ServerSearch(lambda found: found.pid == process.pid)
        assert search.find() is None
        monkeypatch.setattr(server_processes, "_NEWER_FIRST_SECONDS", 0.0)
        assert search.find() is not None


def test_the_server_of_another_session_is_no_neighbour(server: FakeServer, tmp_path: Path) -> None:
    """Found by whoever is beside it; not by a process that has nothing to do with it."""
    code = (
        "from b10_transfer.servers.find.processes import ServerSearch\n"
        "found = ServerSearch().find()\n"
        "print(found.pid if found else None)\n"
    )
    look = shlex.join([sys.executable, "-c", code])
    variables = {**server.variables(os.environ), "PYTHONPATH": os.pathsep.join(sys.path)}
    with started_server(server, os.environ) as process:
        # The parent of this one is the first process of the system, and its session is new.
        out = tmp_path / "out"
        script = f"sleep 0.3; {look} >{out}.new; mv {out}.new {out}"
        orphan = f"(setsid sh -c {shlex.quote(script)} &)"
        subprocess.run(["/bin/sh", "-c", orphan], env=variables, check=True)
        eventually(out.exists)
        if os.readlink("/proc/self/ns/pid") != "pid:[4026531836]":
            pytest.skip("in a container every process is a neighbour")
        assert str(process.pid) != out.read_text().strip()
