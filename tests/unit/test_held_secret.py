"""The signing secret is in no environment of what a process starts, nor in its own any more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from b10_transfer import CacheError
from tests.support.cache_trees import compiled_graph
from tests.support.programs import run_python
from tests.support.run_programs import session_of, started_run

if TYPE_CHECKING:
    from tests.support.sites import Site

SECRET = "-".join(["a", "phrase", "of", "this", "test"])
KEY = "B10_CACHE_SIGNING_KEY"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# Twice, as the second call finds what the first one has left.
_CHILDREN = """
import os, subprocess, sys
import b10_transfer
statuses = [b10_transfer.load_compile_cache().name, b10_transfer.save_compile_cache().name]
look = "print(open('/proc/self/environ').read())"
seen = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True).stdout
reading, writing = os.pipe()
pid = os.fork()
if pid == 0:
    os.write(writing, open("/proc/self/environ", "rb").read())
    os._exit(0)
os.waitpid(pid, 0)
os.close(writing)
seen += open(reading).read() + open("/proc/self/environ").read() + str(dict(os.environ))
print(*statuses, %r in seen)
"""

_SAVED_BY_A_CHILD = """
import subprocess, sys
import b10_transfer
b10_transfer.load_compile_cache()
save = "import logging; logging.basicConfig(); import b10_transfer as b; b.save_compile_cache()"
done = subprocess.run([sys.executable, "-c", save], capture_output=True, text=True)
print(done.stderr)
"""

_TOO_SHORT = """
import os
import b10_transfer
for _ in range(2):
    print(b10_transfer.get_cache_info()["error"])
print(os.environ["B10_CACHE_SIGNING_KEY"])
"""


def test_compilers_and_workers_do_not_inherit_it(site: Site) -> None:
    host = site.host("host", compiled_graph("model"))
    variables = host.variables(**{KEY: SECRET})
    done = run_python(_CHILDREN % SECRET, variables, warnings="default")
    assert done.stdout == "DOES_NOT_EXIST SUCCESS False\n", done.stderr
    other = site.host("other").load(**{KEY: SECRET})
    assert other.loaded > 0
    with pytest.raises(CacheError, match="does not fit any key"):
        site.host("without it").load(**{KEY: "another phrase altogether"})


def test_a_process_that_lacks_it_does_not_go_on_unsigned(site: Site) -> None:
    host = site.host("host", compiled_graph("model"))
    done = run_python(_SAVED_BY_A_CHILD, host.variables(**{KEY: SECRET}))
    assert f"ERROR:b10_transfer:save: {KEY} was given to the process that started" in done.stdout
    assert f"{KEY}_FILE" in done.stdout
    assert site.files("manifests") == []


def test_one_that_is_not_acceptable_is_taken_too_and_told_each_time(site: Site) -> None:
    done = run_python(_TOO_SHORT, site.host("host").variables(**{KEY: "short"}))
    first, second, left = done.stdout.splitlines()
    assert "shorter than 16 characters" in first
    assert first == second
    assert "short" not in left


def test_neither_a_command_nor_its_helpers_have_it(site: Site) -> None:
    host = site.host("host", compiled_graph("model"))
    with started_run(host, variables=host.variables(**{KEY: SECRET})) as run:
        run.wait_for(lambda: run.is_started and len(session_of(run.pid)) >= 3)
        for pid in session_of(run.pid):
            assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
            assert SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        run.send(15)
        assert run.wait() == 0
    assert len(site.files("manifests")) == 1
    assert site.host("other").load(**{KEY: SECRET}).loaded > 0
