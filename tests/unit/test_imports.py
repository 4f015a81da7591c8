"""Forks and the interpreter's end while an operation begins: no hang, no traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.cache_trees import compiled_graph
from tests.support.programs import run_python

if TYPE_CHECKING:
    from tests.support.sites import Site

_CALLS = (
    "load_compile_cache()",
    "load_compile_cache_async().result(300)",
    "save_compile_cache()",
    "clear_local_cache()",
    "get_cache_info()",
    "list_available_caches()",
    "save_vllm_compile_cache()",
)

_WATCHED = """
import sys, threading
class Watch:
    names = []
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            self.names.append(name)
sys.meta_path.insert(0, Watch())
import b10_transfer
print(b10_transfer.load_compile_cache_async().result(300).name)
print(*(name for name in Watch.names if name in sys.modules))
"""

# The thread is in the middle of an import when the process forks.
_FORKED = """
import faulthandler, os, sys, threading, time
begun = threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "lmdb":
            begun.set()
            time.sleep(0.3)
sys.meta_path.insert(0, Slow())
import b10_transfer
thread = threading.Thread(target=b10_transfer.load_compile_cache)
thread.start()
begun.wait(300)
pid = os.fork()
if pid == 0:
    faulthandler.dump_traceback_later(300, exit=True)
    print(b10_transfer.load_compile_cache().name, flush=True)
    os._exit(0)
thread.join()
assert os.waitpid(pid, 0)[1] == 0
"""

_ASKED_IN_THE_CHILD = """
import os, threading
from b10_transfer.operations.background import BackgroundLoad
go = threading.Event()
begun = BackgroundLoad(lambda: go.wait(300))
pid = os.fork()
if pid == 0:
    print(begun.result().name, begun.done(), flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
go.set()
begun.result()
"""

_AT_THE_END = {
    "at exit": "import atexit\natexit.register(lambda: {call})",
    "with the last objects": ("class Last:\n    def __del__(self): {call}\nkept.append(Last())"),
    "after the main thread": (
        "import threading\ndef late():\n    threading.main_thread().join()\n"
        "    {call}\nthreading.Thread(target=late).start()"
    ),
}

_RAISING = """
import b10_transfer
from b10_transfer import CacheError
def call():
    try:
        b10_transfer.{call}
    except CacheError as error:
        say(error)
say = print
kept = []
"""


@pytest.fixture
def site(site: Site) -> Site:
    site.host("saver", compiled_graph("model")).save()
    return site


def test_a_load_beside_the_caller_imports_nothing_there(site: Site) -> None:
    done = run_python(_WATCHED, site.host("host").variables())
    assert (done.returncode, done.stdout) == (0, "SUCCESS\n\n"), done.stderr


def test_a_fork_waits_for_an_import_in_any_thread(site: Site) -> None:
    done = run_python(_FORKED, site.host("host").variables(), warnings="default")
    assert done.returncode == 0, done.stderr
    assert done.stdout in {"SUCCESS\n", "SKIPPED\n"}


def test_a_load_goes_on_in_one_process_alone(site: Site) -> None:
    done = run_python(_ASKED_IN_THE_CHILD, site.host("host").variables(), warnings="default")
    assert (done.returncode, done.stdout) == (0, "ERROR False\n"), done.stderr


@pytest.mark.parametrize("when", _AT_THE_END)
@pytest.mark.parametrize("before", ["", "imports.import_for(*imports.OPERATIONS)"])
def test_at_the_interpreters_end_a_call_is_a_line_and_no_traceback(
    site: Site, before: str, when: str
) -> None:
    host = site.host("host", compiled_graph("another model"))
    variables = host.variables(B10_TRANSFER_TIMEOUT_S="1")
    calls = "\n".join(_AT_THE_END[when].format(call=f"b10_transfer.{call}") for call in _CALLS)
    begin = (
        f"import b10_transfer\nfrom b10_transfer.operations import imports\n{before}\nkept = []\n"
    )
    code = f"import logging\nlogging.basicConfig()\n{begin}{calls}"
    done = run_python(code, variables)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("when", _AT_THE_END)
@pytest.mark.parametrize("call", ["load()", "save()", "Environment"])
def test_at_the_interpreters_end_what_raises_raises_a_cache_error(
    site: Site, call: str, when: str
) -> None:
    code = _RAISING.format(call=call) + _AT_THE_END[when].format(call="call()")
    done = run_python(code, site.host("host").variables())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "the interpreter is shutting down: call it earlier\n"
