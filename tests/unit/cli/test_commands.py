"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

import pytest

import b10_transfer
from b10_transfer.cli import main
from b10_transfer.cli.command_table import BY_NAME, COMMANDS, COMPANION
from b10_transfer.cli.log_lines import shown_level
from b10_transfer.cli.parser import CommandParser
from tests.support.any_names import allow_any_name
from tests.support.bare_machines import ordinary_programs
from tests.support.cache_trees import compiled_graph
from tests.support.cli_runs import DONE, FAILED, FOUND_PROBLEMS, USAGE
from tests.support.programs import run_python
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from pathlib import Path

    from b10_transfer.cli.command_values import Command
    from tests.support.sites import Host

TREE = compiled_graph("model")
FINDING_TYPES = {
    "code": str,
    "severity": str,
    "is_problem": bool,
    "subject": str,
    "text": str,
    "advice": str,
    "details": dict,
}


@pytest.fixture
def healthy(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """This process is a host that saved."""
    monkeypatch.setenv("PATH", ordinary_programs(tmp_path / "bin"), prepend=os.pathsep)
    host = become(site.host("host", TREE), monkeypatch)
    host.save()
    return host


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a host that saved, for processes of its own; what they do leaves the store as it is."""
    allow_any_name()
    folder = tmp_path_factory.mktemp("site")
    path = f"{ordinary_programs(folder / 'bin')}{os.pathsep}{os.environ['PATH']}"
    found = Site(folder).host("host", TREE).variables(PATH=path)
    done = run_python("import b10_transfer; b10_transfer.save()", found)
    assert done.returncode == 0, done.stderr
    return found


def run(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "b10_transfer", *arguments],
        env=variables,
        cwd="/",
        capture_output=True,
        timeout=300,
        check=False,
    )


def findings_in(text: str) -> list[dict[str, Any]]:
    """The findings in what was printed as JSON, checked for their form."""
    found: list[dict[str, Any]] = json.loads(text)
    for item in found:
        assert {name: type(value) for name, value in item.items()} == FINDING_TYPES
    return found


@pytest.mark.parametrize("arguments", [("doctor",), ("doctor", "--json")])
def test_where_nothing_is_wrong_the_exit_code_is_0(
    healthy: Host, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == DONE
    out, err = capsys.readouterr()
    assert "!!" not in out
    assert str(healthy.root) not in out
    assert err == ""


@pytest.mark.parametrize("arguments", [("doctor",), ("doctor", "--json")])
def test_where_something_is_wrong_the_exit_code_is_1(
    healthy: Host,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    become(healthy, monkeypatch, B10_CACHE_LOAD="0")
    assert main(arguments) == FOUND_PROBLEMS
    out, err = capsys.readouterr()
    assert "B10_CACHE_LOAD=0" in out
    assert err == ""


@pytest.mark.parametrize(
    "command", ["load", "save", "list", "show", "info", "gc", "check", "clear"]
)
def test_a_bad_setting_is_told_in_a_line_and_the_exit_code_is_2(
    healthy: Host,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    become(healthy, monkeypatch, MAX_CACHE_SIZE_MB="many")
    for arguments in ([command], [command, "--json"]):
        assert main(arguments) == USAGE
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("b10-transfer: MAX_CACHE_SIZE_MB='many' ")
        assert err.count("\n") == 1


def test_to_doctor_a_bad_setting_is_a_finding(
    healthy: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(healthy, monkeypatch, MAX_CACHE_SIZE_MB="many")
    assert main(["doctor", "--json"]) == FOUND_PROBLEMS
    found = findings_in(capsys.readouterr().out)
    assert any(item["is_problem"] and "MAX_CACHE_SIZE_MB" in item["text"] for item in found)


def test_problems_come_first(
    healthy: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(healthy, monkeypatch, B10_CACHE_LOAD="0", B10_CACHE_NAMESPCE="1")
    assert main(["doctor"]) == FOUND_PROBLEMS
    marks = [line[:3] for line in capsys.readouterr().out.splitlines() if "-> " not in line]
    assert sorted(set(marks), reverse=True) == ["!! ", " ! "]
    assert marks == sorted(marks, key=["!! ", " ! "].index)


def test_info_shows_the_settings_the_roots_and_what_chose_and_filled_them(
    healthy: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(healthy, monkeypatch, MAX_CACHE_SIZE_MB="7")
    assert main(["load"]) == DONE
    capsys.readouterr()
    assert main(["info"]) == DONE
    out = capsys.readouterr().out
    assert re.search(r"MAX_CACHE_SIZE_MB +7 \(set\)", out)
    assert f"in {healthy.root} (TORCHINDUCTOR_CACHE_DIR); last load " in out
    assert sys.executable in out
    assert main(["info", "--json"]) == DONE
    told = json.loads(capsys.readouterr().out)
    size = {"name": "MAX_CACHE_SIZE_MB", "value": 7, "origin": "set"}
    assert size in told["settings"]
    (root,) = [item for item in told["roots"] if item["name"] == "inductor"]
    assert root["chosen_by"] == "TORCHINDUCTOR_CACHE_DIR"
    assert root["loaded_at"]
    assert told["store_filesystem"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("laod", "did you mean 'load'?"),
        ("lst", "did you mean 'list'?"),
        ("heal", ""),
        ("doctor --jsn", "did you mean '--json'?"),
        ("load --stroe=/x", "did you mean '--store'?"),
        ("doctor now", "unexpected argument: 'now'"),
        ("completion bsh", "did you mean 'bash'?"),
        ("run", "give it after --"),
        ("load --sto", "did you mean '--store'?"),
        ("load --store", "expected one argument"),
        ("-x", "there is no option '-x'"),
        ("--jsn", "did you mean '--json'?"),
        ("--versoin", "did you mean '--version'?"),
        ("remove", "KEY[.NAMESPACE] is missing"),
        ("completion", "SHELL is missing: bash, zsh, fish or tcsh"),
    ],
)
def test_what_is_typed_wrongly_ends_with_2_and_with_what_was_meant(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("b10-transfer")
    assert meant in err
    assert "usage: b10-transfer " in err
    assert err.rstrip().endswith("--help")


def test_without_a_command_the_help_is_printed_and_the_exit_code_is_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == USAGE
    out, err = capsys.readouterr()
    assert out == ""
    for command in COMMANDS:
        assert f"  {command.name} " in err


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"], ["--json", "--help"]])
def test_help_is_printed_when_asked_for(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == DONE
    out, err = capsys.readouterr()
    assert out.startswith("usage: b10-transfer COMMAND ")
    assert err == ""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_help_of_each_command_has_its_options_and_an_example_in_80_columns(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([command.name, "--help"], ["help", command.name], [command.name, "-h"]):
        assert main(arguments) == DONE
        out, err = capsys.readouterr()
        assert err == ""
        assert out.startswith(f"usage: b10-transfer {command.name} ")
        for option in command.all_options:
            assert all(flag in out for flag in option.flags)
        for line, _ in command.examples:
            assert f"\n  {line}\n" in out
        assert max(map(len, out.splitlines())) <= 80


def test_each_command_is_a_function_that_is_there() -> None:
    for command in (*COMMANDS, COMPANION):
        module, _, function = command.run.partition(":")
        assert callable(getattr(import_module(module), function))


def test_options_of_every_command_may_stand_before_it(
    healthy: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--json", "--store", str(healthy.store), "list"]) == DONE
    assert json.loads(capsys.readouterr().out)["store"] == str(healthy.store)


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_that_of_the_package(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == DONE
    assert capsys.readouterr().out == f"b10-transfer {metadata.version('b10-transfer')}\n"
    assert b10_transfer.__version__ == metadata.version("b10-transfer")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [("load", "WARNING"), ("load -q", "ERROR"), ("load -v", "DEBUG"), ("run -q -- true", "ERROR")],
)
def test_the_log_is_shown_as_far_as_is_asked_for(typed: str, shown: str) -> None:
    name, *words = typed.split()
    command = BY_NAME[name]
    options = CommandParser(command, name).parse_call(words)
    assert options is not None
    level = shown_level(options, is_chatty=command.takes_command)
    assert logging.getLevelName(level) == shown


# In processes of their own.


def test_the_command_runs_as_a_module(variables: dict[str, str]) -> None:
    done = run(variables, "doctor", "--json")
    assert done.stderr == b""
    assert done.returncode == DONE, done.stdout.decode()
    assert findings_in(done.stdout.decode())
    done = run({**variables, "BASETEN_FS_ENABLED": "0"}, "doctor")
    assert (done.returncode, done.stderr) == (FOUND_PROBLEMS, b"")
    done = run({**variables, "B10FS_CACHE_DIR": "relative"}, "list")
    assert (done.returncode, done.stdout) == (USAGE, b"")


def test_a_folder_whose_name_is_no_text_is_printed_all_the_same(variables: dict[str, str]) -> None:
    odd = os.fsdecode(os.fsencode(variables["TORCHINDUCTOR_CACHE_DIR"]) + b"-\xff\xe9")
    for encoding in ("utf-8:strict", "ascii:strict"):
        changed = {"TORCHINDUCTOR_CACHE_DIR": odd, "PYTHONIOENCODING": encoding}
        for arguments in (("info", "--json"), ("info",)):
            done = run({**variables, **changed}, *arguments)
            assert (done.returncode, done.stderr) == (DONE, b"")
            assert b"inductor-\\udcff" in done.stdout


@pytest.mark.parametrize("command", ["--help", "list", "doctor", "show", "completion bash"])
def test_a_reader_that_goes_away_changes_nothing(variables: dict[str, str], command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "b10_transfer", *command.split()],
            env=variables,
            cwd="/",
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=300,
            check=False,
        )
    assert (done.returncode, done.stderr) == (DONE, b"")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("list >&-", DONE),
        ("list 2>&-", DONE),
        ("show <&- >&- 2>&-", DONE),
        ("--help >&-", DONE),
        ("laod 2>&-", USAGE),
        ("laod 2>/dev/full", USAGE),
        ("list >/dev/full", FAILED),
        ("--help >/dev/full", FAILED),
    ],
)
def test_closed_and_full_streams_are_no_traceback(
    variables: dict[str, str], line: str, expected: int
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -m b10_transfer {line}'],
        env=variables,
        cwd="/",
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == expected, done.stderr
    assert b"Traceback" not in done.stderr
    assert (b"No space left" in done.stderr) == (expected == FAILED)


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor"],
        ["list"],
        ["show", "--json"],
        ["info"],
        ["load"],
        ["save"],
        ["gc"],
        ["check"],
        ["run", "-q", "--", "true"],
    ],
    ids=" ".join,
)
def test_it_imports_nothing_of_torch_or_triton(
    variables: dict[str, str], arguments: list[str]
) -> None:
    code = f"""
import sys
from b10_transfer.cli import main
code = main({arguments})
heavy = {{"torch", "triton", "numpy", "rich"}} & {{name.partition(".")[0] for name in sys.modules}}
sys.stderr.write(f"{{code}} {{sorted(heavy)}}")
"""
    done = run_python(code, variables)
    assert (done.returncode, done.stderr) == (0, "0 []")


def test_help_needs_nothing_of_the_store(variables: dict[str, str]) -> None:
    code = """
import sys
from b10_transfer.cli import main
code = main(["--help"])
heavy = {"lmdb", "zstandard", "blake3", "psutil", "rich"} & set(sys.modules)
sys.stderr.write(f"{code} {sorted(heavy)}")
"""
    done = run_python(code, variables)
    assert (done.returncode, done.stderr) == (0, "0 []")
    assert "doctor" in done.stdout
