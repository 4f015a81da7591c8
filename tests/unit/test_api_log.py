"""What the functions that return a status log, and what they do not."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_transfer import OperationStatus as Status
from tests.support.api_answers import only_record
from tests.support.cache_trees import TRITON_HASH, compiled_graph, elf, write_tree
from tests.support.machines import CPU_MACHINE, running_on
from tests.support.programs import run_python
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.sites import Host

TREE = compiled_graph("model")
MORE = compiled_graph("another model", 1)
LITTLE = {"zz/only.py": b"value = 1"}

NUMBER = r"\d+"
SIZE = r"\d+(\.\d)? [kM]?B"
SECONDS = r"\d+\.\d\d s"
KINDS = r"\d+ \S+(?:, \d+ \S+)*"
KEY = r"[0-9a-f]{32}"

HINT = "`b10-transfer doctor`"


_CLOCK_TICK_SECONDS = 0.02


def compile_in(host: Host, tree: Mapping[str, bytes]) -> None:
    """Write what a compiler leaves, later than any load by the filesystem's clock too."""
    time.sleep(_CLOCK_TICK_SECONDS)
    host.write(tree)


def warning(caplog: pytest.LogCaptureFixture) -> str:
    """The one line that was logged, which is a warning."""
    record = only_record(caplog)
    assert record.levelno == logging.WARNING
    assert "\n" not in record.getMessage()
    return record.getMessage()


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
            rf"save: {NUMBER} artifacts here, {NUMBER} added, {NUMBER} replaced in the store, "
            rf"{SIZE} uploaded, {NUMBER} loaded before, {NUMBER} compiled since \({KINDS}\) "
            rf"in {SECONDS}; environment {KEY}",
        ),
    ]
    for operation, line in expected:
        caplog.clear()
        assert operation()
        record = only_record(caplog)
        assert record.levelno == logging.INFO
        assert re.fullmatch(line, record.getMessage()), record.getMessage()
        compile_in(host, LITTLE)


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
    assert f"{len(TREE)} could not be read and will be compiled" in record.getMessage()
    assert "\n" not in record.getMessage()


# A cache that is loaded and does not serve.


def test_a_replica_that_loaded_much_and_compiled_much_is_told_so_in_one_warning_with_the_kinds(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.host("saver", TREE).save()
    host = become(site.host("host"), monkeypatch)
    assert b10_transfer.load_compile_cache() is Status.SUCCESS
    compile_in(host, MORE)
    caplog.clear()
    assert b10_transfer.save_compile_cache() is Status.SUCCESS
    line = warning(caplog)
    assert f"{len(TREE)} loaded before, {len(MORE)} compiled since" in line
    assert "(1 .py, 1 .so, 1 aotautograd, 1 fxgraph)" in line
    assert "much was compiled although much had been loaded" in line
    assert HINT in line


def test_it_is_told_again_by_a_save_that_finds_nothing_new(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.host("saver", TREE).save()
    host = become(site.host("host"), monkeypatch)
    b10_transfer.load_compile_cache()
    compile_in(host, MORE)
    b10_transfer.save_compile_cache()
    caplog.clear()
    assert b10_transfer.save_compile_cache() is Status.SKIPPED
    assert HINT in warning(caplog)


def test_a_replica_that_made_what_it_had_loaded_again_is_told_so_too(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.host("saver", TREE).save()
    host = become(site.host("host"), monkeypatch)
    b10_transfer.load_compile_cache()
    rebuilt = {path: elf(b"rebuilt") for path in TREE if path.endswith(".so")}
    compile_in(host, {**rebuilt, **LITTLE})
    caplog.clear()
    assert b10_transfer.save_compile_cache() is Status.SUCCESS
    assert f"{len(TREE) - 1} loaded before, 2 compiled since (1 .py, 1 .so)" in warning(caplog)
    assert HINT in caplog.text


@pytest.mark.parametrize("compiled", [{}, LITTLE], ids=["nothing", "next to nothing"])
def test_a_replica_that_compiled_next_to_nothing_after_its_load_gets_no_hint(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    compiled: dict[str, bytes],
) -> None:
    caplog.set_level(logging.INFO)
    site.host("saver", TREE).save()
    host = become(site.host("host"), monkeypatch)
    b10_transfer.load_compile_cache()
    compile_in(host, compiled)
    caplog.clear()
    assert b10_transfer.save_compile_cache()
    assert only_record(caplog).levelno == logging.INFO
    assert f"{len(TREE)} loaded before, {len(compiled)} compiled since" in caplog.text
    assert HINT not in caplog.text


def test_a_cold_replica_that_compiled_everything_gets_no_hint(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    become(site.host("host", TREE), monkeypatch)
    b10_transfer.load_compile_cache()
    caplog.clear()
    assert b10_transfer.save_compile_cache() is Status.SUCCESS
    assert only_record(caplog).levelno == logging.INFO
    assert "loaded before" not in caplog.text


# What differs from the machine that saved.


def test_where_nothing_is_stored_the_fields_are_named_that_the_nearest_environment_has_otherwise(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    far = CPU_MACHINE.but(torch="2.11.0+cpu", triton="3.5.0", c_library="glibc 2.31")
    for machine, name in ((CPU_MACHINE.but(torch="2.12.0+cpu"), "near"), (far, "far")):
        with running_on(machine):
            site.host(name, TREE).save()
    become(site.host("host"), monkeypatch)
    with running_on(CPU_MACHINE):
        assert b10_transfer.load_compile_cache() is Status.DOES_NOT_EXIST
    line = only_record(caplog).getMessage()
    assert (
        "nothing is stored for this environment yet; the nearest has torch 2.12.0+cpu "
        "(here 2.13.0+cpu);"
    ) in line
    assert "2.11.0" not in line
    assert "glibc" not in line


def test_where_this_environment_has_something_in_other_namespaces_these_are_named(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running_on(CPU_MACHINE):
        site.host("saver", TREE).save()
        site.host("saver of b", TREE).save(B10_CACHE_NAMESPACE="model-b")
        become(site.host("host"), monkeypatch, B10_CACHE_NAMESPACE="model-a")
        assert b10_transfer.load_compile_cache() is Status.DOES_NOT_EXIST
    line = warning(caplog)
    assert (
        "something is stored for this environment in other namespaces: "
        "the one without a name, model-b" in line
    )
    assert "nearest" not in line


def test_a_hit_names_what_the_machine_that_saved_had_otherwise(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    saver = CPU_MACHINE.but(threads="64", site_packages="/opt/venv/site-packages")
    with running_on(saver):
        site.host("saver", TREE).save()
    become(site.host("host"), monkeypatch)
    with running_on(CPU_MACHINE):
        assert b10_transfer.load_compile_cache() is Status.SUCCESS
    assert (
        "; the machine that saved had threads 64 (here 8), site_packages /opt/venv/site-packages "
        f"(here {CPU_MACHINE.site_packages});"
    ) in only_record(caplog).getMessage()


def test_a_hit_from_a_machine_like_this_one_names_no_difference(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    become(site.host("host"), monkeypatch)
    with running_on(CPU_MACHINE):
        site.host("saver", TREE).save()
        assert b10_transfer.load_compile_cache() is Status.SUCCESS
    assert "the machine that saved" not in only_record(caplog).getMessage()


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


def test_a_line_of_the_log_is_one_line_whatever_is_told_in_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("b10_transfer")
    logger.error("load: torch %s", "2.0\n2026-01-01 ERROR b10_transfer: forged \x1b[31m\u2028")
    logger.error("100 %")
    logger.error("%s", "long " * 10_000)
    forged, plain, long = (record.getMessage() for record in caplog.records)
    assert forged == (r"load: torch 2.0\n2026-01-01 ERROR b10_transfer: forged \x1b[31m\u2028")
    assert plain == "100 %"
    assert len(long) < 21_000
