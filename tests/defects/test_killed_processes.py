"""Processes that are killed, stopped or slow while they save or load."""

from __future__ import annotations

import os
import signal
import time

import pytest

import b10_transfer
from b10_store.format.frame import decompress_frame
from b10_transfer import OperationStatus
from tests.support.cache_trees import compiled_graph, leftovers, noise
from tests.support.programs import LOAD, SAVE, run_python, started_python, wait_until
from tests.support.sites import Site, become

pytestmark = pytest.mark.crash

TREE = {f"{number:02d}/artifact.bin": noise(100_000, number) for number in range(40)}

# Each frame and each file takes its time, so that there is a middle to be killed in.
SLOWLY_SAVED = f"""
import time
from b10_store.remote import folder
write = folder._write_fully
def slow_write(handle, data):
    time.sleep(0.3)
    write(handle, data)
folder._write_fully = slow_write
{SAVE}
"""


def uploading(site: Site) -> bool:
    return any(".tmp-" in path.name for path in site.files("packs"))


def let_a_minute_pass(site: Site) -> None:
    """Make everything that a saver at work keeps fresh look as if it was silent for an hour."""
    past = time.time() - 3600
    for path in [*site.files("sessions"), *site.files("packs")]:
        os.utime(path, (past, past))


@pytest.mark.parametrize("maker", ["tree.frames_ahead", "packs.writer"])
def test_defect_01_a_thread_of_a_save_that_dies_is_an_error_and_publishes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, maker: str
) -> None:
    def run_out_of_memory(raw: bytes) -> bytes:
        raise MemoryError(len(raw))

    # The large file is compressed when it is written, the others when they are hashed.
    tree = {**TREE, "large.bin": noise(2 << 20)}
    become(site.host("saver", tree), monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(f"b10_store.{maker}.compress_frame", run_out_of_memory)
        assert b10_transfer.save_compile_cache() is OperationStatus.ERROR
    for folder in ("manifests", "packs", "sessions"):
        assert site.files(folder) == []
    assert b10_transfer.save_compile_cache() is OperationStatus.SUCCESS


def test_defect_02_a_thread_of_a_load_that_dies_is_an_error_and_leaves_no_part_of_the_tree(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.host("saver", TREE).save()
    loader = become(site.host("loader"), monkeypatch)
    frames_left = iter(range(2))

    def run_out_of_memory(stored: bytes | memoryview, raw_size: int) -> bytes:
        if next(frames_left, None) is None:
            raise MemoryError(raw_size)
        return decompress_frame(stored, raw_size)

    with monkeypatch.context() as patched:
        patched.setattr("b10_store.packs.reader.decompress_frame", run_out_of_memory)
        assert b10_transfer.load_compile_cache() is OperationStatus.ERROR
    assert loader.tree() == {}
    assert leftovers(loader.root) == []
    assert b10_transfer.load_compile_cache() is OperationStatus.SUCCESS
    assert loader.tree() == TREE


def test_defect_09_and_12_a_slow_saver_loses_nothing_to_one_that_overtakes_it(
    site: Site,
) -> None:
    first, second = compiled_graph("first"), compiled_graph("second")
    slow, quick = site.host("slow", {**TREE, **first}), site.host("quick", {**TREE, **second})
    with started_python(SLOWLY_SAVED, slow.variables()) as saver:
        wait_until(lambda: uploading(site), saver)
        saver.send_signal(signal.SIGSTOP)
        half_written = [path for path in site.files("packs") if ".tmp-" in path.name]
        let_a_minute_pass(site)
        assert quick.save(wait=True).status is OperationStatus.SUCCESS
        assert site.host("between").load().loaded == len({**TREE, **second})
        assert [path for path in half_written if path.exists()] == half_written

        saver.send_signal(signal.SIGCONT)
        out, err = saver.communicate(timeout=300)
    assert (out, err) == ("SUCCESS\n", "")
    loader = site.host("loader")
    assert loader.load().unavailable == 0
    assert loader.tree() == {**TREE, **first, **second}


def test_defect_11_lock_files_of_others_in_the_store_are_of_no_consequence(site: Site) -> None:
    site.host("saver", TREE).save()
    strange = ["copy_out.lock", "cache_0.incomplete.tar.gz", "packs/x.lock", "manifests/.lock"]
    for name in strange:
        (site.store / name).touch()
    done = run_python(LOAD, site.host("loader").variables(), seconds=300)
    assert (done.stdout, done.stderr) == ("SUCCESS\n", "")
    assert [name for name in strange if (site.store / name).exists()] == strange
