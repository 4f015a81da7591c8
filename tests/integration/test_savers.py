"""Saves into one store: what they add, what they leave alone, how they share it."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_store.format.names import Address, SnapshotName, new_snapshot_id
from b10_transfer import CacheError, OperationStatus, Settings
from tests.support.cache_trees import Tree, compiled_graph, elf, noise, snapshot
from tests.support.crowd import Act, run_together
from tests.support.mounts import read_only
from tests.support.programs import started_python
from tests.support.sites import Site, become

if TYPE_CHECKING:
    from pathlib import Path

FIRST = compiled_graph("first")
SECOND = compiled_graph("second", 1)
BOTH = {**FIRST, **SECOND}
MIB = 1 << 20

SAVE_SLOWLY = """
import os, time
from b10_store.remote.folder import FolderRemote
create = FolderRemote.create
def slow_create(self, folder, name, chunks):
    begun = time.monotonic()
    time.sleep(0.3)
    create(self, folder, name, chunks)
    with open(os.path.join(os.environ["HOME"], "writing"), "a") as file:
        print(begun, time.monotonic(), file=file)
FolderRemote.create = slow_create
import b10_transfer
print(b10_transfer.save().status.name)
"""


def loaded_by_a_new_host(site: Site, name: str = "new host") -> Tree:
    host = site.host(name)
    assert host.load().unavailable == 0
    return host.tree()


# Alone.


def test_a_save_with_nothing_new_is_skipped_and_writes_nothing(site: Site) -> None:
    host = site.host("host", BOTH)
    host.save()
    loader = site.host("loader")
    loader.load()
    before = snapshot(site.store)
    for saver in (host, loader, site.host("a part of it", FIRST)):
        report = saver.save()
        assert report.status is OperationStatus.SKIPPED
        assert (report.added, report.superseded, report.uploaded_bytes) == (0, 0, 0)
        assert report.stored_bytes > 0
    assert snapshot(site.store) == before


def test_a_save_with_nothing_new_is_skipped_on_a_read_only_store_too(site: Site) -> None:
    host = site.host("host", BOTH)
    host.save()
    with read_only(site.store):
        assert host.save().status is OperationStatus.SKIPPED
        loader = site.host("loader")
        loader.load()
        assert loader.save().status is OperationStatus.SKIPPED


def test_a_second_save_uploads_just_the_new_blobs(site: Site) -> None:
    host = site.host("host", FIRST)
    host.save()
    old_packs = {path: path.stat().st_mtime_ns for path in site.files("packs")}
    host.write(SECOND)
    report = host.save()
    assert (report.added, report.superseded) == (len(SECOND), 0)
    (new_pack,) = set(site.files("packs")) - set(old_packs)
    assert report.uploaded_bytes == new_pack.stat().st_size
    assert {path: path.stat().st_mtime_ns for path in old_packs} == old_packs
    assert loaded_by_a_new_host(site) == BOTH


def test_equal_bytes_at_many_paths_are_uploaded_once(site: Site) -> None:
    data = noise(100_000)
    host = site.host("host", {f"{number:02d}/same.bin": data for number in range(20)})
    assert host.save().uploaded_bytes < 110_000
    host.write({"another/same.bin": data})
    report = host.save()
    assert (report.added, report.uploaded_bytes) == (1, 0)
    assert loaded_by_a_new_host(site) == host.tree()


def test_another_namespace_has_a_manifest_of_its_own_and_shares_the_blobs(site: Site) -> None:
    tree = {"ab/large.bin": noise(3 * MIB)}
    host = site.host("host", tree)
    host.save(B10_CACHE_NAMESPACE="first")
    report = host.save(B10_CACHE_NAMESPACE="second")
    assert (report.status, report.added) == (OperationStatus.SUCCESS, 1)
    assert report.uploaded_bytes == 0
    assert len(site.files("packs")) == 1
    loader = site.host("loader")
    assert loader.load().status is OperationStatus.DOES_NOT_EXIST
    assert loader.load(B10_CACHE_NAMESPACE="second").loaded == 1
    assert loader.tree() == tree


def test_of_two_independent_compilations_the_first_one_stored_stays(site: Site) -> None:
    site.host("first", {"ab/x.py": b"of the first"}).save()
    second = site.host("second", {"ab/x.py": b"of the second, longer"})
    report = second.save()
    assert (report.status, report.superseded) == (OperationStatus.SKIPPED, 0)
    second.write({"cd/y.py": b"new"})
    report = second.save()
    assert (report.added, report.superseded) == (1, 0)
    assert loaded_by_a_new_host(site) == {"ab/x.py": b"of the first", "cd/y.py": b"new"}


def test_what_a_compiler_put_in_the_place_of_a_loaded_artifact_supersedes_it(site: Site) -> None:
    site.host("first", {"ab/x.py": b"stale", "cd/y.py": b"fine"}).save()
    second = site.host("second")
    second.load()
    (second.root / "ab/new").write_bytes(b"compiled again, and better")
    (second.root / "ab/new").replace(second.root / "ab/x.py")
    report = second.save()
    assert (report.added, report.superseded) == (0, 1)
    assert report.recompiled == 1
    better = {"ab/x.py": b"compiled again, and better", "cd/y.py": b"fine"}
    assert loaded_by_a_new_host(site) == better
    # The host that had the stale one all along did not load it, and does not bring it back.
    site.host("first", {"ab/x.py": b"stale"}).save()
    assert loaded_by_a_new_host(site, "another new host") == better


def test_a_host_that_starts_cold_on_purpose_replaces_what_is_stored(site: Site) -> None:
    site.host("first", {"ab/x.py": b"suspicious"}).save()
    second = site.host("second", {"ab/x.py": b"compiled without the cache"})
    assert second.load(B10_CACHE_LOAD="0").status is OperationStatus.DOES_NOT_EXIST
    report = second.save(B10_CACHE_LOAD="0")
    assert (report.status, report.superseded) == (OperationStatus.SUCCESS, 1)
    assert loaded_by_a_new_host(site) == {"ab/x.py": b"compiled without the cache"}


# Beside each other.


@pytest.mark.parametrize("wait", [True, False], ids=["in turn", "without waiting"])
def test_savers_at_the_same_moment_lose_nothing(site: Site, wait: bool) -> None:
    trees = {f"host {number}": compiled_graph(f"graph {number}", number) for number in range(6)}
    hosts = [site.host(name, {**FIRST, **tree}) for name, tree in trees.items()]
    results = run_together([Act("save", host.variables(), wait=wait) for host in hosts])
    assert {result.status for result in results} == {"SUCCESS"}, results
    assert site.files("sessions") == []
    everything = {path: data for host in hosts for path, data in host.tree().items()}
    assert loaded_by_a_new_host(site) == everything

    # What was published side by side is one manifest again after the next save.
    loader = site.host("new host", SECOND)
    assert loader.save().added == len(SECOND)
    assert loaded_by_a_new_host(site, "later") == {**everything, **SECOND}


def test_fifty_equal_savers_upload_once(site: Site) -> None:
    hosts = [site.host(f"host {number}", BOTH) for number in range(50)]
    results = run_together([Act("save", host.variables()) for host in hosts])
    statuses = sorted(result.status for result in results)
    assert statuses == ["SKIPPED"] * 49 + ["SUCCESS"], [item.error for item in results]
    (pack,) = site.files("packs")
    assert sum(result.report["uploaded_bytes"] for result in results) == pack.stat().st_size
    assert len(site.files("manifests")) == 1
    assert site.files("sessions") == []
    assert loaded_by_a_new_host(site) == BOTH


def test_threads_of_one_process_save_and_load_like_processes(site: Site) -> None:
    trees = [compiled_graph(f"graph {number}", number) for number in range(6)]
    hosts = [site.host(f"host {number}", tree) for number, tree in enumerate(trees)]
    settings = [host.settings() for host in hosts]
    statuses: list[OperationStatus] = []

    def save(one: Settings) -> None:
        statuses.append(b10_transfer.save(one).status)

    threads = [threading.Thread(target=save, args=(one,)) for one in settings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [OperationStatus.SUCCESS] * len(hosts)
    assert loaded_by_a_new_host(site) == {
        path: data for tree in trees for path, data in tree.items()
    }


# How many at once.


def live_token(site: Site) -> Path:
    """A save at work, of another environment."""
    site.store.mkdir(exist_ok=True)
    (site.store / "sessions").mkdir(exist_ok=True)
    name = SnapshotName(Address("0" * 32), new_snapshot_id(time.time() - 5))
    token = site.store / name.session_path
    token.touch()
    return token


def test_a_save_that_waits_for_a_slot_names_the_setting_and_goes_on_when_the_time_is_up(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = live_token(site)
    become(site.host("host", FIRST), monkeypatch, MAX_CONCURRENT_SAVES="1")
    monkeypatch.setattr("b10_transfer.operations.save.WAIT_LIMIT_SECONDS", 2.0)
    assert b10_transfer.save_compile_cache() is OperationStatus.SUCCESS
    (line,) = [text for text in caplog.messages if "MAX_CONCURRENT_SAVES" in text]
    assert line.endswith("at the latest; then this save goes on")
    assert site.files("sessions") == [token]


def test_a_save_with_a_second_slot_does_not_wait_for_another_environment(site: Site) -> None:
    live_token(site)
    host = site.host("host", FIRST)
    started = time.monotonic()
    assert host.save(MAX_CONCURRENT_SAVES="2").status is OperationStatus.SUCCESS
    # It takes a fraction of a second, and on a busy machine seconds; a slot is waited for for 60.
    assert time.monotonic() - started < 40


def test_no_more_saves_write_at_the_same_time_than_there_are_slots(site: Site) -> None:
    site.host("first", FIRST).save()
    names = [f"name{number}" for number in range(4)]
    hosts = [site.host(name, compiled_graph(name, seed)) for seed, name in enumerate(names)]
    with ExitStack() as processes:
        savers = [
            processes.enter_context(
                started_python(
                    SAVE_SLOWLY,
                    host.variables(B10_CACHE_NAMESPACE=name, MAX_CONCURRENT_SAVES="1"),
                )
            )
            for name, host in zip(names, hosts, strict=True)
        ]
        outputs = [saver.communicate() for saver in savers]
    assert [printed for printed, _ in outputs] == ["SUCCESS\n"] * len(savers)
    lines = [(host.folder / "home/writing").read_text() for host in hosts]
    writes = sorted(tuple(map(float, line.split())) for line in lines)
    assert [end <= begin for (_, end), (begin, _) in pairwise(writes)] == [True] * 3, writes
    assert len(site.files("manifests")) == 1 + len(savers)


# How much.


def test_a_tree_over_the_size_limit_is_an_error_that_names_the_setting(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    become(site.host("host", {"ab/x.bin": noise(MIB + 1)}), monkeypatch, MAX_CACHE_SIZE_MB="1")
    with pytest.raises(CacheError, match="set MAX_CACHE_SIZE_MB"):
        b10_transfer.save()
    assert b10_transfer.save_compile_cache() is OperationStatus.ERROR
    assert "MAX_CACHE_SIZE_MB" in caplog.text
    for folder in ("packs", "manifests", "sessions"):
        assert site.files(folder) == []


def test_what_makes_a_cache_too_large_is_named_with_its_size(site: Site) -> None:
    host = site.host("host", {"ab/large.bin": noise(2 * MIB), "ab/small.bin": noise(10)})
    large = host.root / "ab/large.bin"
    with pytest.raises(CacheError, match=f"the largest of it {large} \\(2.0 MB\\)"):
        host.save(MAX_CACHE_SIZE_MB="1")


def test_a_model_that_was_exported_in_the_cache_is_named_and_not_saved(site: Site) -> None:
    """AOTInductor puts all weights into its library, and looks for it nowhere."""
    export = f"c{'abcdefghijklmnopqrstuvwxyz234567' * 2}"[:52]
    library = f"{export}/c{'b' * 51}.wrapper.so"
    rest = {"ab/x.py": b"x = 1\n"}
    host = site.host("host", {library: elf(noise(2 * MIB)), **rest})
    report = host.save(MAX_CACHE_SIZE_MB="1")
    assert (report.status, report.added) == (OperationStatus.SUCCESS, 1)
    ((reason, files),) = report.left_out_files.items()
    assert "an exported model" in reason
    assert files == (str(host.root / export),)
    assert loaded_by_a_new_host(site) == rest


def test_a_tree_is_measured_as_it_is_stored_and_not_as_it_is(site: Site) -> None:
    host = site.host("host", {"ab/zeros.bin": b"x" * (5 * MIB)})
    assert host.save(MAX_CACHE_SIZE_MB="1").status is OperationStatus.SUCCESS


def test_what_was_saved_first_leaves_a_cache_that_grows_over_the_limit(site: Site) -> None:
    oldest, older, newest = ({f"{name}/x.bin": noise(400_000, seed)}
                             for seed, name in enumerate(("a", "b", "c")))  # fmt: skip
    for name, tree in (("one", oldest), ("two", older), ("three", newest)):
        report = site.host(name, tree).save(MAX_CACHE_SIZE_MB="1")
        assert report.status is OperationStatus.SUCCESS
        assert report.stored_bytes <= MIB
    assert loaded_by_a_new_host(site) == {**older, **newest}
