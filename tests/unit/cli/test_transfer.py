"""The commands that move artifacts: load, save and clear; and those that run servers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from b10_transfer.cli import main
from b10_transfer.cli.companion import main as companion_main
from b10_transfer.servers.follow import companion
from b10_transfer.servers.follow.companion import CompanionReport, Outcome
from b10_transfer.servers.run import command as supervised
from b10_transfer.servers.run.run_options import RunOptions
from tests.support.cache_trees import compiled_graph
from tests.support.cli_runs import DONE, FAILED, FOUND_PROBLEMS, NOT_STORED, USAGE, ran
from tests.support.machines import CPU_MACHINE, running_on
from tests.support.programs import run_python
from tests.support.sites import Site, become

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Sequence

    from b10_transfer.servers.options import ServerOptions
    from b10_transfer.settings import Settings
    from tests.support.sites import Host

TREE = compiled_graph("model")


@pytest.fixture
def host(site: Site, monkeypatch: pytest.MonkeyPatch) -> Host:
    """This process is a host that compiled."""
    return become(site.host("host", TREE), monkeypatch)


# load and save


def test_what_one_host_saves_another_loads(
    site: Site,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = ran("save", capsys)
    assert f"{len(TREE)} artifacts here, {len(TREE)} added" in out
    assert str(site.store) in out
    fresh = become(site.host("fresh"), monkeypatch)
    assert f"{len(TREE)} artifacts loaded" in ran("load", capsys)
    assert fresh.tree() == host.tree() == TREE
    assert f"{len(TREE)} already here" in ran("load", capsys)


def test_a_load_that_finds_nothing_ends_with_3(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nothing is stored yet" in ran("load", capsys, NOT_STORED)
    found = json.loads(ran("load --json", capsys, NOT_STORED))
    assert (found["status"], found["loaded"]) == ("does_not_exist", 0)
    assert host.tree() == TREE


def test_reports_as_json_have_all_their_names(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = json.loads(ran("save --json --no-wait", capsys))
    assert saved.keys() == {
        *("status", "environment_key", "found", "added", "superseded", "expired", "uploaded_bytes"),
        *("stored_bytes", "reused", "compiled_kinds", "left_out_files", "refused", "problems"),
        *("seconds", "namespace", "store", "recompiled", "left_out"),
    }
    assert (saved["status"], saved["added"]) == ("success", len(TREE))
    loaded = json.loads(ran("load --json", capsys))
    assert loaded.keys() == {
        *("status", "environment_key", "loaded", "bytes_loaded", "already_here", "unavailable"),
        *(
            "not_for_host",
            "refused",
            "differences",
            "problems",
            "reason",
            "seconds",
            "namespace",
            "store",
        ),
    }
    assert loaded["status"] == "skipped"
    assert host.tree() == TREE


def test_what_differs_from_the_machine_that_saved_is_told_by_field(
    site: Site, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host.save()
    become(site.host("fresh"), monkeypatch)
    with running_on(CPU_MACHINE.but(threads="3")):
        found = json.loads(ran("load --json", capsys))
    assert found["differences"] == [{"name": "threads", "here": "3", "there": CPU_MACHINE.threads}]


@pytest.mark.parametrize("command", ["load", "save", "load --json"])
def test_where_the_cache_is_off_nothing_is_done_and_the_exit_code_is_4(
    host: Host, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(host, monkeypatch, BASETEN_FS_ENABLED="0")
    assert main(command.split()) == FAILED
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        "b10-transfer: the cache is off: set BASETEN_FS_ENABLED=1 to use it\n",
    )


def test_a_store_that_is_named_is_used_without_any_variables(
    site: Site, host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(host, monkeypatch, BASETEN_FS_ENABLED=None, B10FS_CACHE_DIR=None)
    monkeypatch.chdir(site.folder)
    saved = json.loads(ran("save --json --store store --namespace flux", capsys))
    assert (saved["store"], saved["namespace"]) == (str(site.store), "flux")
    (path,) = site.files("manifests")
    assert ".flux~" in path.name
    become(host, monkeypatch, BASETEN_FS_ENABLED="0")
    assert main(["load", "--store", str(site.store)]) == FAILED
    assert "the cache is off" in capsys.readouterr().err


@pytest.mark.parametrize("namespace", ["A B", "x" * 65])
def test_a_namespace_that_is_none_is_refused(
    host: Host, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["save", "--namespace", namespace]) == USAGE
    assert capsys.readouterr().err.startswith("b10-transfer: --namespace '")
    assert not host.store.exists()


def test_warnings_of_the_log_are_told_and_the_handler_is_gone_afterwards(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = become(site.host("host", TREE), monkeypatch).variables()
    site.store.mkdir()
    site.store.chmod(0o777)
    code = """
import logging
from b10_transfer.cli import main
print(main(["save"]), logging.getLogger("b10_transfer").handlers)
"""
    done = run_python(code, variables)
    assert done.stdout.endswith("0 []\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("b10-transfer: the store ")
    assert "no signing key is set" in line


def test_an_interrupt_ends_with_130_and_a_line(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("b10_transfer.operations.transfer.load", interrupt)
    assert main(["load"]) == 130
    assert capsys.readouterr() == ("", "b10-transfer: interrupted\n")
    assert host.tree() == TREE


# clear


def test_clear_empties_the_roots_and_leaves_the_store(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.save()
    out = ran("clear --yes", capsys)
    assert f"inductor: {len(TREE)} files" in out
    assert out.endswith("cleared\n")
    assert host.tree() == {}
    assert ran("clear --yes", capsys) == "there is nothing to clear\n"
    assert host.load().loaded == len(TREE)
    found = json.loads(ran("clear --json --yes", capsys))
    assert [item["name"] for item in found["cleared"]] == ["inductor"]
    assert host.tree() == {}


def test_clear_of_some_roots_leaves_the_others(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.triton.mkdir()
    ran("clear --roots triton --yes", capsys)
    assert not host.triton.exists()
    assert host.tree() == TREE
    for names in ("triton,cuda", ""):
        assert main(["clear", "--roots", names]) == USAGE
        assert "no cache root" in capsys.readouterr().err
    assert host.tree() == TREE


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("n", FOUND_PROBLEMS), ("", FOUND_PROBLEMS), ("y", DONE), ("yes", DONE)],
)
def test_on_a_terminal_clear_asks(site: Site, answer: str, expected: int) -> None:
    host = site.host("host", TREE)
    mine, theirs = os.openpty()
    os.write(mine, f"{answer}\n".encode())
    with os.fdopen(theirs, "rb") as terminal:
        done = subprocess.run(
            [sys.executable, "-m", "b10_transfer", "clear", "--roots", "inductor"],
            env=host.variables(),
            stdin=terminal,
            capture_output=True,
            timeout=300,
            check=False,
        )
    os.close(mine)
    assert done.returncode == expected
    assert b"Remove 1 cache root (" in done.stderr
    assert host.tree() == ({} if expected == DONE else TREE)


def test_where_nobody_can_be_asked_clear_names_the_option_that_it_needs(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clear"]) == USAGE
    assert "nobody can be asked; give --yes" in capsys.readouterr().err
    assert host.tree() == TREE


def test_clear_shows_that_it_is_at_work(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[tuple[str, bool]] = []

    @contextlib.contextmanager
    def show(_: object, what: str) -> Generator[None]:
        yield
        shown.append((what, host.root.exists()))

    monkeypatch.setattr("b10_transfer.cli.clear_command.busy_display", show)
    ran("clear --yes", capsys)
    (looking, before), (clearing, after) = shown
    assert (looking, before) == ("looking at the cache roots", True)
    assert clearing.startswith("clearing 1 cache root (")
    assert not after


def test_clear_refuses_a_root_around_the_store(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(host, monkeypatch, B10FS_CACHE_DIR=str(host.root / "store"))
    assert main(["clear"]) == USAGE
    assert "must not contain each other" in capsys.readouterr().err
    assert host.tree() == TREE


# run and b10-compile-cache


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], RunOptions]]:
    """What would have been run; it ends with 42."""
    calls: list[tuple[list[str], RunOptions]] = []

    def run(command: Sequence[str], options: RunOptions | None = None) -> int:
        calls.append((list(command), options or RunOptions()))
        return 42

    monkeypatch.setattr(supervised, "run", run)
    return calls


@pytest.mark.parametrize(
    "typed",
    [
        "run -- vllm serve M --port 8000 --json -- x",
        "run vllm serve M --port 8000 --json -- x",
        "--store /a run --namespace b vllm serve M --port 8000 --json -- x",
    ],
)
def test_what_stands_behind_the_dashes_is_the_commands_own(
    host: Host, typed: str, runs: list[tuple[list[str], RunOptions]]
) -> None:
    assert main(typed.split()) == 42
    assert runs == [(["vllm", "serve", "M", "--port", "8000", "--json", "--", "x"], RunOptions())]
    assert host.tree() == TREE


def test_options_of_run_are_handed_on(
    host: Host, runs: list[tuple[list[str], RunOptions]], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "--no-load --load-timeout 5 --save --save-timeout 0 --url http://x/ --timeout 9"
    more = "--interval=.5 --server-user=7 --namespace flux -- x"
    assert main(["run", *options.split(), *more.split()]) == 42
    ((_, given),) = runs
    assert given == RunOptions(
        load=False,
        load_timeout=5.0,
        save_timeout=0.0,
        url="http://x/",
        ready_timeout=9.0,
        interval=0.5,
        server_user="7",
    )
    # What the command itself saves goes to the same place.
    assert os.environ["B10_CACHE_NAMESPACE"] == "flux"
    monkeypatch.delenv("B10_CACHE_NAMESPACE")
    assert companion_main(["--no-save", "--", "x", "--url"]) == 42
    assert runs[1] == (["x", "--url"], RunOptions(save=False))
    assert host.tree() == TREE


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf"])
def test_seconds_that_are_none_are_refused(
    host: Host, value: str, runs: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    for flag in ("--timeout", "--interval", "--load-timeout", "--save-timeout"):
        assert main(["run", f"{flag}={value}", "--", "x"]) == USAGE
        assert f"{flag} '{value}' is not a number of seconds" in capsys.readouterr().err
    assert runs == []
    assert host.tree() == TREE


def test_a_command_that_is_not_there_ends_with_127_and_one_that_fails_with_its_own_code(
    site: Site,
) -> None:
    variables = site.host("host").variables()
    for command, expected in (
        (["no-such-command-anywhere"], 127),
        (["/"], 126),
        (["/bin/sh", "-c", "exit 7"], 7),
        (["/bin/sh", "-c", "kill -9 $$"], 128 + signal.SIGKILL),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "b10_transfer", "run", "--json", "--", *command],
            env=variables,
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == expected, done.stderr
        assert done.stdout == b""
        for line in done.stderr.decode().splitlines():
            assert json.loads(line).keys() == {"time", "level", "message"}


@pytest.fixture
def accompanied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, ServerOptions]]:
    """What a server would have been accompanied with; the answer is that it was not ready."""
    calls: list[tuple[Settings, ServerOptions]] = []

    def accompany(
        settings: Settings, options: ServerOptions, stop: threading.Event, **_: Any
    ) -> CompanionReport:
        calls.append((settings, options))
        if options.timeout == 99:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.wait(300)
            return CompanionReport(Outcome.INTERRUPTED)
        return CompanionReport(Outcome.NOT_READY, errors=("it was not ready",))

    monkeypatch.setattr(companion, "accompany", accompany)
    return calls


def test_the_companion_takes_flags_and_the_older_variables(
    host: Host,
    accompanied: list[tuple[Settings, ServerOptions]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    become(host, monkeypatch, B10_TRANSFER_TIMEOUT_S="7", B10_TRANSFER_INTERVAL_S="3")
    arguments = ["--interval", "2", "--watch", "--namespace", "flux", "--json"]
    assert companion_main(arguments) == 5
    ((settings, options),) = accompanied
    assert settings.namespace == "flux"
    assert (options.timeout, options.interval) == (7.0, 2.0)
    assert options.watch_seconds == float("inf")
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "outcome": "not_ready",
        "loads": [],
        "saves": [],
        "errors": ["it was not ready"],
    }


def test_the_companion_ends_with_143_after_sigterm_and_leaves_the_handlers_as_they_were(
    host: Host, accompanied: list[object]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert companion_main(["--timeout", "99"]) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(accompanied) == 1
    assert host.tree() == TREE


@pytest.mark.parametrize(
    "typed",
    ["--timeout soon", "--no-load", "--save-timeout 3", "--watch -- x", "--no-watch x", "--wacth"],
)
def test_options_of_the_companion_that_do_not_fit_are_refused(
    host: Host, typed: str, runs: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert companion_main(typed.split()) == USAGE
    err = capsys.readouterr().err
    assert err.startswith("b10-compile-cache: ")
    assert typed.split()[0] in err or "--wacth" in err
    assert runs == []
    assert host.tree() == TREE
