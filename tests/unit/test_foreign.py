"""What is in a cache root and is no part of the cache: named by all commands, and saved by none."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_transfer import CacheValidationError, OperationStatus
from b10_transfer.caches.foreign import find_foreign
from b10_transfer.caches.kinds import INDUCTOR, TRITON, VLLM, user_kind
from b10_transfer.caches.roots import CacheRoot, resolve_roots
from b10_transfer.doctor.roots import examine_root
from b10_transfer.operations.context import check_root, open_context
from tests.support.cache_trees import TRITON_HASH, compiled_graph, read_tree, write_tree
from tests.support.mounts import tmpfs
from tests.support.sites import become

if TYPE_CHECKING:
    from pathlib import Path

    from b10_transfer.caches.kinds import RootKind
    from tests.support.sites import Site

pytestmark = pytest.mark.layouts

TREE = compiled_graph("model")
PROJECT = {".git/config": b"", "src/model.py": b"", "weights.safetensors": b"w"}
NAMED = "holds things that are not part of the cache inductor (.git/, src/, weights.safetensors)"


def test_a_save_uploads_no_file_of_a_project_and_names_it(site: Site) -> None:
    host = site.host("host", {**PROJECT, **TREE})
    report = host.save()
    assert report.added == len(TREE)
    assert any(NAMED in line for line in report.problems)
    other = site.host("other", PROJECT)
    loaded = other.load()
    assert other.tree() == {**PROJECT, **TREE}
    assert any(NAMED in line for line in loaded.problems)


def test_doctor_names_it(site: Site) -> None:
    host = site.host("host", {**PROJECT, **TREE})
    settings = host.settings()
    root = open_context(settings).roots_by_name["inductor"]
    _, findings = examine_root(root, settings, is_gpu=False)
    (finding,) = (item for item in findings if item.code == "root.other_files")
    assert finding.details["foreign"] == (".git/", "src/", "weights.safetensors")


def test_what_compilers_and_filesystems_leave_is_not_foreign(tmp_path: Path) -> None:
    root = CacheRoot(INDUCTOR, str(tmp_path))
    write_tree(
        tmp_path, {**TREE, "locks/x.lock": b"", ".b10_transfer/loaded": b"", ".1.2.tmp": b""}
    )
    write_tree(tmp_path, {"aoti_eager/x": b"", "lost+found/x": b"", "tmpabcd1234.py": b""})
    assert find_foreign(root) == ()
    assert find_foreign(CacheRoot(INDUCTOR, str(tmp_path / "absent"))) == ()


def test_a_root_in_another_is_not_foreign_to_it(tmp_path: Path) -> None:
    write_tree(tmp_path, {**TREE, f"own/kernels/{TRITON_HASH}/k.cubin": b""})
    variables = {
        "HOME": "/nowhere",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
        "TRITON_CACHE_DIR": str(tmp_path / "own" / "kernels"),
    }
    roots = resolve_roots(variables, {"inductor": "", "triton": str(tmp_path / "own" / "kernels")})
    assert find_foreign(roots[0], roots) == ()
    assert find_foreign(roots[0]) == ("own/",)


def test_a_folder_that_a_server_shares_with_its_models_has_nothing_foreign(tmp_path: Path) -> None:
    write_tree(tmp_path, PROJECT)
    assert find_foreign(CacheRoot(VLLM, str(tmp_path))) == ()


def test_clear_says_what_stays_and_that_the_cache_is_gone(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = become(site.host("host", {**PROJECT, **TREE}), monkeypatch)
    caplog.set_level(logging.WARNING)
    assert b10_transfer.clear_local_cache() is True
    assert host.tree() == PROJECT
    assert "neither saved nor cleared" in caplog.text


def test_one_root_that_cannot_be_cleared_keeps_no_other_from_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = become(site.host("host"), monkeypatch)
    write_tree(host.triton, {f"{TRITON_HASH}/k.cubin": b""})
    host.root.write_bytes(b"no folder")
    assert b10_transfer.clear_local_cache(roots=["inductor", "triton"]) is False
    assert not host.triton.exists()
    assert "Not a directory" in caplog.text


# Where no root may lie.


@pytest.mark.parametrize("folder", ["/opt", "/mnt", "/srv", "/media", "/home/ann", "/Users/ann"])
@pytest.mark.parametrize("kind", [INDUCTOR, TRITON, user_kind("mine", "")])
def test_folders_of_systems_and_users_are_no_roots(site: Site, folder: str, kind: RootKind) -> None:
    settings = site.host("host").settings()
    with pytest.raises(CacheValidationError, match="give a folder below it"):
        check_root(CacheRoot(kind, folder), settings)


def test_a_folder_around_the_users_home_is_no_root(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = site.host("host").settings()
    monkeypatch.setenv("HOME", str(site.folder / "homes" / "ann"))
    for name in ("homes", "homes/ann"):
        with pytest.raises(CacheValidationError):
            check_root(CacheRoot(user_kind("mine", ""), str(site.folder / name)), settings)


def test_a_folder_directly_below_the_top_is_a_root_of_a_compiler_and_none_of_the_users(
    site: Site,
) -> None:
    settings = site.host("host").settings()
    check_root(CacheRoot(INDUCTOR, "/some-cache-of-a-container"), settings)
    with pytest.raises(CacheValidationError, match="directly below /"):
        check_root(CacheRoot(user_kind("mine", ""), "/some-cache-of-a-container"), settings)


def test_a_mount_may_be_a_root(site: Site) -> None:
    host = site.host("host")
    with tmpfs(host.root, 1 << 20):
        host.write(TREE)
        assert host.save().status is OperationStatus.SUCCESS


def test_a_working_copy_is_no_root_of_the_users(site: Site, tmp_path: Path) -> None:
    write_tree(tmp_path / "mine", PROJECT)
    host = site.host("host")
    with pytest.raises(CacheValidationError, match="working copy"):
        host.save(B10_CACHE_ROOTS=f"mine={tmp_path}/mine")
    assert read_tree(tmp_path / "mine") == PROJECT
    assert not os.path.exists(tmp_path / "mine" / ".b10_transfer")
