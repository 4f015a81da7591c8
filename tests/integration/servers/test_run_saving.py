"""What a command compiles is saved when it has proved good; no fault of the cache reaches it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cache_trees import compiled_graph, leftovers, read_tree
from tests.support.fake_servers import free_port
from tests.support.mounts import tmpfs
from tests.support.run_hung_mounts import hung_mount
from tests.support.run_programs import (
    RECORDER,
    a_vllm,
    graphs,
    load_held_up,
    manifests,
    run_arguments,
    run_to_the_end,
    started_run,
)
from tests.support.sites import Site
from tests.support.waiting import SECONDS, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Host


FIRST = compiled_graph("first")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A store that has something."""
    site = Site(tmp_path)
    site.host("earlier", FIRST).save()
    return site


def stored(site: Site) -> set[str]:
    """The paths that a new host gets."""
    host = site.host(f"new {len(os.listdir(site.folder))}")
    host.load()
    return set(host.tree())


def is_saved(host: Host) -> bool:
    """Whether the run has saved; on a busy machine the last save may be made twice."""
    return len(manifests(host)) > 1


def copying(source: str, code: int) -> list[str]:
    """A command that compiles, and ends."""
    return ["sh", "-c", f'cp -r "{source}/." "$TORCHINDUCTOR_CACHE_DIR"; exit {code}']


def test_the_cache_is_there_when_the_command_starts(site: Site) -> None:
    host = site.host("host")
    done = run_to_the_end(
        ["sh", "-c", 'cd "$TORCHINDUCTOR_CACHE_DIR" && find . -type f'], host.variables()
    )
    seen = {line.removeprefix("./") for line in done.stdout.decode().split()}
    assert seen >= FIRST.keys()


@pytest.mark.parametrize(("code", "saved"), [(0, True), (1, False)])
def test_what_a_command_compiled_is_saved_at_its_end_unless_it_failed(
    site: Site, code: int, saved: bool
) -> None:
    host = site.host("host")
    new = graphs(site.folder, "new")
    done = run_to_the_end(copying(new, code), host.variables())
    assert done.returncode == code
    assert is_saved(host) == saved
    assert (len(stored(site)) > len(FIRST)) == saved


def test_a_command_that_was_asked_to_end_has_not_failed(site: Site) -> None:
    host = site.host("host")
    plan = {"compile": graphs(site.folder, "new"), "exit": 3}
    with started_run(host, plan) as run:
        run.wait_for(lambda: run.is_started)
        run.send(signal.SIGTERM)
        assert run.wait() == 3
    assert is_saved(host)


@pytest.mark.parametrize("option", ["save", "save_timeout"])
def test_nothing_is_saved_where_that_is_not_wanted(site: Site, option: str) -> None:
    host = site.host("host")
    new = graphs(site.folder, "new")
    choice: dict[str, Any] = {option: 0}
    assert run_to_the_end(copying(new, 0), host.variables(), **choice).returncode == 0
    assert len(manifests(host)) == 1


def test_a_server_is_saved_when_it_is_ready_and_at_its_end(site: Site) -> None:
    host = site.host("host")
    port = free_port()
    plan = {
        "compile": graphs(site.folder, "warmup"),
        "later": graphs(site.folder, "requests"),
        "listen": port,
    }
    with started_run(host, plan, program=a_vllm(site.folder, port), interval=0.1) as run:
        run.wait_for(lambda: len(site.files("manifests")) == 2)
        warm = stored(site)
        (run.folder / "go").touch()
        run.wait_for(lambda: not (run.folder / "go").exists())
        run.send(signal.SIGTERM)
        assert run.wait() == 0
    assert len(manifests(host)) > 2
    assert len(warm) - len(FIRST) == len(stored(site)) - len(warm) > 0


def test_what_a_proven_server_left_is_saved_though_the_next_one_is_looked_for(site: Site) -> None:
    host = site.host("host")
    port = free_port()
    plan = {"compile": graphs(site.folder, "warmup"), "listen": port}
    later = graphs(site.folder, "later")
    # The server ends; what its workers write after that comes before the end of the command.
    script = f'{shlex.join(a_vllm(site.folder, port))}; sleep 2; cp -r {later}/. "$0"; sleep 1'
    command = ["bash", "-c", script, str(host.root)]
    with started_run(host, plan, program=command, interval=0.1) as run:
        run.wait_for(lambda: len(site.files("manifests")) == 2)
        run.end()
        assert run.wait() == 0
        assert "nothing more is saved" not in run.log
    assert len(manifests(host)) > 2
    assert set(read_tree(site.folder / "later")) <= stored(site)


def test_what_another_server_compiled_that_was_not_ready_is_not_saved(site: Site) -> None:
    host = site.host("host")
    port = free_port()
    plan = {
        "compile": graphs(site.folder, "warmup"),
        "later": graphs(site.folder, "requests"),
        "listen": port,
    }
    server = shlex.join(a_vllm(site.folder, port))
    again = site.folder / "again"
    again.mkdir()
    later = {"folder": str(again), "compile": graphs(site.folder, "later")}
    variables = host.variables(AGAIN=json.dumps(later))
    wait = f"until [ -e {again}/begin ]; do sleep 0.1; done"
    command = ["bash", "-c", f'{server}; {wait}; RECORDER="$AGAIN" {server}']
    with started_run(host, plan, program=command, variables=variables, interval=0.1) as run:
        run.wait_for(lambda: len(site.files("manifests")) == 2)
        (run.folder / "go").touch()
        run.wait_for(lambda: not (run.folder / "go").exists())
        run.end()
        # What is there when the first one has just ended counts as its own, and is saved.
        run.wait_for(lambda: len(site.files("manifests")) == 3)
        (again / "begin").touch()
        run.wait_for(lambda: run.log.count("found the vLLM server") == 2)
        (again / "end").touch()
        assert run.wait() == 0
        assert "nothing more is saved" in run.log
    assert len(manifests(host)) == 3
    assert not set(read_tree(site.folder / "later")) & stored(site)


def test_cache_folders_that_the_command_chose_for_itself_are_saved(site: Site) -> None:
    host = site.host("host")
    new, own = graphs(site.folder, "new"), host.folder / "own"
    seen = site.folder / "seen"
    script = f"cp -r {new} {own}; until [ -e {seen} ]; do sleep 0.1; done"
    code = (
        "import os, subprocess, sys\n"
        "os.environ['TORCHINDUCTOR_CACHE_DIR'] = sys.argv[1]\n"
        "subprocess.run(['sh', '-c', sys.argv[2]], check=True)"
    )
    with started_run(host, program=[sys.executable, "-c", code, str(own), script]) as run:
        run.wait_for_log("chose cache folders for itself")
        seen.touch()
        assert run.wait() == 0
    assert is_saved(host)
    assert set(read_tree(site.folder / "new")) <= stored(site)


def test_a_command_of_which_nothing_is_found_is_told_where_that_was_looked_for(
    site: Site,
) -> None:
    host = site.host("other", {})
    variables = host.variables(B10_CACHE_LOAD="0")
    told = f"nothing was found in the cache folders (Inductor's is {host.root})"
    # The last save has two seconds to begin, which a busy machine may not give it.
    assert any(
        told in run_to_the_end(["true"], variables).stderr.decode() for _attempt in range(10)
    )


def test_a_server_that_ends_before_it_is_ready_is_not_saved(site: Site) -> None:
    host = site.host("host")
    plan = {"compile": graphs(site.folder, "new")}
    with started_run(host, plan, program=a_vllm(site.folder, free_port())) as run:
        run.wait_for_log("found the vLLM server")
        run.end()
        assert run.wait() == 0
    assert len(manifests(host)) == 1


def test_a_url_says_when_any_command_is_ready(site: Site) -> None:
    host = site.host("host")
    port = free_port()
    plan = {"compile": graphs(site.folder, "new"), "listen": port, "exit": 1}
    variables = host.variables(B10_TRANSFER_VLLM_URL=f"http://127.0.0.1:{port}/")
    with started_run(host, plan, variables=variables) as run:
        run.wait_for(lambda: len(site.files("manifests")) == 2)
        run.end()
        assert run.wait() == 1
    assert is_saved(host)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"BASETEN_FS_ENABLED": "0"}, "BASETEN_FS_ENABLED", id="off"),
        pytest.param({"BASETEN_FS_ENABLED": "maybe"}, "maybe", id="no switch"),
        pytest.param({"MAX_CACHE_SIZE_MB": "many"}, "many", id="no number"),
        pytest.param({"TORCHINDUCTOR_CACHE_DIR": "/etc"}, "/etc", id="no folder"),
        pytest.param({"B10FS_CACHE_DIR": "/dev/null"}, "/dev/null", id="a store that is none"),
        pytest.param({"B10_TRANSFER_VLLM_URL": "gopher:"}, "gopher:", id="no address"),
        pytest.param({"B10_TRANSFER_TIMEOUT_S": "soon"}, "soon", id="no time"),
        pytest.param({"TMPDIR": "/no/such", "LOCAL_WORK_DIR": "/no/such"}, "", id="no scratch"),
    ],
)
def test_settings_that_are_wrong_are_told_and_the_command_runs(
    site: Site, changes: dict[str, str], told: str
) -> None:
    variables = site.host("host").variables(**changes)
    done = run_to_the_end(["sh", "-c", "echo out"], variables)
    assert (done.returncode, done.stdout) == (0, b"out\n")
    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("ERROR")]
    assert told in "".join(errors)


def test_a_save_that_fails_is_told_and_the_exit_code_is_the_commands(site: Site) -> None:
    variables = site.host("host").variables(B10FS_CACHE_DIR="/proc/no/store")
    done = run_to_the_end(copying(graphs(site.folder, "new"), 0), variables)
    assert done.returncode == 0
    assert "ERROR save: /proc/no" in done.stderr.decode()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise ImportError('part of it is missing')", "part of it is missing"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import os; os._exit(3)", ""),
    ],
)
def test_a_cache_that_cannot_even_be_imported_is_told_and_the_command_runs(
    site: Site, code: str, told: str
) -> None:
    broken = site.folder / "broken"
    broken.mkdir()
    (broken / "lmdb.py").write_text(code)
    variables = site.host("host").variables()
    variables["PYTHONPATH"] = f"{broken}{os.pathsep}{variables['PYTHONPATH']}"
    done = run_to_the_end(["sh", "-c", "exit 6"], variables)
    assert done.returncode == 6
    assert told in done.stderr.decode()


def test_too_little_room_is_told_and_the_command_runs(site: Site) -> None:
    host = site.host("host")
    with tmpfs(host.root, 1 << 16):
        (host.root / "ballast").write_bytes(b"x" * 60_000)
        done = run_to_the_end(["sh", "-c", "exit 6"], host.variables())
    assert done.returncode == 6
    assert "space" in done.stderr.decode()


def test_a_store_that_hangs_costs_its_bounds_and_no_more(site: Site) -> None:
    host = site.host("host")
    plan = {"compile": graphs(site.folder, "new")}
    with hung_mount(site.folder / "hung") as hung:
        variables = host.variables(B10FS_CACHE_DIR=str(hung / "store"))
        began = time.monotonic()
        with started_run(host, plan, variables=variables, load_timeout=1, save_timeout=1.5) as run:
            run.wait_for(lambda: run.is_started)
            # Generous for a busy machine; without bounds both would take for ever.
            assert 1 <= time.monotonic() - began < 30
            sent = run.send(signal.SIGTERM)
            assert run.wait() == 0
            assert run.signals()[0].at - sent < 10
            assert 1.5 <= time.monotonic() - sent < 30
            assert "load: given up after 1 s" in run.log
            assert "the last save was given up" in run.log
    run.wait_for(lambda: not run.relatives())


def test_a_load_that_was_given_up_places_nothing_later(site: Site) -> None:
    host = site.host("host")
    with started_run(host, {"compile": graphs(site.folder, "new")}, load_timeout=1) as run:
        with load_held_up(host):
            run.wait_for(lambda: run.is_started)
        time.sleep(0.5)
        assert not FIRST.keys() & host.tree().keys()
        assert leftovers(host.root) == []


def test_a_log_that_nobody_reads_holds_up_no_signal(site: Site) -> None:
    host = site.host("host")
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    folder = host.folder / "recorder"
    folder.mkdir(parents=True)
    command = [sys.executable, "-I", "-S", RECORDER]
    variables = {**host.variables(), "RECORDER": f'{{"folder": "{folder}", "exit": 8}}'}
    with subprocess.Popen(
        run_arguments(command, load_timeout=0.5, save_timeout=1), env=variables, stderr=writing
    ) as process:
        eventually((folder / "started").exists)
        process.terminate()
        assert process.wait(SECONDS) == 8
    os.close(reading)
    os.close(writing)
