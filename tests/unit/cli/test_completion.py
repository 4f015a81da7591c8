"""What shells offer, asked of the shells themselves; and that the documents have every command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from b10_transfer.cli import main
from b10_transfer.cli.command_table import COMMANDS, COMPANION
from b10_transfer.cli.completion import completion_script
from b10_transfer.cli.exit_codes import FAILED
from tests.support.cache_trees import compiled_graph
from tests.support.sites import CHECKOUT, Site

if TYPE_CHECKING:
    from b10_transfer.cli.command_values import Command

SHELLS = ("bash", "zsh", "fish", "tcsh")
NAMES = {command.name for command in COMMANDS}

BASH = shutil.which("bash") or ""

ASK_BASH = r"""
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_"${1//-/_}" "$1" "${COMP_WORDS[COMP_CWORD]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Of a host that saved, with the command in its PATH."""
    host = Site(tmp_path).host("host", compiled_graph("model"))
    host.save()
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "b10-transfer"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m b10_transfer "$@"\n')
    program.chmod(0o755)
    return host.variables(PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "completion.bash"
    path.write_text(completion_script("bash"))
    return path


def offered_by_bash(script: Path, variables: dict[str, str], *words: str) -> set[str]:
    done = subprocess.run(
        [BASH, "--norc", "-c", ASK_BASH, "bash", str(script), *words],
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script_of_each_shell(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    script = completion_script(shell)
    assert main(["completion", shell]) == 0
    assert capsys.readouterr() == (f"{script}\n", "")
    assert main(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"shell": shell, "script": script}
    for command in COMMANDS:
        assert command.name in script
    assert COMPANION.name in script


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_understands_its_script(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    script = completion_script(shell).encode()
    done = subprocess.run(
        [shell, "-n"], input=script, capture_output=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_without_shtab_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == FAILED
    out, err = capsys.readouterr()
    assert out == ""
    assert "pip install 'b10-transfer[completion]'" in err


def test_bash_offers_commands_options_and_what_is_stored(
    script: Path, variables: dict[str, str]
) -> None:
    assert offered_by_bash(script, variables, "b10-transfer", "") >= NAMES
    assert offered_by_bash(script, variables, "b10-transfer", "l") == {"list", "load"}
    options = offered_by_bash(script, variables, "b10-transfer", "check", "--re")
    assert options == {"--read-data", "--repair"}
    assert offered_by_bash(script, variables, "b10-compile-cache", "--no-w") == {"--no-watch"}
    (path,) = (Path(variables["B10FS_CACHE_DIR"]) / "manifests").iterdir()
    key = path.name.partition("~")[0]
    assert offered_by_bash(script, variables, "b10-transfer", "show", key[:3]) == {key}


@pytest.mark.parametrize("command", [*COMMANDS, COMPANION], ids=lambda command: command.name)
def test_bash_offers_every_option_of_each_command(
    script: Path, variables: dict[str, str], command: Command
) -> None:
    words = [command.name] if command is COMPANION else ["b10-transfer", command.name]
    expected = {
        flag for option in command.all_options for flag in option.flags if flag.startswith("--")
    }
    offered = offered_by_bash(script, variables, *words, "--")
    assert offered - {"--", "--help"} == expected


def test_the_document_has_every_command_and_every_option() -> None:
    text = (CHECKOUT / "docs/command-line.md").read_text()
    for command in COMMANDS:
        _, _, section = text.partition(f"## `b10-transfer {command.name}")
        section = section.partition("\n## ")[0]
        assert section, command.name
        for option in command.options:
            assert all(f"`{flag}" in section for flag in option.flags), option.flag
    _, _, section = text.partition(f"## `{COMPANION.name}")
    for option in COMPANION.options:
        assert all(f"`{flag}" in section for flag in option.flags), option.flag
