from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus
from b10_transfer.caches.kinds import INDUCTOR, ROOT_KINDS, VLLM, user_kind
from b10_transfer.caches.roots import CacheRoot
from b10_transfer.local import lock as local_lock
from b10_transfer.local.clear import Cleared, clear_root, clear_roots
from b10_transfer.local.lock import lock_root
from tests.support.cache_trees import (
    LOCAL_RECORD,
    TRITON_HASH,
    compiled_graph,
    leftovers,
    read_tree,
    snapshot,
    write_tree,
)
from tests.support.mounts import read_only
from tests.support.programs import started_python
from tests.support.server_trees import vllm_artifacts
from tests.support.sites import Host, Site

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from b10_transfer.caches.kinds import RootKind

pytestmark = pytest.mark.layouts

needs_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give files away"
)

HOLD = """
import contextlib, time
from b10_transfer.local.lock import lock_root
with contextlib.ExitStack() as held:
    for folder in {folders}:
        held.enter_context(lock_root(folder, 0))
    print(flush=True)
    time.sleep(600)
"""

TREE = compiled_graph("model")
(GRAPH,) = (path for path in TREE if path.startswith("fxgraph/"))
(TREE_FOLDER,) = {path.partition("/")[0] for path in TREE if path.endswith(".py")}
HASH = "c" + "a2b3" * 13
PROJECT = {
    ".git/config": b"[core]",
    "README.md": b"",
    "ar/carousel.json": b"{}",
    "cache/data.json": b"{}",
    "cache/raw/part.bin": b"",
    "dynamo/model.py": b"",
    "io/main.py": b"import os",
    "kernels/setup.py": b"",
    "locks/README": b"",
    "src/model.py": b"precious",
    "tmp/notes.txt": b"",
    "triton/llama/1/model.onnx": b"",
    "weights.safetensors": b"w",
}
"""What a user may have in a folder that a variable happens to name."""


def inductor_at(folder: Path) -> CacheRoot:
    return CacheRoot(INDUCTOR, str(folder))


def test_everything_of_the_compilers_goes_and_the_root_itself(tmp_path: Path) -> None:
    root = tmp_path / "root"
    unfinished = {
        "locks/x.lock": b"",
        "fxgraph/ab/.12.34.tmp": b"",
        "ab/tmpabcd1234.py": b"",
        f"ab/{HASH}_CxxBuild/main.cpp": b"",
        "aoti_eager/aten/x.so": b"",
        f"triton/0/tmp.pid_1_{TRITON_HASH}/k.cubin": b"",
        f"precompiled_headers/{HASH}.h.gch": b"",
        f"precompiled_headers/{LOCAL_RECORD}/loaded": b"",
    }
    write_tree(root, {**TREE, **unfinished})
    write_tree(root, {f"{LOCAL_RECORD}/staging-0/a": b"", f"{LOCAL_RECORD}/loaded": b""})
    (root / "triton" / "1").mkdir()
    assert clear_root(inductor_at(root)) == Cleared(inductor_at(root))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ROOT_KINDS, ids=[kind.name for kind in ROOT_KINDS])
def test_a_project_in_a_root_is_not_touched_and_is_named(tmp_path: Path, kind: RootKind) -> None:
    root = CacheRoot(kind, str(tmp_path))
    write_tree(tmp_path, PROJECT)
    (tmp_path / "empty").mkdir()
    (tmp_path / "io").mkdir(exist_ok=True)
    (tmp_path / "pipe").symlink_to("nowhere")
    before = snapshot(tmp_path)
    cleared = clear_root(root)
    assert read_tree(tmp_path) == PROJECT
    assert {*before} == {*snapshot(tmp_path)}
    assert cleared.left == ()
    assert {"README.md", "weights.safetensors", "pipe"} <= {*cleared.foreign}
    assert any(path.startswith("src/") for path in cleared.foreign)
    if not kind.is_shared:
        assert "neither saved nor cleared" in cleared.note


def test_artifacts_go_from_among_the_files_of_a_project(tmp_path: Path) -> None:
    write_tree(tmp_path, {**PROJECT, **TREE, "fxgraph/ab/.1.2.tmp": b""})
    cleared = clear_root(inductor_at(tmp_path))
    assert read_tree(tmp_path) == PROJECT
    assert not (tmp_path / "fxgraph").exists()
    assert not (tmp_path / LOCAL_RECORD).exists()
    assert cleared.foreign[0] == ".git/"


def test_a_root_that_is_not_there_is_clear(tmp_path: Path) -> None:
    clear_root(inductor_at(tmp_path / "absent"))
    assert os.listdir(tmp_path) == []


def test_what_links_lead_to_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write_tree(outside, {"keep.txt": b"keep"})
    root = tmp_path / "root"
    write_tree(root, TREE)
    for link in ("torch_cutlass/library", f"ab/{HASH}", f"{HASH}/x", "aotautograd/sub"):
        (root / link).parent.mkdir(exist_ok=True)
        (root / link).symlink_to(outside)
        (root / f"{link}.so").symlink_to(outside / "keep.txt")
    clear_root(inductor_at(root))
    assert (outside / "keep.txt").read_bytes() == b"keep"
    assert not root.exists()


def test_a_part_of_the_cache_that_a_link_puts_elsewhere_is_emptied_there(tmp_path: Path) -> None:
    write_tree(tmp_path / "root", TREE)
    (tmp_path / "root" / "fxgraph").rename(tmp_path / "big disk")
    (tmp_path / "root" / "fxgraph").symlink_to(tmp_path / "big disk")
    clear_root(inductor_at(tmp_path / "root"))
    assert read_tree(tmp_path / "root") == {}
    assert os.listdir(tmp_path / "big disk") == []
    assert (tmp_path / "root" / "fxgraph").is_symlink()


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
    write_tree(tmp_path, dict.fromkeys([f"ab/{HASH}.py", "fxgraph/a/b/c", "aotautograd/a/b"], b""))
    gone: list[str] = []
    rename = os.rename

    def note_and_rename(source: str, target: str, **folders: int) -> None:
        gone.append(os.path.basename(source))
        rename(source, target, **folders)

    monkeypatch.setattr("b10_transfer.local.clear.os.rename", note_and_rename)
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
    monkeypatch.setattr("b10_transfer.local.clear._LOCK_SECONDS", 0.2)
    with lock_root(str(tmp_path), 0), pytest.raises(OSError, match="in use by another load"):
        clear_root(inductor_at(tmp_path))
    assert read_tree(tmp_path) == TREE


def test_roots_in_use_are_waited_for_together_and_named_with_the_process_that_uses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("b10_transfer.local.clear._LOCK_SECONDS", 0.5)
    waits: list[float] = []

    def wait(folder: str, seconds: float) -> AbstractContextManager[bool | None]:
        waits.append(seconds)
        return lock_root(folder, seconds)

    monkeypatch.setattr(local_lock, "lock_root", wait)
    roots = [inductor_at(tmp_path / name) for name in ("first", "second", "idle")]
    for root in roots:
        write_tree(Path(root.folder), TREE)
    hold = HOLD.format(folders=[root.folder for root in roots[:2]])
    with started_python(hold, Host(tmp_path, tmp_path).variables()) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        first, second, idle = clear_roots(roots)
    for root, cleared in zip(roots, (first, second), strict=False):
        assert f"{root.folder} is in use by pid {holder.pid} (" in cleared.problem
    assert waits == [0.5, 0.0, 0.0]
    assert not idle.problem
    assert not Path(idle.root.folder).exists()


def test_after_a_clear_a_load_brings_everything_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    host = site.host("host", TREE)
    host.save()
    clear_root(inductor_at(host.root))
    report = host.load()
    assert (report.status, report.loaded) == (OperationStatus.SUCCESS, len(TREE))
    assert host.tree() == TREE


def test_what_a_killed_clear_left_is_removed_by_the_next(tmp_path: Path) -> None:
    moved = {f"{LOCAL_RECORD}/cleared-0123/0/x.py": b"", f"cd/{HASH}.py": b""}
    write_tree(tmp_path / "root", moved)
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
    caches = vllm_artifacts(tmp_path)
    write_tree(tmp_path, {**kept, **caches, f"{LOCAL_RECORD}/loaded": b""})
    cleared = clear_root(CacheRoot(VLLM, str(tmp_path)))
    assert read_tree(tmp_path) == kept
    assert sorted(os.listdir(tmp_path)) == sorted({path.partition("/")[0] for path in kept})
    assert cleared.note == ""


def test_a_root_with_nothing_but_caches_goes_with_them(tmp_path: Path) -> None:
    caches = {"torch_compile_cache/x/y": b"", "deep_gemm/tmp/12-00-11-22/z": b""}
    write_tree(tmp_path / "vllm", caches)
    clear_root(CacheRoot(VLLM, str(tmp_path / "vllm")))
    assert os.listdir(tmp_path) == []


# Folders of the user's own, of which nothing is known.


def test_of_a_folder_of_the_users_what_the_store_has_too_goes_and_all_else_stays(
    site: Site, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    saved = {"a": b"1", "deep/er/c": b"2", "changed": b"3", "kept/d": b"4"}
    own = {".hidden/x": b"", "locks/b.lock": b"", "kept/new": b"5"}
    write_tree(mine, {**saved, ".hidden/x": b"", "locks/b.lock": b""})
    host = site.host("host")
    host.save(B10_CACHE_ROOTS=f"mine={mine}")
    write_tree(mine, {"changed": b"since", "kept/new": b"5"})
    cleared = clear_root(CacheRoot(user_kind("mine", str(mine)), str(mine)))
    assert read_tree(mine) == {**own, "changed": b"since"}
    assert not (mine / "deep").exists()
    assert cleared.left == ()
    assert "in common with the store stay (.hidden/, changed, kept/new, and 1 more)" in cleared.note
    assert host.load(B10_CACHE_ROOTS=f"mine={mine}").loaded == 3
    assert read_tree(mine) == {**saved, **own, "changed": b"since"}


def test_of_a_folder_of_the_users_that_was_never_saved_or_loaded_all_stays(tmp_path: Path) -> None:
    homes = {"ann/letters": b"", "bob/thesis.tex": b""}
    write_tree(tmp_path, homes)
    clear_root(CacheRoot(user_kind("mine", str(tmp_path)), str(tmp_path)))
    assert read_tree(tmp_path) == homes


def test_of_a_folder_of_the_users_with_artifacts_alone_nothing_stays(
    site: Site, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    write_tree(mine, {"a": b"", "deep/er/c": b""})
    site.host("host").save(B10_CACHE_ROOTS=f"mine={mine}")
    clear_root(CacheRoot(user_kind("mine", str(mine)), str(mine)))
    assert not mine.exists()
