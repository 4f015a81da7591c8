"""Callers with odd settings, and callers that are odd processes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_transfer import OperationStatus
from tests.support.cache_trees import compiled_graph
from tests.support.programs import run_python
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from pathlib import Path

TREE = compiled_graph("model")

IN_A_DAEMON = """
import multiprocessing

def work(queue):
    import b10_transfer
    assert multiprocessing.current_process().daemon
    queue.put([b10_transfer.{function}().name])

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    queue = context.SimpleQueue()
    process = context.Process(target=work, args=(queue,), daemon=True)
    process.start()
    print(*queue.get())
    process.join()
"""

WITHOUT_A_GUARD = """
import multiprocessing
multiprocessing.set_start_method("{method}")
import b10_transfer
print("begun")
print(b10_transfer.{function}().name)
"""

METHODS = ["fork", "spawn", "forkserver"]
FUNCTIONS = ["load_compile_cache", "save_compile_cache"]


def run_script(script: Path, code: str, variables: dict[str, str]) -> str:
    """Run code from a file, so that a child that imports the main program finds it."""
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_defect_25_a_number_that_is_none_does_not_break_the_import(site: Site) -> None:
    variables = site.host("host", TREE).variables(MAX_CACHE_SIZE_MB="abc")
    code = "import b10_transfer; print(b10_transfer.save_compile_cache().name)"
    done = run_python(code, variables)
    assert done.stdout == "ERROR\n"
    (line,) = done.stderr.splitlines()
    assert "MAX_CACHE_SIZE_MB='abc'" in line


def test_defect_26_yes_switches_the_cache_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    become(site.host("host", TREE), monkeypatch, BASETEN_FS_ENABLED="yes")
    assert b10_transfer.get_cache_info()["b10fs_enabled"] is True
    assert b10_transfer.save_compile_cache() is OperationStatus.SUCCESS


def test_defect_26_a_switch_that_is_neither_on_nor_off_is_told_without_an_exception(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(site.host("host", TREE), monkeypatch, BASETEN_FS_ENABLED="perhaps")
    for answer in (b10_transfer.get_cache_info(), b10_transfer.list_available_caches()):
        assert answer["b10fs_enabled"] is False
        assert "BASETEN_FS_ENABLED='perhaps'" in answer["error"]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_defect_27_a_daemonic_process_can_load_and_save(
    site: Site, method: str, function: str
) -> None:
    site.host("saver", TREE).save()
    host = site.host("host", compiled_graph("another model", 1))
    code = IN_A_DAEMON.format(function=function, method=method)
    assert run_script(site.folder / "main.py", code, host.variables()) == "SUCCESS\n"


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_defect_28_a_program_without_a_main_guard_runs_once_whatever_the_start_method(
    site: Site, method: str, function: str
) -> None:
    site.host("saver", TREE).save()
    host = site.host("host", compiled_graph("another model", 1))
    code = WITHOUT_A_GUARD.format(function=function, method=method)
    assert run_script(site.folder / "main.py", code, host.variables()) == "begun\nSUCCESS\n"
