from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus
from b10_transfer.cache_roots import CacheRoot
from b10_transfer.local_clear import clear_root
from b10_transfer.local_lock import lock_root
from b10_transfer.root_kinds import INDUCTOR, VLLM, user_kind
from tests.support.cache_trees import LOCAL_RECORD, compiled_graph, leftovers, read_tree, write_tree
from tests.support.mounts import read_only
from tests.support.sites import Site

if TYPE_CHECKING:
    from pathlib import Path

TREE = compiled_graph("model")


def inductor_at(folder: Path) -> CacheRoot:
    return CacheRoot(INDUCTOR, str(folder))


def test_everything_in_a_root_goes_and_the_root_itself(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_tree(root, {**TREE, "locks/x.lock": b"", ".hidden/y": b"", "z": b""})
    write_tree(root, {f"{LOCAL_RECORD}/staging-0/a": b"", f"{LOCAL_RECORD}/loaded": b""})
    (root / "link").symlink_to(tmp_path)
    clear_root(inductor_at(root))
    assert os.listdir(tmp_path) == []


def test_a_root_that_is_not_there_is_clear(tmp_path: Path) -> None:
    clear_root(inductor_at(tmp_path / "absent"))
    assert os.listdir(tmp_path) == []


def test_what_links_lead_to_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write_tree(outside, {"keep.txt": b"keep"})
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "keep.txt")
    clear_root(inductor_at(root))
    assert (outside / "keep.txt").read_bytes() == b"keep"
    assert not root.exists()


def test_what_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_tree(root, TREE)
    with read_only(root), pytest.raises(OSError, match="Read-only"):
        clear_root(inductor_at(root))
    clear_root(inductor_at(root))
    assert not root.exists()


def test_entries_go_before_the_parts_they_refer_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path, dict.fromkeys(["ab/x.py", "fxgraph/a/b/c", "aotautograd/a/b"], b""))
    gone: list[str] = []
    rename = os.rename

    def note_and_rename(source: str, target: str) -> None:
        gone.append(os.path.basename(source))
        rename(source, target)

    monkeypatch.setattr("b10_transfer.local_clear.os.rename", note_and_rename)
    clear_root(inductor_at(tmp_path))
    assert gone == ["aotautograd", "fxgraph", "ab"]


def test_a_clear_waits_for_a_load_at_work(tmp_path: Path) -> None:
    write_tree(tmp_path, TREE)
    clear = threading.Thread(target=clear_root, args=(inductor_at(tmp_path),))
    with lock_root(str(tmp_path), 0):
        clear.start()
        time.sleep(0.2)
        assert (tmp_path / "fxgraph").exists()
    clear.join()
    assert not tmp_path.exists()


def test_a_clear_does_not_pull_the_ground_from_under_a_load_that_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path, TREE)
    monkeypatch.setattr("b10_transfer.local_clear._LOCK_SECONDS", 0.2)
    with lock_root(str(tmp_path), 0), pytest.raises(OSError, match="in use by a load"):
        clear_root(inductor_at(tmp_path))
    assert read_tree(tmp_path) == TREE


def test_after_a_clear_a_load_brings_everything_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    host = site.host("host", TREE)
    host.save()
    clear_root(inductor_at(host.root))
    report = host.load()
    assert (report.status, report.loaded) == (OperationStatus.SUCCESS, len(TREE))
    assert host.tree() == TREE


def test_what_a_killed_clear_left_is_removed_by_the_next(tmp_path: Path) -> None:
    write_tree(tmp_path / "root", {f"{LOCAL_RECORD}/cleared-0123/ab/x.py": b"", "cd/y.py": b""})
    assert leftovers(tmp_path / "root") == ["cleared-0123"]
    clear_root(inductor_at(tmp_path / "root"))
    assert os.listdir(tmp_path) == []


def test_of_a_root_that_is_more_than_a_cache_only_the_caches_go(tmp_path: Path) -> None:
    kept = {
        "assets/weights": b"w",
        "modelinfos/m.json": b"{}",
        "gpu_p2p_access_cache_for_0.json": b"{}",
        "startup_plan/plan.json": b"{}",
        ".hidden/x": b"",
    }
    caches = dict.fromkeys([f"{folder}/x/y" for folder in VLLM.within], b"")
    write_tree(tmp_path, {**kept, **caches, f"{LOCAL_RECORD}/loaded": b""})
    clear_root(CacheRoot(VLLM, str(tmp_path)))
    assert read_tree(tmp_path) == kept
    assert sorted(os.listdir(tmp_path)) == sorted({path.partition("/")[0] for path in kept})


def test_a_root_with_nothing_but_caches_goes_with_them(tmp_path: Path) -> None:
    write_tree(tmp_path / "vllm", {"torch_compile_cache/x/y": b"", "deep_gemm/tmp/z": b""})
    clear_root(CacheRoot(VLLM, str(tmp_path / "vllm")))
    assert os.listdir(tmp_path) == []


def test_of_a_folder_of_the_users_the_artifacts_go_and_all_else_stays(tmp_path: Path) -> None:
    root = CacheRoot(user_kind("mine", str(tmp_path / "mine")), str(tmp_path / "mine"))
    own = {".git/config": b"", "locks/b.lock": b""}
    write_tree(tmp_path / "mine", {"a": b"", "deep/er/c": b"", **own})
    clear_root(root)
    assert read_tree(tmp_path / "mine") == own
    assert not (tmp_path / "mine" / "deep").exists()


def test_of_a_folder_of_the_users_with_artifacts_alone_nothing_stays(tmp_path: Path) -> None:
    write_tree(tmp_path / "mine", {"a": b"", "deep/er/c": b""})
    clear_root(CacheRoot(user_kind("mine", str(tmp_path / "mine")), str(tmp_path / "mine")))
    assert os.listdir(tmp_path) == []
