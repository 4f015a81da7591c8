"""What the functions that return a status log, and what they do not."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_transfer import OperationStatus as Status
from tests.support.api_answers import only_record
from tests.support.cache_trees import TRITON_HASH, compiled_graph, write_tree
from tests.support.programs import run_python
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TREE = compiled_graph("model")
MORE = compiled_graph("another model", 1)

NUMBER = r"\d+"
SIZE = r"\d+\.\d MB"
SECONDS = r"\d+\.\d\d s"
KEY = r"[0-9a-f]{32}"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_normal_load_and_save_log_one_line_each_with_counts_bytes_and_seconds(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site.host("saver", TREE).save()
    host = become(site.host("host"), monkeypatch)
    expected: list[tuple[Callable[[], Status], str]] = [
        (
            b10_transfer.load_compile_cache,
            rf"load: {NUMBER} artifacts loaded \({SIZE}\), {NUMBER} already here in {SECONDS}; "
            rf"environment {KEY}",
        ),
        (
            b10_transfer.save_compile_cache,
            rf"save: {NUMBER} artifacts here, {NUMBER} added, {NUMBER} superseded, "
            rf"{SIZE} uploaded, {NUMBER} compiled since the load in {SECONDS}; environment {KEY}",
        ),
    ]
    for operation, line in expected:
        caplog.clear()
        assert operation()
        record = only_record(caplog)
        assert record.levelno == logging.INFO
        assert re.fullmatch(line, record.getMessage()), record.getMessage()
        host.write(MORE)


def test_nothing_stored_yet_is_told_in_one_line_too(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    become(site.host("host"), monkeypatch)
    assert b10_transfer.load_compile_cache() is Status.DOES_NOT_EXIST
    record = only_record(caplog)
    assert record.levelno == logging.INFO
    assert "nothing is stored" in record.getMessage()


def test_artifacts_that_could_not_be_had_are_told_as_a_warning_in_one_line(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saver = site.host("saver", TREE)
    saver.save()
    old_packs = site.files("packs")
    saver.write(MORE)
    saver.save()
    for pack in old_packs:
        pack.unlink()
    become(site.host("host"), monkeypatch)
    assert b10_transfer.load_compile_cache() is Status.SUCCESS
    record = only_record(caplog)
    assert record.levelno == logging.WARNING
    assert f"{len(TREE)} could not be had and will be compiled" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_nothing_is_printed_and_no_handler_is_installed(site: Site) -> None:
    site.host("saver", TREE).save()
    code = """
import logging
import b10_transfer
root = logging.getLogger()
ours = [logging.getLogger("b10_transfer"), logging.getLogger("b10_transfer.store")]
assert b10_transfer.load_compile_cache().name == "SUCCESS"
assert b10_transfer.save_compile_cache().name == "SUCCESS"
assert b10_transfer.get_cache_info()["error"] is None
assert b10_transfer.list_available_caches()["error"] is None
assert b10_transfer.clear_local_cache()
for logger in (root, *ours):
    assert logger.handlers == []
for logger in ours:
    assert logger.level == logging.NOTSET
    assert logger.propagate
"""
    host = site.host("host")
    write_tree(host.triton / TRITON_HASH, {"more.cubin": b"code"})
    done = run_python(code, host.variables())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
