"""Signals to a command under the cache, in each phase: they arrive at once, and nothing is left."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.save.session_owner import own_mark
from tests.support.cache_trees import compiled_graph, leftovers
from tests.support.fake_servers import free_port
from tests.support.run_hung_mounts import hung_mount
from tests.support.run_programs import (
    a_vllm,
    graphs,
    load_held_up,
    manifests,
    run_arguments,
    session_of,
    started_run,
)
from tests.support.sites import Site
from tests.support.slow_loads import SLOW_LOADS
from tests.support.waiting import SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.support.run_programs import Run
    from tests.support.sites import Host

ENDING = [signal.SIGTERM, signal.SIGINT]
KILLING = [*ENDING, signal.SIGKILL]
AT_ONCE = 8.0
"""Seconds: it takes milliseconds, and more on a busy machine. A load that waits for another one
would take ten of them, and a save a minute."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A store that has something."""
    site = Site(tmp_path)
    tree = {**compiled_graph("first"), **compiled_graph("second")}
    site.host("earlier", tree).save()
    return site


@contextlib.contextmanager
def save_held_up(site: Site) -> Generator[None]:
    """Another host began a save and is slow, so that one waits for it for a minute."""
    (manifest,) = site.files("manifests")
    name = manifest.name.removesuffix(".manifest")
    session = site.store / "sessions" / f"{name}.session"
    # Marked as of this process, which lives.
    session.write_bytes(own_mark())
    yield
    session.unlink()


def assert_gone(run: Run) -> None:
    run.wait_for(lambda: not run.relatives())


def has_staged(root: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return any(root.glob(".b10_transfer/staging-*/*"))
    return False


def is_loading(run: Run) -> bool:
    """Whether the helper is there."""
    return bool(run.relatives())


@pytest.mark.parametrize("number", KILLING)
def test_while_loading_it_ends_at_once_and_nothing_is_started(
    site: Site, number: signal.Signals
) -> None:
    host = site.host("host")
    with load_held_up(host), started_run(host) as run:
        run.wait_for(lambda: is_loading(run))
        time.sleep(0.3)
        sent = run.send(number)
        assert run.wait() == 128 + number
        assert time.monotonic() - sent < AT_ONCE
        assert_gone(run)
        assert not run.is_started
    assert leftovers(host.root) == []
    assert len(manifests(host)) == 1


def test_a_load_that_is_ended_in_the_middle_removes_what_it_staged(tmp_path: Path) -> None:
    site = Site(tmp_path)
    tree: dict[str, bytes] = {}
    for number in range(400):
        tree |= compiled_graph(f"graph {number}")
    site.host("earlier", tree).save()
    # A load that is ended removes what it staged if that takes no longer than a moment.
    assert any(
        is_ended_in_the_middle(site.host(f"host {attempt}"), len(tree)) for attempt in range(10)
    )


def is_ended_in_the_middle(host: Host, count: int) -> bool:
    """End a load; whether that had placed a part and removed the rest. The next one does too."""
    slow = {**host.variables(), SLOW_LOADS: "0.1"}
    with started_run(host, program=["sleep", "600"], variables=slow) as run:
        run.wait_for(lambda: has_staged(host.root))
        run.send(signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM
        assert_gone(run)
    found = not leftovers(host.root) and len(host.tree()) < count
    host.load()
    assert leftovers(host.root) == []
    return found


@pytest.mark.parametrize("number", KILLING)
def test_at_any_moment_of_the_start_it_ends_and_nothing_is_left(
    site: Site, number: signal.Signals
) -> None:
    draw = random.Random(number)
    started = 0
    for attempt in range(5):
        host = site.host(f"host {attempt}")
        with started_run(host, program=["sleep", "60"]) as run:
            # At once, for one; the others while it starts.
            time.sleep(draw.uniform(0.05, 0.4) if attempt else 0)
            started += len(run.relatives()) == 2
            run.send(number)
            code = run.wait()
            if "init_import_site" in run.log:
                continue  # Python itself was interrupted, before any line of ours
            assert code == 128 + number, run.log
            assert_gone(run)
        # What a killed load staged goes with the next one.
        host.load()
        assert leftovers(host.root) == []
        manifests(host)
    assert started < 5


@pytest.mark.parametrize("number", ENDING)
def test_a_command_that_runs_gets_the_signal_at_once(site: Site, number: signal.Signals) -> None:
    with started_run(site.host("host"), {"exit": 7}) as run:
        run.wait_for(lambda: run.is_started)
        sent = run.send(number)
        assert run.wait() == 7
        ((name, at),) = run.signals()
        assert name == number.name
        assert at - sent < AT_ONCE
        assert_gone(run)


def test_every_signal_is_passed_on_once_and_the_command_goes_on(site: Site) -> None:
    numbers = [
        *(signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH),
        *(signal.SIGINT, signal.SIGTERM),
    ]
    with started_run(site.host("host"), {"ends": False}, save=False) as run:
        run.wait_for(lambda: run.is_started)
        for count, number in enumerate(numbers, 1):
            sent = run.send(number)
            run.wait_for_signals(count)
            assert run.signals()[-1].name == number.name
            assert run.signals()[-1].at - sent < AT_ONCE
        time.sleep(0.1)
        assert len(run.signals()) == len(numbers)


def test_a_command_that_a_signal_ends_makes_the_exit_code_128_and_more(site: Site) -> None:
    code = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(600)"
    mark = site.folder / "mark"
    command = [sys.executable, "-I", "-S", "-c", code, str(mark)]
    with started_run(site.host("host"), program=command, load=False) as run:
        run.wait_for(mark.exists)
        run.send(signal.SIGUSR1)
        assert run.wait() == 128 + signal.SIGUSR1
        assert_gone(run)


def test_killed_it_takes_the_command_and_the_helper_along(site: Site) -> None:
    with started_run(site.host("host"), {"ends": False}) as run:
        run.wait_for(lambda: run.is_started and len(run.relatives()) == 2)
        run.send(signal.SIGKILL)
        assert run.wait() == 128 + signal.SIGKILL
        assert_gone(run)


@pytest.mark.parametrize("number", KILLING)
def test_a_server_that_is_not_ready_yet_is_stopped_and_nothing_is_saved(
    site: Site, number: signal.Signals
) -> None:
    host = site.host("host")
    plan = {"compile": graphs(site.folder, "new")}
    with started_run(host, plan, program=a_vllm(site.folder, free_port())) as run:
        run.wait_for_log("found the vLLM server")
        run.send(number)
        assert run.wait() == (0 if number != signal.SIGKILL else 128 + number)
        assert_gone(run)
    assert len(manifests(host)) == 1


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)],
)
def test_a_signal_in_the_middle_of_a_save_reaches_the_server_at_once(
    site: Site, number: signal.Signals
) -> None:
    host = site.host("host")
    port = free_port()
    plan = {"compile": graphs(site.folder, "new"), "listen": port}
    with (
        save_held_up(site),
        started_run(host, plan, program=a_vllm(site.folder, port), interval=0.1) as run,
    ):
        # Ready, settled for five seconds, and then in a save that lets another host go first.
        run.wait_for(lambda: len(site.files("sessions")) == 2)
        sent = run.send(number)
        code = run.wait()
        assert time.monotonic() - sent < 30
        if number != signal.SIGKILL:
            assert code == 0
            assert run.signals()[0].at - sent < AT_ONCE
        assert_gone(run)
    # The last save waits for nobody.
    assert (len(manifests(host)) == 1) == (number == signal.SIGKILL), run.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_during_the_last_save_a_second_request_ends_it(site: Site, number: signal.Signals) -> None:
    host = site.host("host")
    plan = {"compile": graphs(site.folder, "new")}
    with hung_mount(site.folder / "hung") as hung:
        variables = host.variables(B10FS_CACHE_DIR=str(hung / "store"))
        with started_run(host, plan, variables=variables, load=False, save_timeout=60) as run:
            run.wait_for(lambda: run.is_started)
            run.send(signal.SIGTERM)
            run.wait_for(lambda: len(run.relatives()) == 1)
            time.sleep(1.2)
            assert run.process.poll() is None
            sent = run.send(number)
            assert run.wait() == (0 if number == signal.SIGTERM else 128 + number)
            assert time.monotonic() - sent < AT_ONCE
    assert_gone(run)


def test_a_signal_that_was_ignored_at_the_start_does_not_end_a_load(site: Site) -> None:
    host = site.host("host")
    with (
        load_held_up(host),
        started_run(host, before=["nohup"], load_timeout=1.5) as run,
    ):
        run.wait_for(lambda: is_loading(run))
        time.sleep(0.2)
        run.send(signal.SIGHUP)
        run.wait_for(lambda: run.is_started)


def test_a_group_that_is_killed_leaves_nothing(site: Site) -> None:
    with started_run(site.host("host"), {"ends": False}) as run:
        run.wait_for(lambda: run.is_started and len(run.relatives()) == 2)
        subprocess.run(["kill", "-KILL", "--", f"-{run.pid}"], check=True)  # noqa: S607
        assert run.wait() == 128 + signal.SIGKILL
        assert_gone(run)


def test_a_command_whose_caller_is_gone_before_it_starts_does_not_start(site: Site) -> None:
    go = site.folder / "go"
    code = f"""
import os, time; fork = os.fork
def slow_fork():
    pid = fork()
    if pid: os.kill(os.getpid(), 9)
    while not os.path.exists({str(go)!r}): time.sleep(0.01)
    return pid
os.fork = slow_fork
"""
    arguments = run_arguments(["sleep", "60"], load=False)
    arguments[2] = code + arguments[2]
    variables = site.host("host").variables()
    with subprocess.Popen(arguments, env=variables, start_new_session=True) as process:
        assert process.wait(SECONDS) == -signal.SIGKILL
        assert len(session_of(process.pid)) == 1
        go.touch()
        eventually(lambda: not session_of(process.pid))


def test_a_signal_that_came_before_everything_starts_nothing(site: Site) -> None:
    code = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); "
        "os.kill(os.getpid(), 15); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    before = [sys.executable, "-c", code]
    with started_run(site.host("host"), before=before, load=False) as run:
        assert run.wait() == 128 + signal.SIGTERM
        assert not run.is_started
