"""Settings that make no sense are an error and a line in the log, and nothing more."""

from __future__ import annotations

import logging

import pytest

import b10_transfer
from b10_transfer import OperationStatus as Status
from tests.support.api_answers import info, listing, only_record
from tests.support.cache_trees import compiled_graph, snapshot
from tests.support.programs import run_python
from tests.support.sites import Site, become

TREE = compiled_graph("model")

NONSENSE = [
    ("BASETEN_FS_ENABLED", "perhaps"),
    ("BASETEN_FS_ENABLED", "2"),
    ("B10FS_CACHE_DIR", "relative/folder"),
    ("B10FS_CACHE_DIR", "/mnt/../etc"),
    ("B10FS_CACHE_DIR", "/"),
    ("B10FS_CACHE_DIR", "~"),
    ("B10FS_CACHE_DIR", "s3://bucket/cache"),
    ("TORCHINDUCTOR_CACHE_DIR", "/etc"),
    ("LOCAL_WORK_DIR", "relative"),
    ("LOCAL_WORK_DIR", "/a/../b"),
    ("MAX_CACHE_SIZE_MB", "abc"),
    ("MAX_CACHE_SIZE_MB", "-5"),
    ("MAX_CACHE_SIZE_MB", "1.5"),
    ("MAX_CACHE_SIZE_MB", "9" * 400),
    ("MAX_CONCURRENT_SAVES", "0"),
    ("MAX_CONCURRENT_SAVES", "many"),
    ("MAX_CONCURRENT_SAVES", "1\n2"),
    ("B10_CACHE_NAMESPACE", "Two Words"),
    ("B10_CACHE_NAMESPACE", "../up"),
    ("B10_CACHE_LOAD", "sometimes"),
    ("B10_CACHE_ROOTS", "inductor,tritn"),
    ("B10_CACHE_HEADERS", "some"),
    ("B10_STRICT_ROOTS", "partly"),
]


@pytest.mark.parametrize(("variable", "value"), NONSENSE)
def test_nonsense_in_a_setting_is_an_error_and_one_line_that_names_it(
    site: Site,
    variable: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = site.host("host", TREE)
    become(host, monkeypatch, **{variable: value})
    named = f"{variable}={value!r}"
    before = snapshot(host.folder)
    for operation in (b10_transfer.load_compile_cache, b10_transfer.save_compile_cache):
        caplog.clear()
        assert operation() is Status.ERROR
        record = only_record(caplog)
        assert record.levelno == logging.ERROR
        assert named in record.getMessage()
        assert "\n" not in record.getMessage()
    caplog.clear()
    assert b10_transfer.clear_local_cache() is False
    assert named in only_record(caplog).getMessage()
    for answer in (info(), listing()):
        assert named in answer["error"]
    assert snapshot(host.folder) == before
    assert not site.store.exists()


def test_nonsense_in_every_setting_does_not_reach_the_import(site: Site) -> None:
    variables = site.host("host").variables(**dict(NONSENSE))
    done = run_python("import b10_transfer, b10_tcache", variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "ATEN_CPU_CAPABILITY", "TRITON_HOME"])
def test_nonsense_in_a_variable_of_others_does_not_stop_a_save(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(site.host("host", TREE), monkeypatch, **{name: "\udcff non/sense"})
    assert b10_transfer.save_compile_cache() is Status.SUCCESS


def test_a_triton_cache_at_the_home_folder_itself_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = site.host("host", TREE)
    home = host.variables()["HOME"]
    become(host, monkeypatch, TRITON_CACHE_DIR=home)
    assert b10_transfer.save_compile_cache() is Status.ERROR
    assert f"TRITON_CACHE_DIR={home!r}" in only_record(caplog).getMessage()
