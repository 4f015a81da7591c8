"""Ctrl-C ends a load at once, however slow the shared folder is."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from b10_transfer.operations import transfer
from b10_transfer.operations.context import open_context
from tests.support.cache_trees import compiled_graph, leftovers
from tests.support.programs import started_python, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sites import Site

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

# Each read takes longer than anybody waits who has typed Ctrl-C.
_SLOW = """
import os, sys, time
from b10_store.remote.folder import FolderRemote
from b10_transfer.cli.program import main
read = FolderRemote.read
def slowly(self, name, ranges):
    for data in read(self, name, ranges):
        if name.startswith("packs/"):
            open(sys.argv[1], "w").close()
            time.sleep(200)
        yield data
FolderRemote.read = slowly
sys.exit(main(["load"]))
"""


@pytest.fixture
def site(site: Site) -> Site:
    site.host("saver", compiled_graph("model")).save()
    return site


def test_ctrl_c_ends_a_load_within_half_a_second_and_leaves_nothing(site: Site) -> None:
    host = site.host("host")
    mark = site.folder / "mark"
    code = _SLOW.replace("sys.argv[1]", repr(str(mark)))
    with started_python(code, host.variables()) as process:
        wait_until(mark.exists, process)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 130
        seconds = time.monotonic() - began
        assert process.stderr is not None
        told = process.stderr.read()
    # Half a second, and much more on a busy machine; what was being read takes minutes.
    assert seconds < 60
    assert "interrupted" in told
    assert "Traceback" not in told
    assert leftovers(host.root) == []


def test_a_load_in_a_program_of_the_users_is_interrupted_as_soon(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = site.host("host")
    settings = host.settings()
    remote_type = type(open_context(settings).store._remote)  # pyright: ignore[reportPrivateUsage]
    read, go = remote_type.read, threading.Event()

    def stuck(self: object, name: str, ranges: object) -> Iterator[bytes]:
        for data in read(self, name, ranges):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            if name.startswith("packs/"):
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
                go.wait(300)
            yield data

    monkeypatch.setattr(remote_type, "read", stuck)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        transfer.load(settings)
    # Likewise.
    assert time.monotonic() - began < 60
    go.set()
    assert not compiled_graph("model").keys() & host.tree().keys()
    assert leftovers(host.root) == []
