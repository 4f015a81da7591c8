"""Little address space, no thread, no descriptor: one clear line, no wrong key, no hang."""

from __future__ import annotations

import sys

import pytest

from b10_transfer import OperationStatus, load_compile_cache
from tests.support.cache_trees import compiled_graph
from tests.support.programs import run_python
from tests.support.sites import Site, become

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")

_LIMITED = """
import logging, resource, sys
logging.basicConfig(level=logging.INFO)
import b10_transfer
from b10_transfer.operations import imports
imports.import_for(*imports.OPERATIONS)
{limit}
print(b10_transfer.load_compile_cache().name, b10_transfer.save_compile_cache().name)
"""
_NO_DESCRIPTORS = """
import os
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free + {left}, free + {left}))
"""
_LITTLE_SPACE = """
import psutil
limit = psutil.Process().memory_info().vms + ({mebibytes} << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""


@pytest.fixture
def site(site: Site) -> Site:
    site.host("saver", compiled_graph("model")).save()
    return site


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A store with so many artifacts that a load has work for many threads."""
    site = Site(tmp_path_factory.mktemp("large"))
    tree = {f"aa/c{number:04}.py": b"x = %d  # %d\n" % (number, 10**3000) for number in range(3000)}
    site.host("saver", tree).save()
    return site


@pytest.mark.parametrize("left", [0, 1, 3, 10])
def test_without_descriptors_there_is_no_key_and_so_an_error(site: Site, left: int) -> None:
    limit = _NO_DESCRIPTORS.format(left=left)
    host = site.host("host", compiled_graph("another model"))
    done = run_python(_LIMITED.format(limit=limit), host.variables())
    assert done.stdout == "ERROR ERROR\n", done.stderr
    lines = done.stderr.splitlines()
    assert [line.partition("b10_transfer:")[2] for line in lines] == [
        f"{what}: too many files are open in this process: raise `ulimit -n`"
        for what in ("load", "save")
    ]
    assert "Traceback" not in done.stderr
    assert len(site.files("manifests")) == 1


def test_with_hardly_any_address_space_nothing_is_begun(site: Site) -> None:
    limit = _LITTLE_SPACE.format(mebibytes=40)
    done = run_python(_LIMITED.format(limit=limit), site.host("host").variables())
    assert done.stdout == "ERROR ERROR\n", done.stderr
    assert done.stderr.count("too little memory for this process") == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("mebibytes", [100, 180, 220])
def test_with_little_address_space_a_load_has_few_threads_and_ends(
    large: Site, mebibytes: int
) -> None:
    limit = _LITTLE_SPACE.format(mebibytes=mebibytes)
    host = large.host(f"host {mebibytes}")
    done = run_python(_LIMITED.format(limit=limit), host.variables())
    assert done.returncode == 0, done.stderr
    load, save = done.stdout.split()
    assert {load, save} <= {"SUCCESS", "SKIPPED", "ERROR"}
    assert ("ERROR" in {load, save}) == ("too little memory" in done.stderr)
    assert "Traceback" not in done.stderr


def test_without_a_thread_the_line_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    become(site.host("host"), monkeypatch)

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert load_compile_cache() is OperationStatus.ERROR
    assert "cannot start a thread: the limit is reached" in caplog.text
    assert "Traceback" not in caplog.text
