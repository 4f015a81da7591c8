"""Callers with odd settings, and callers that are odd processes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.cache_trees import compiled_graph

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Site

TREE = compiled_graph("model")

IN_A_DAEMON = """
import multiprocessing

def work(queue):
    from b10_transfer import load_compile_cache, save_compile_cache
    assert multiprocessing.current_process().daemon
    queue.put([load_compile_cache().name, save_compile_cache().name])

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    queue = context.SimpleQueue()
    process = context.Process(target=work, args=(queue,), daemon=True)
    process.start()
    print(*queue.get())
    process.join()
"""

WITHOUT_A_GUARD = """
import multiprocessing
multiprocessing.set_start_method({method!r})
import b10_transfer
print("begun")
print(b10_transfer.load_compile_cache().name, b10_transfer.save_compile_cache().name)
"""

METHODS = ["fork", "spawn", "forkserver"]


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


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_defect_27_a_daemonic_process_can_load_and_save(site: Site, method: str) -> None:
    site.host("saver", TREE).save()
    host = site.host("host", compiled_graph("another model", 1))
    code = IN_A_DAEMON.format(method=method)
    assert run_script(site.folder / "main.py", code, host.variables()) == "SUCCESS SUCCESS\n"


@pytest.mark.parametrize("method", METHODS)
def test_defect_28_a_program_without_a_main_guard_runs_once_whatever_the_start_method(
    site: Site, method: str
) -> None:
    site.host("saver", TREE).save()
    host = site.host("host", compiled_graph("another model", 1))
    code = WITHOUT_A_GUARD.format(method=method)
    assert run_script(site.folder / "main.py", code, host.variables()) == "begun\nSUCCESS SUCCESS\n"
