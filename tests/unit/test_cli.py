"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from b10_transfer.cli import main
from tests.support.bare_machines import ordinary_programs
from tests.support.cache_trees import compiled_graph
from tests.support.machines import CPU_MACHINE, running_on
from tests.support.mounts import read_only
from tests.support.programs import run_python
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.support.sites import Host

TREE = compiled_graph("model")
FINDING_TYPES = {"subject": str, "text": str, "is_problem": bool}

NOTHING_WRONG, PROBLEMS, FAILED = 0, 1, 2


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(autouse=True)
def on_a_cpu() -> Generator[None]:
    with running_on(CPU_MACHINE):
        yield


@pytest.fixture
def healthy(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """This process is a host that saved."""
    monkeypatch.setenv("PATH", ordinary_programs(tmp_path / "bin"), prepend=os.pathsep)
    host = become(site.host("host", TREE), monkeypatch)
    host.save()
    return host


@pytest.fixture
def variables(site: Site, tmp_path: Path) -> dict[str, str]:
    """Of a host that saved and shall run in a process of its own."""
    path = f"{ordinary_programs(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}"
    found = site.host("host", TREE).variables(PATH=path)
    done = run_python("import b10_transfer; b10_transfer.save()", found)
    assert done.returncode == 0, done.stderr
    return found


def run(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "b10_transfer", *arguments],
        env=variables,
        cwd="/",
        capture_output=True,
        timeout=60,
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
    assert main(arguments) == NOTHING_WRONG
    out, err = capsys.readouterr()
    assert str(healthy.root) in out
    assert "!!" not in out
    assert err == ""


@pytest.mark.parametrize("arguments", [("doctor",), ("doctor", "--json")])
def test_where_something_is_wrong_the_exit_code_is_1(
    healthy: Host,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    become(healthy, monkeypatch, B10_CACHE_LOAD="0")
    assert main(arguments) == PROBLEMS
    out, err = capsys.readouterr()
    assert "loads are turned off by B10_CACHE_LOAD=0" in out
    assert err == ""


@pytest.mark.parametrize("arguments", [("doctor",), ("doctor", "--json")])
def test_a_bad_setting_is_told_in_a_line_and_the_exit_code_is_2(
    healthy: Host,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    become(healthy, monkeypatch, MAX_CACHE_SIZE_MB="many")
    assert main(arguments) == FAILED
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("b10-transfer: MAX_CACHE_SIZE_MB='many' ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [(), ("heal",), ("doctor", "--yaml"), ("doctor", "now")], ids=" ".join
)
def test_arguments_that_are_not_known_end_the_process_with_2(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == FAILED
    assert "usage: b10-transfer" in capsys.readouterr().err


def test_a_note_is_no_problem(healthy: Host, capsys: pytest.CaptureFixture[str]) -> None:
    with read_only(healthy.store):
        assert main(["doctor"]) == NOTHING_WRONG
    assert f"{healthy.store} is read-only here: loads work" in capsys.readouterr().out


def test_problems_are_marked_and_the_rest_is_aligned_with_them(
    healthy: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(healthy, monkeypatch, B10_CACHE_LOAD="0", B10_CACHE_ROOTS="inductor,triton")
    main(["doctor"])
    starts = {line[:13] for line in capsys.readouterr().out.splitlines()}
    assert starts == {"!! settings  ", "   stored    ", "   inductor  ", "   triton    "}


def test_json_has_the_same_findings_in_the_same_order(
    healthy: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    become(healthy, monkeypatch, BASETEN_FS_ENABLED="0", B10_CACHE_LOAD="0")
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    main(["doctor", "--json"])
    found = findings_in(capsys.readouterr().out)
    assert [item["is_problem"] for item in found].count(True) == 2
    for item, line in zip(found, lines, strict=True):
        mark = "!! " if item["is_problem"] else "   "
        assert line.startswith(mark + item["subject"])
        assert line.endswith("  " + item["text"])


# In processes of their own.


def test_the_command_runs_as_a_module(variables: dict[str, str]) -> None:
    done = run(variables, "doctor", "--json")
    assert done.stderr == b""
    assert done.returncode == NOTHING_WRONG, done.stdout.decode()
    assert findings_in(done.stdout.decode())
    done = run({**variables, "BASETEN_FS_ENABLED": "0"}, "doctor")
    assert (done.returncode, done.stderr) == (PROBLEMS, b"")
    done = run({**variables, "B10FS_CACHE_DIR": "relative"}, "doctor")
    assert (done.returncode, done.stdout) == (FAILED, b"")


def test_a_folder_whose_name_is_no_text_is_printed_all_the_same(variables: dict[str, str]) -> None:
    odd = os.fsdecode(os.fsencode(variables["TORCHINDUCTOR_CACHE_DIR"]) + b"-\xff\xe9")
    for encoding in ("utf-8:strict", "ascii:strict"):
        changed = {"TORCHINDUCTOR_CACHE_DIR": odd, "PYTHONIOENCODING": encoding}
        for arguments in (("doctor",), ("doctor", "--json")):
            done = run({**variables, **changed}, *arguments)
            assert (done.returncode, done.stderr) == (NOTHING_WRONG, b"")
            assert b"inductor-\\udcff" in done.stdout


def test_a_reader_that_goes_away_is_no_failure(variables: dict[str, str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "b10_transfer", "doctor"],
            env=variables,
            cwd="/",
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert b"Traceback" not in done.stderr
    assert done.returncode != PROBLEMS


@pytest.mark.parametrize("arguments", ["['doctor']", "['doctor', '--json']"])
def test_it_imports_nothing_of_torch_or_triton(variables: dict[str, str], arguments: str) -> None:
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
try:
    main(["--help"])
except SystemExit as stopped:
    heavy = {"lmdb", "zstandard", "blake3", "psutil"} & set(sys.modules)
    sys.stderr.write(f"{stopped.code} {sorted(heavy)}")
"""
    done = run_python(code, variables)
    assert (done.returncode, done.stderr) == (0, "0 []")
    assert "doctor" in done.stdout
