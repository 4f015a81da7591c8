"""Disks that are full in the middle of something, and what is left running when it is given up."""

from __future__ import annotations

import signal
import threading
import uuid

import psutil
import pytest

import b10_transfer
from b10_transfer import CacheOperationInterrupted
from b10_transfer.cli import main
from b10_transfer.local.space import LocalSpace
from tests.support.cache_trees import leftovers, noise
from tests.support.mounts import fill, tmpfs
from tests.support.programs import SAVE, started_python, wait_until
from tests.support.sites import Site, become

MIB = 1 << 20
TREE = {f"{number:02d}/artifact.bin": noise(MIB, number) for number in range(12)}

SLOWLY_SAVED = f"""
import time
from b10_store.tree.scan import Scanned
read = Scanned.read
def slow_read(self):
    time.sleep(0.05)
    return read(self)
Scanned.read = slow_read
{SAVE}
"""


@pytest.mark.crash
def test_defect_24_a_saver_that_is_killed_leaves_no_process_and_nothing_in_its_work_folder(
    site: Site,
) -> None:
    saver, mark = site.host("saver", TREE), uuid.uuid4().hex
    with started_python(SLOWLY_SAVED, saver.variables(MARK=mark)) as process:
        wait_until(lambda: bool(site.files("packs")), process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert [found for found in psutil.process_iter() if is_marked(found, mark)] == []
    assert list(saver.work.iterdir()) == []


def is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("MARK") == mark
    except psutil.Error:
        return False


def test_defect_29_a_save_that_fails_on_the_command_line_says_so_by_its_exit_code(
    site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    become(site.host("saver", TREE), monkeypatch)
    with tmpfs(site.store, size=6 * MIB):
        assert main(["save"]) == 4
    said = capfd.readouterr()
    assert said.out == ""
    assert "too little disk space" in said.err
    assert main(["save"]) == 0


def test_defect_30_a_load_that_is_given_up_for_want_of_room_leaves_nothing_running(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.host("saver", TREE).save()
    loader = become(site.host("loader"), monkeypatch)
    # What other tests left behind may end meanwhile.
    threads, children = set(threading.enumerate()), set(psutil.Process().children())

    # Others take the room after the load has looked for it.
    def notice_nothing(*_: object) -> None:
        """Find enough room."""

    monkeypatch.setattr(LocalSpace, "require", notice_nothing)
    monkeypatch.setattr(LocalSpace, "watch", notice_nothing)
    with tmpfs(loader.root, size=2 * len(TREE) * MIB):
        fill(loader.root, leave=4 * MIB)
        with pytest.raises(CacheOperationInterrupted):
            b10_transfer.load()
        assert set(threading.enumerate()) <= threads
        assert set(psutil.Process().children()) <= children
        assert leftovers(loader.root) == []
