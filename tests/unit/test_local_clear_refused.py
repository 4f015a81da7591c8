"""Clearing where files cannot be removed or moved, and where other users own or plant something."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from b10_store.paths import RECORD_FOLDER
from b10_transfer.caches.kinds import INDUCTOR
from b10_transfer.caches.roots import CacheRoot
from b10_transfer.local import clear as local_clear
from b10_transfer.local.clear import Cleared, clear_root, clear_roots
from b10_transfer.local.clear_survey import survey
from tests.support.cache_trees import (
    LOCAL_RECORD,
    compiled_graph,
    leftovers,
    read_tree,
    write_tree,
)
from tests.support.crowd import OTHER_USER, open_the_way_to
from tests.support.mounts import overlay, read_only, tmpfs

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.layouts

needs_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give files away"
)

TREE = compiled_graph("model")

(GRAPH,) = (path for path in TREE if path.startswith("fxgraph/"))

(TREE_FOLDER,) = {path.partition("/")[0] for path in TREE if path.endswith(".py")}


def inductor_at(folder: Path) -> CacheRoot:
    return CacheRoot(INDUCTOR, str(folder))


# What cannot be removed, or moved.


@pytest.mark.parametrize("below", ["fxgraph", "fxgraph/ab", TREE_FOLDER, "aotautograd"])
def test_what_lies_on_a_mount_inside_a_root_is_removed_there(tmp_path: Path, below: str) -> None:
    root = tmp_path / "root"
    (root / below).mkdir(parents=True)
    with tmpfs(root / below, 1 << 20):
        write_tree(root, TREE)
        assert clear_root(inductor_at(root)) == Cleared(inductor_at(root))
        assert read_tree(root) == {}
        assert os.listdir(root / below) == []
        assert not (root / LOCAL_RECORD).exists()
    assert os.listdir(root) == [below.partition("/")[0]]


def test_a_root_that_is_a_mount_itself_is_emptied(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "root", 1 << 20) as root:
        write_tree(root, {**TREE, "lost+found/x": b""})
        assert clear_root(inductor_at(root)).left == ()
        assert os.listdir(root) == ["lost+found"]


def test_a_root_in_the_layer_of_an_image_is_emptied(tmp_path: Path) -> None:
    write_tree(tmp_path / "lower" / "root", TREE)
    with overlay(tmp_path) as merged:
        root = merged / "root"
        write_tree(root, compiled_graph("of this container"))
        assert clear_root(inductor_at(root)) == Cleared(inductor_at(root))
        assert not root.exists()


def test_what_is_read_only_is_left_whole_and_named(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_tree(root, TREE)
    with read_only(root / "fxgraph"):
        cleared = clear_root(inductor_at(root))
        assert [item.path for item in cleared.left] == [GRAPH]
        assert "Read-only file system" in cleared.problem
        assert read_tree(root) == {GRAPH: TREE[GRAPH]}
        assert leftovers(root) == []
    assert clear_root(inductor_at(root)).left == ()
    assert not root.exists()


def test_what_cannot_be_removed_from_a_folder_that_was_moved_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    write_tree(root, TREE)
    unlink = os.unlink

    def unlink_like_nfs(path: str, *, dir_fd: int | None = None) -> None:
        """A file that is open goes on under another name, which cannot be removed."""
        if path.startswith(".nfs"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        if path.endswith(".so"):
            os.rename(path, ".nfs0000000000000001", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink_like_nfs)
    for reason in ("open in another process", "busy"):
        cleared = clear_root(inductor_at(root))
        assert [item.path for item in cleared.left] == [f"{TREE_FOLDER}/.nfs0000000000000001"]
        assert reason in cleared.problem
        assert [*read_tree(root)] == [f"{TREE_FOLDER}/.nfs0000000000000001"]
        assert leftovers(root) == []
    monkeypatch.undo()
    assert clear_root(inductor_at(root)).left == ()
    assert not root.exists()


@needs_root
def test_what_another_user_closed_is_left_and_named_and_the_rest_goes(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_tree(root, TREE)
    open_the_way_to(root)
    (root / "fxgraph").chmod(0o700)
    for path in [root, *root.rglob("*")]:
        if "fxgraph" not in path.parts:
            os.chown(path, OTHER_USER, OTHER_USER)
    os.seteuid(OTHER_USER)
    try:
        problem = clear_root(inductor_at(root)).problem
    finally:
        os.seteuid(0)
    assert problem == f"1 left in {root} that could not be removed: fxgraph: Permission denied"
    assert [*read_tree(root)] == [GRAPH]


@needs_root
def test_a_root_that_another_user_loads_into_is_named_with_who_may_clear_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_tree(root, TREE)
    open_the_way_to(root)
    (root / RECORD_FOLDER).mkdir(mode=0o700)
    for path in [root, *root.rglob("*")]:
        if path.name != RECORD_FOLDER:
            os.chown(path, OTHER_USER, OTHER_USER)
    os.seteuid(OTHER_USER)
    try:
        (cleared,) = clear_roots([inductor_at(root)])
    finally:
        os.seteuid(0)
    assert cleared.problem == (
        f"inductor: {root} is used by another user (uid 0), whose {RECORD_FOLDER} is in it: clear "
        "it as that user"
    )


# Other users.


@needs_root
def test_a_root_of_another_user_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_tree(root, TREE)
    os.chown(root, OTHER_USER, OTHER_USER)
    with pytest.raises(OSError, match=f"another user .uid {OTHER_USER}.: clear it as that user"):
        clear_root(inductor_at(root))
    assert read_tree(root) == TREE


@needs_root
def test_a_link_that_another_user_planted_for_a_root_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    write_tree(victim, TREE)
    tmp_path.chmod(0o777)
    (tmp_path / "root").symlink_to(victim)
    os.chown(tmp_path / "root", OTHER_USER, OTHER_USER, follow_symlinks=False)
    with pytest.raises(OSError, match="a link of another user"):
        clear_root(inductor_at(tmp_path / "root"))
    assert read_tree(victim) == TREE


@needs_root
def test_a_link_that_another_user_planted_inside_a_root_is_left(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    write_tree(victim, TREE)
    root = tmp_path / "root"
    root.mkdir(mode=0o777)
    root.chmod(0o777)
    (root / "fxgraph").symlink_to(victim)
    os.chown(root / "fxgraph", OTHER_USER, OTHER_USER, follow_symlinks=False)
    cleared = clear_root(inductor_at(root))
    assert "a link of another user" in cleared.problem
    assert read_tree(victim) == TREE


def test_a_clear_stays_in_the_root_whatever_takes_the_place_of_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    write_tree(victim, TREE)
    write_tree(root, TREE)

    def swap_then_go_on(*arguments: Any) -> Any:
        found = survey(*arguments)
        if root.exists() and not root.is_symlink():
            root.rename(tmp_path / "moved")
            root.symlink_to(victim)
        return found

    monkeypatch.setattr(local_clear, "survey", swap_then_go_on)
    clear_root(inductor_at(root))
    assert read_tree(victim) == TREE
    assert read_tree(tmp_path / "moved") == {}


@needs_root
def test_folders_that_are_swapped_for_planted_links_meanwhile_lead_nowhere(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    write_tree(victim, TREE)
    write_tree(root, {"stays.txt": b""})
    root.chmod(0o777)
    names = ("fxgraph", "aotautograd", TREE_FOLDER)
    for name in names:
        (tmp_path / name).symlink_to(victim / name)
        os.chown(tmp_path / name, OTHER_USER, OTHER_USER, follow_symlinks=False)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for name in names:
                with contextlib.suppress(OSError):
                    os.rename(root / name, tmp_path / "aside")
                    os.rename(tmp_path / name, root / name)
                    os.rename(root / name, tmp_path / name)
                    os.rename(tmp_path / "aside", root / name)

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                write_tree(root, TREE)
            with contextlib.suppress(OSError):
                clear_root(inductor_at(root))
    finally:
        stop.set()
        attacker.join()
    assert read_tree(victim) == TREE
