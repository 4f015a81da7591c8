"""The functions that return a status: which one, and that they never raise."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

import b10_transfer
from b10_transfer import OperationStatus as Status
from b10_transfer.caches.roots import ROOT_NAMES
from tests.support.api_answers import info, listing, only_record
from tests.support.cache_trees import TRITON_HASH, compiled_graph, read_tree, snapshot, write_tree
from tests.support.mounts import read_only
from tests.support.sites import Host, Site, become

if TYPE_CHECKING:
    from collections.abc import Callable

TREE = compiled_graph("model")


def test_load_says_success_then_skipped_and_does_not_exist_where_nothing_is_stored(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(site.host("early"), monkeypatch)
    assert b10_transfer.load_compile_cache() is Status.DOES_NOT_EXIST
    site.host("saver", TREE).save()
    host = become(site.host("host"), monkeypatch)
    assert b10_transfer.load_compile_cache() is Status.SUCCESS
    assert host.tree() == TREE
    assert b10_transfer.load_compile_cache() is Status.SKIPPED
    become(host, monkeypatch, B10_CACHE_NAMESPACE="another")
    assert b10_transfer.load_compile_cache() is Status.DOES_NOT_EXIST


def test_a_load_turned_off_says_that_nothing_exists(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.host("saver", TREE).save()
    host = become(site.host("host"), monkeypatch, B10_CACHE_LOAD="0")
    assert b10_transfer.load_compile_cache() is Status.DOES_NOT_EXIST
    assert host.tree() == {}


def test_save_says_success_then_skipped_and_skipped_where_nothing_is_here(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(site.host("empty"), monkeypatch)
    assert b10_transfer.save_compile_cache() is Status.SKIPPED
    assert not site.store.exists()
    become(site.host("host", TREE), monkeypatch)
    assert b10_transfer.save_compile_cache() is Status.SUCCESS
    assert b10_transfer.save_compile_cache() is Status.SKIPPED


def switched_off(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    become(host, monkeypatch, BASETEN_FS_ENABLED=None)


def without_a_store_folder(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.store.write_bytes(b"a file")
    become(host, monkeypatch)


def with_a_store_of_a_later_format(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from b10_store.format.names import format_line

    write_tree(host.store, {"FORMAT": format_line(999)})
    become(host, monkeypatch)


def with_the_store_in_the_tree(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    become(host, monkeypatch, B10FS_CACHE_DIR=str(host.root / "store"))


def with_the_tree_in_the_store(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    become(host, monkeypatch, B10FS_CACHE_DIR=str(host.folder))


@pytest.mark.parametrize(
    ("prepare", "hint"),
    [
        (switched_off, "set BASETEN_FS_ENABLED=1"),
        (without_a_store_folder, "/store"),
        (with_a_store_of_a_later_format, "format 999"),
        (with_the_store_in_the_tree, "B10FS_CACHE_DIR"),
        (with_the_tree_in_the_store, "B10FS_CACHE_DIR"),
    ],
)
def test_load_and_save_say_error_and_log_one_line_with_a_hint(
    site: Site,
    prepare: Callable[[Host, pytest.MonkeyPatch], None],
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = site.host("host", TREE)
    prepare(host, monkeypatch)
    for operation in (b10_transfer.load_compile_cache, b10_transfer.save_compile_cache):
        caplog.clear()
        assert operation() is Status.ERROR
        record = only_record(caplog)
        assert record.levelno == logging.ERROR
        assert hint in record.getMessage()
        assert "\n" not in record.getMessage()
        assert record.exc_info is None
    assert host.tree() == TREE


@pytest.mark.parametrize("error", [RuntimeError("a\nb"), OSError(5, "I/O"), MemoryError()])
@pytest.mark.parametrize("name", ["load", "save"])
def test_no_failure_inside_reaches_the_caller(
    name: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(f"b10_transfer.operations.transfer.{name}", fail)
    assert getattr(b10_transfer, f"{name}_compile_cache")() is Status.ERROR
    record = only_record(caplog)
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None, "the place of an unforeseen failure must be found"
    assert "report" in record.getMessage()


@pytest.mark.parametrize("error", [RuntimeError("odd"), OSError(5, "I/O"), MemoryError()])
def test_no_failure_inside_the_utilities_reaches_the_caller(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        del arguments
        raise error

    monkeypatch.setattr("b10_transfer.operations.context.open_context", fail)
    monkeypatch.setattr("b10_transfer.local.clear.clear_root", fail)
    assert info()["error"]
    assert listing()["error"]
    assert b10_transfer.clear_local_cache() is False


def test_what_is_no_failure_of_ours_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("b10_transfer.operations.transfer.load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        b10_transfer.load_compile_cache()


def test_clear_empties_the_inductor_root_and_leaves_the_others_and_the_store(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = become(site.host("host", TREE), monkeypatch)
    write_tree(host.triton, {f"{TRITON_HASH}/kernel.cubin": b"code"})
    b10_transfer.save_compile_cache()
    stored = snapshot(site.store)
    assert b10_transfer.clear_local_cache() is True
    assert not host.root.exists()
    assert (host.triton / f"{TRITON_HASH}/kernel.cubin").exists()
    assert snapshot(site.store) == stored
    assert b10_transfer.clear_local_cache() is True, "what is gone is clear"
    assert b10_transfer.clear_local_cache(roots=["triton"]) is True
    assert not host.triton.exists()
    assert b10_transfer.load_compile_cache() is Status.SUCCESS
    assert host.tree() == TREE


def test_clear_of_a_root_that_cannot_be_written_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = become(site.host("host", TREE), monkeypatch)
    with read_only(host.root):
        assert b10_transfer.clear_local_cache() is False
    assert str(host.root) in only_record(caplog).getMessage()
    assert host.tree() == TREE


def test_clear_of_a_root_that_there_is_not_says_which_there_are(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = become(site.host("host", TREE), monkeypatch)
    become(host, monkeypatch, B10_CACHE_ROOTS=f"inductor,mine={host.folder}/mine")
    assert b10_transfer.clear_local_cache(roots=["inductor", "tritn"]) is False
    message = only_record(caplog).getMessage()
    assert "'tritn'" in message
    assert ", ".join([*ROOT_NAMES, "mine"]) in message
    assert host.tree() == TREE


def test_clear_of_the_root_of_a_server_leaves_what_is_no_cache(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = site.host("host", TREE)
    root = host.folder / "vllm"
    write_tree(root, {"torch_compile_cache/abc/rank_0_0/backbone/x": b"", "assets/weights": b"w"})
    become(host, monkeypatch, VLLM_CACHE_ROOT=str(root))
    assert b10_transfer.clear_local_cache(roots=["vllm"]) is True
    assert read_tree(root) == {"assets/weights": b"w"}
    assert host.tree() == TREE


def test_clear_takes_the_roots_of_the_users_and_those_that_are_not_in_use(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = site.host("host", TREE)
    mine = host.folder / "mine"
    write_tree(mine, {"a/b": b""})
    host.save(B10_CACHE_ROOTS=f"mine={mine}")
    write_tree(host.triton, {f"{TRITON_HASH}/kernel.cubin": b"code"})
    become(host, monkeypatch, B10_CACHE_ROOTS=f"mine={mine}")
    assert b10_transfer.clear_local_cache(roots=("mine", "triton")) is True
    assert not mine.exists()
    assert not host.triton.exists()
    assert host.tree() == TREE


def test_clear_of_a_root_that_is_the_home_folder_removes_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = site.host("host", TREE)
    home = Path(host.variables()["HOME"])
    write_tree(home, {"torch_compile_cache/x": b"", "letters/y": b""})
    become(host, monkeypatch, VLLM_CACHE_ROOT="~", TILELANG_CACHE_DIR=str(home))
    for name, variable in (("vllm", "VLLM_CACHE_ROOT"), ("tilelang", "TILELANG_CACHE_DIR")):
        caplog.clear()
        assert b10_transfer.clear_local_cache(roots=[name]) is False
        assert f"{variable}={str(home)!r}" in only_record(caplog).getMessage()
    assert read_tree(home) == {"torch_compile_cache/x": b"", "letters/y": b""}


@pytest.mark.parametrize("place", ["below", "at", "above", "behind a link"])
@pytest.mark.parametrize("name", ["inductor", "mine"])
def test_clear_of_a_root_in_which_the_store_lies_or_that_lies_in_it_removes_nothing(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    place: str,
) -> None:
    host = site.host("host", TREE)
    host.save()
    stored = snapshot(site.store)
    root = {"at": site.store, "above": site.store / "packs"}.get(place, site.folder)
    if place == "behind a link":
        root = host.folder / "link"
        root.symlink_to(site.folder)
    chosen = {"inductor": {"TORCHINDUCTOR_CACHE_DIR": str(root)}}.get(
        name, {"B10_CACHE_ROOTS": f"default,mine={root}"}
    )
    become(host, monkeypatch, **chosen)
    assert b10_transfer.clear_local_cache(roots=[name]) is False
    message = only_record(caplog).getMessage()
    assert f"the cache root {name} " in message
    assert "must not contain each other" in message
    assert snapshot(site.store) == stored
    assert host.tree() == TREE


def test_the_functions_take_no_arguments_that_must_be_given() -> None:
    for name in b10_transfer.__all__:
        function = cast("object", getattr(b10_transfer, name))
        if inspect.isfunction(function):
            parameters = inspect.signature(function).parameters.values()
            assert all(item.default is not inspect.Parameter.empty for item in parameters), name
