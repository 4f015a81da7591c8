"""Folders that a command chose for itself, and whose word is taken for them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from b10_transfer.servers.find.processes import variables_of
from b10_transfer.servers.follow.chosen_folders import ChosenFolders
from b10_transfer.settings import Settings
from tests.support.crowd import OTHER_USER
from tests.support.programs import started_python
from tests.support.sites import Host

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    import psutil

needs_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can become another user"
)

BECOME_ANOTHER = f"""
import os, sys
print(flush=True)
sys.stdin.readline()
os.setresuid({OTHER_USER}, {OTHER_USER}, {OTHER_USER})
print(flush=True)
sys.stdin.readline()
"""


@needs_root
@pytest.mark.parametrize("becomes_another", [False, True])
def test_what_a_process_says_that_becomes_another_users_meanwhile_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes_another: bool
) -> None:
    host = Host(tmp_path / "store", tmp_path / "host")
    own = Settings.from_environment(host.variables())
    chosen = str(tmp_path / "chosen")
    variables = host.variables(TORCHINDUCTOR_CACHE_DIR=chosen)
    with started_python(BECOME_ANOTHER, variables) as process:
        hear(process)

        def read_late(asked: psutil.Process) -> dict[str, str] | None:
            found = variables_of(asked)
            if becomes_another:
                tell(process)
                hear(process)
            return found

        monkeypatch.setattr("b10_transfer.servers.follow.chosen_folders.variables_of", read_late)
        found = ChosenFolders(own, None).look(process.pid)
    assert (found is None) == becomes_another
    if found is not None:
        assert found.variables["TORCHINDUCTOR_CACHE_DIR"] == chosen


def hear(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "\n"


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
