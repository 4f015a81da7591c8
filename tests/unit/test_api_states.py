"""What is told of the local cache and of the store, in every state."""

from __future__ import annotations

import re
import time

import pytest

import b10_transfer
from b10_transfer import OperationStatus as Status
from tests.support.api_answers import info, listing
from tests.support.cache_trees import compiled_graph, snapshot
from tests.support.sites import Site, become

TREE = compiled_graph("model")

KEY = r"[0-9a-f]{32}"


def test_both_say_so_when_the_cache_is_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.host("saver", TREE).save()
    become(site.host("host", TREE), monkeypatch, BASETEN_FS_ENABLED="0")
    here, stored = info(), listing()
    assert (here["b10fs_enabled"], here["b10fs_cache_exists"]) == (False, False)
    assert here["local_cache_exists"] is True
    assert re.fullmatch(KEY, here["environment_key"])
    assert (stored["b10fs_enabled"], stored["caches"]) == (False, [])
    assert "BASETEN_FS_ENABLED" in stored["error"]
    assert here["error"] == stored["error"]


def test_a_setting_that_is_not_acceptable_hides_neither_the_switch_nor_the_key(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(site.host("host"), monkeypatch, MAX_CACHE_SIZE_MB="abc")
    here, stored = info(), listing()
    assert here["b10fs_enabled"] is stored["b10fs_enabled"] is True
    assert re.fullmatch(KEY, here["environment_key"])
    assert here["environment_key"] == stored["current_environment"]
    assert "MAX_CACHE_SIZE_MB='abc'" in here["error"]


def test_one_cache_root_may_be_named_without_a_list(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = become(site.host("host", TREE), monkeypatch)
    assert b10_transfer.clear_local_cache("inductor") is True
    assert host.tree() == {}


@pytest.mark.parametrize("made", [False, True], ids=["no store", "an empty store"])
def test_both_say_that_nothing_is_stored(
    site: Site, made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if made:
        site.store.mkdir()
    become(site.host("host"), monkeypatch)
    before = snapshot(site.folder)
    here, stored = info(), listing()
    assert here == {
        **here,
        "local_cache_exists": False,
        "local_cache_size_mb": 0.0,
        "b10fs_enabled": True,
        "b10fs_cache_exists": False,
        "b10fs_cache_size_mb": 0.0,
        "error": None,
    }
    assert stored == {
        "caches": [],
        "current_environment": here["environment_key"],
        "total_caches": 0,
        "current_cache_exists": False,
        "b10fs_enabled": True,
        "error": None,
    }
    assert snapshot(site.folder) == before


def test_both_describe_what_is_here_and_what_is_stored(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = {"ab/large.bin": b"x" * (3 << 20)}
    host = become(site.host("host", {**TREE, **large}), monkeypatch)
    before = time.time()
    assert b10_transfer.save_compile_cache() is Status.SUCCESS
    here, stored = info(), listing()
    assert (here["local_cache_exists"], here["b10fs_cache_exists"]) == (True, True)
    assert here["error"] is None
    assert 3 < here["local_cache_size_mb"] < 3.1
    assert 0 < here["b10fs_cache_size_mb"] < 0.1

    (cache,) = stored["caches"]
    assert (site.store / cache["filename"]).is_file()
    assert cache["environment_key"] == stored["current_environment"] == here["environment_key"]
    assert cache["is_current_environment"] is stored["current_cache_exists"] is True
    assert cache["size_mb"] == here["b10fs_cache_size_mb"]
    assert cache["artifacts"] == len(TREE) + 1
    assert before - 5 < cache["created_time"] < time.time() + 5
    assert cache["environment"]["torch"]
    assert b10_transfer.clear_local_cache()
    assert info()["local_cache_exists"] is False
    assert not host.root.exists()


def test_each_namespace_is_listed_and_only_its_own_counts_as_the_current_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = site.host("host", TREE)
    for namespace in ("first", "second"):
        become(host, monkeypatch, B10_CACHE_NAMESPACE=namespace)
        assert b10_transfer.save_compile_cache() is Status.SUCCESS
    become(host, monkeypatch, B10_CACHE_NAMESPACE="third")
    stored = listing()
    assert {cache["namespace"] for cache in stored["caches"]} == {"first", "second"}
    assert {cache["is_current_environment"] for cache in stored["caches"]} == {True}
    assert stored["current_cache_exists"] is info()["b10fs_cache_exists"] is False
    assert info()["namespace"] == "third"
    become(host, monkeypatch, B10_CACHE_NAMESPACE="second")
    assert listing()["current_cache_exists"] is info()["b10fs_cache_exists"] is True


def test_both_say_what_is_wrong_with_a_manifest_that_cannot_be_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(site.host("host", TREE), monkeypatch)
    b10_transfer.save_compile_cache()
    (manifest,) = site.files("manifests")
    manifest.write_bytes(b"no manifest")
    here, stored = info(), listing()
    assert here["b10fs_cache_exists"] is stored["current_cache_exists"] is False
    assert stored["caches"] == []
    for answer in (here, stored):
        assert manifest.name in answer["error"]


def test_both_say_what_is_wrong_with_a_store_that_is_no_folder(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.store.write_bytes(b"a file")
    become(site.host("host", TREE), monkeypatch)
    here, stored = info(), listing()
    for answer in (here, stored):
        assert str(site.store) in answer["error"]
    assert here["local_cache_exists"] is True
    assert re.fullmatch(KEY, stored["current_environment"])
