from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from b10_store.folders import Bounds
from b10_store.tree.placement import LocalNames
from tests.support.crowd import OTHER_USER
from tests.support.staged import (
    bring_all,
    files_of,
    leftovers,
    make_root,
    paths,
    placed_paths,
    placement_of,
    staged,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TREE = {"ab/x": b"1", "ab/y": b"2", "cd/ef/z": b"3", "top": b"4"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


def note_moves(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
    """What is renamed or linked into the root, in order."""
    moves: list[str] = []

    def noting(real: Callable[..., None]) -> Callable[..., None]:
        def note(source: str, target: str, *, dst_dir_fd: int, **options: object) -> None:
            real(source, target, dst_dir_fd=dst_dir_fd, **options)
            folder = os.readlink(f"/proc/self/fd/{dst_dir_fd}")
            moves.append(os.path.relpath(os.path.join(folder, target), root))

        return note

    for name in ("rename", "link"):
        monkeypatch.setattr(os, name, noting(getattr(os, name)))
    return moves


def test_a_folder_that_is_not_there_comes_in_one_rename(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = note_moves(monkeypatch, root)
    bring_all(root, TREE)
    assert sorted(moves) == ["ab", "cd", "top"]


def test_into_a_folder_that_is_there_files_come_one_by_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "ab").mkdir()
    (root / "cd").mkdir()
    moves = note_moves(monkeypatch, root)
    bring_all(root, TREE)
    assert sorted(moves) == ["ab/x", "ab/y", "cd/ef", "top"]
    assert files_of(root) == TREE


def test_a_file_that_is_there_is_never_replaced(root: Path) -> None:
    (root / "ab").mkdir()
    (root / "ab/x").write_bytes(b"mine")
    (root / "top").write_bytes(b"mine too")
    result = bring_all(root, TREE)
    assert paths(result.kept) == {"ab/x", "top"}
    assert placed_paths(result) == {"ab/y", "cd/ef/z"}
    assert files_of(root) == {**TREE, "ab/x": b"mine", "top": b"mine too"}


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_link_in_the_place_of_a_file_is_left_alone(root: Path, target: str) -> None:
    (root.parent / "elsewhere").write_bytes(b"outside")
    (root / "top").symlink_to(root.parent / target)
    result = bring_all(root, {"top": b"new"})
    assert paths(result.kept) == {"top"}
    assert (root / "top").is_symlink()
    assert (root.parent / "elsewhere").read_bytes() == b"outside"


def test_ones_own_link_in_the_place_of_a_folder_is_followed(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"mine")
    (root / "ab").symlink_to(outside)
    (root / "cd").mkdir()
    (root / "cd/ef").symlink_to(outside)
    result = bring_all(root, TREE)
    assert placed_paths(result) == {"ab/y", "cd/ef/z", "top"}
    assert paths(result.kept) == {"ab/x"}
    assert files_of(outside) == {"x": b"mine", "y": b"2", "z": b"3"}


@pytest.mark.parametrize("kind", ["dangling", "another's", "to another's", "refused"])
def test_another_link_in_the_place_of_a_folder_is_not_followed(root: Path, kind: str) -> None:
    if kind.endswith("another's") and os.geteuid():
        pytest.skip("only root can give files away")
    outside = root.parent / "outside"
    outside.mkdir()
    link = root / "ab"
    link.symlink_to(root.parent / "nowhere" if kind == "dangling" else outside)
    if kind == "another's":
        os.chown(link, OTHER_USER, OTHER_USER, follow_symlinks=False)
        root.chmod(0o1777)
    elif kind == "to another's":
        os.chown(outside, OTHER_USER, OTHER_USER)

    def refuse_link(target: str) -> str:
        return f"refused: {target}" * (kind == "refused")

    bounds = Bounds(refuse_link=refuse_link)
    result = bring_all(root, TREE, bounds=bounds)
    assert paths(item for item, _ in result.failed) == {"ab/x", "ab/y"}
    reasons = {
        "dangling": "a link that leads to no folder",
        "another's": "a link of another user",
        "to another's": "a link to a folder of another user",
        "refused": f"refused: {outside}",
    }
    assert result.failed[0][1] == f"{link} is in the way: {reasons[kind]}"
    assert list(outside.iterdir()) == []
    assert placed_paths(result) == {"cd/ef/z", "top"}


@pytest.mark.parametrize("swapped", ["ab", "root"])
def test_what_is_swapped_for_a_link_between_look_and_move_gets_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    victim = root.parent / "victim"
    (victim / "ab").mkdir(parents=True)
    (root / "ab").mkdir()
    link = os.link

    def racing(source: str, target: str, **options: Any) -> None:
        place = root if swapped == "root" else root / "ab"
        if not place.is_symlink():
            place.rename(root.parent / "aside")
            place.symlink_to(victim if swapped == "root" else victim / "ab")
        link(source, target, **options)

    monkeypatch.setattr(os, "link", racing)
    bring_all(root, {"ab/x": b"1", "ab/y": b"2"})
    monkeypatch.undo()
    assert files_of(victim) == {}


def test_a_folder_that_others_could_write_to_gets_nothing_where_that_is_asked_for(
    root: Path,
) -> None:
    (root / "ab").mkdir()
    (root / "ab/theirs").write_bytes(b"")

    def refuse(_: os.stat_result) -> str:
        return "not trusted"

    bounds = Bounds(refuse)
    result = bring_all(root, TREE, bounds=bounds)
    assert [reason for _, reason in result.failed] == [f"{root}/ab is in the way: not trusted"] * 2
    assert placed_paths(result) == {"cd/ef/z", "top"}


def test_a_file_in_the_place_of_a_folder_is_left_alone(root: Path) -> None:
    (root / "ab").write_bytes(b"a file")
    result = bring_all(root, TREE)
    assert paths(item for item, _ in result.failed) == {"ab/x", "ab/y"}
    assert files_of(root) == {"ab": b"a file", "cd/ef/z": b"3", "top": b"4"}


def test_a_folder_in_the_place_of_a_file_is_left_alone(root: Path) -> None:
    (root / "top").mkdir()
    result = bring_all(root, TREE)
    assert paths(result.kept) == {"top"}
    assert (root / "top").is_dir()


def test_parts_are_in_place_before_what_refers_to_them(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "here").mkdir()
    tree = {path: path.encode() for path in ("here/c", "b/x", "here/a", "e", "d/y/z")}
    orders = {"here/a": 0, "b/x": 1, "here/c": 2, "d/y/z": 3, "e": 4}
    moves = note_moves(monkeypatch, root)
    bring_all(root, tree, orders)
    assert moves == ["here/a", "b", "here/c", "d", "e"]


def test_a_folder_waits_for_the_last_of_what_is_in_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {path: path.encode() for path in ("a/first", "a/last", "b/middle")}
    moves = note_moves(monkeypatch, root)
    bring_all(root, tree, {"a/first": 0, "b/middle": 1, "a/last": 2})
    assert moves == ["b", "a"]


def compile_meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something between the look at a folder and its rename, once."""
    rename = os.rename
    left = [act]

    def racing(source: str, target: str, **options: int) -> None:
        if left:
            left.pop()()
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", racing)


def test_a_folder_that_a_compiler_makes_meanwhile_is_shared(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act() -> None:
        (root / "ab/own").mkdir(parents=True)
        (root / "ab/x").write_bytes(b"the compiler's")
        (root / "ab/own/file").write_bytes(b"the compiler's too")

    compile_meanwhile(monkeypatch, act)
    result = bring_all(root, {"ab/x": b"1", "ab/y": b"2", "ab/own/z": b"3", "ab/new/w": b"4"})
    monkeypatch.undo()
    assert paths(result.kept) == {"ab/x"}
    assert files_of(root) == {
        "ab/x": b"the compiler's",
        "ab/own/file": b"the compiler's too",
        "ab/y": b"2",
        "ab/own/z": b"3",
        "ab/new/w": b"4",
    }


def test_an_empty_folder_made_meanwhile_is_taken_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_meanwhile(monkeypatch, (root / "ab").mkdir)
    result = bring_all(root, {"ab/x": b"1"})
    monkeypatch.undo()
    assert placed_paths(result) == {"ab/x"}
    assert files_of(root) == {"ab/x": b"1"}


def test_a_file_made_meanwhile_wins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def racing(source: str, target: str, **options: Any) -> None:
        (root / "top").write_bytes(b"the compiler's")
        link(source, target, **options)

    monkeypatch.setattr(os, "link", racing)
    result = bring_all(root, {"top": b"new"})
    monkeypatch.undo()
    assert paths(result.kept) == {"top"}
    assert files_of(root) == {"top": b"the compiler's"}


def no_links(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV])
def test_without_links_files_are_renamed_and_still_none_is_replaced(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (root / "kept").write_bytes(b"mine")
    no_links(monkeypatch, code)
    result = bring_all(root, {"kept": b"new", "top": b"1"})
    monkeypatch.undo()
    assert (paths(result.kept), placed_paths(result)) == ({"kept"}, {"top"})
    assert files_of(root) == {"kept": b"mine", "top": b"1"}


def test_another_error_of_a_link_fails_the_artifact_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_links(monkeypatch, errno.EIO)
    result = bring_all(root, {"ab/x": b"1", "top": b"2"})
    monkeypatch.undo()
    assert paths(item for item, _ in result.failed) == {"top"}
    assert files_of(root) == {"ab/x": b"1"}
    assert leftovers(root) == []


def mount_below(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Renames out of the folder for records fail as they do between two filesystems."""
    rename = os.rename

    def refuse(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if ".b10_transfer" in os.readlink(f"/proc/self/fd/{src_dir_fd}"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    no_links(monkeypatch, errno.EXDEV)
    monkeypatch.setattr(os, "rename", refuse)
    assert root.is_dir()


def test_into_a_folder_that_is_another_filesystem_files_are_copied(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "mounted").mkdir()
    mount_below(monkeypatch, root)
    tree = {"mounted/a": b"1", "mounted/b": b"2", "mounted/new/c": b"3", "mounted/new/er/d": b"4"}
    result = bring_all(root, tree)
    monkeypatch.undo()
    assert placed_paths(result) == tree.keys()
    assert files_of(root) == tree


def test_a_copy_that_fails_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "mounted").mkdir()
    mount_below(monkeypatch, root)
    flush = os.utime

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "utime", fail)
    result = bring_all(root, {"mounted/a": b"1"})
    monkeypatch.setattr(os, "utime", flush)
    monkeypatch.undo()
    assert paths(item for item, _ in result.failed) == {"mounted/a"}
    assert files_of(root) == {}


def test_placing_takes_nothing_but_what_was_staged(root: Path) -> None:
    staging = staged([placement_of(root, path, data) for path, data in TREE.items()], [b"1", b"3"])
    result = staging.place()
    staging.close()
    assert placed_paths(result) == {"ab/x", "cd/ef/z"}
    assert files_of(root) == {"ab/x": b"1", "cd/ef/z": b"3"}


def test_local_names_are_those_in_the_folder(root: Path) -> None:
    (root / "ab/cd").mkdir(parents=True)
    (root / "ab/x").write_bytes(b"")
    (root / "ab/lost").symlink_to(root / "nowhere")
    (root / "file").write_bytes(b"")
    names = LocalNames(str(root))
    for path in ("ab", "ab/cd", "ab/x", "ab/lost", "file"):
        assert names.has(path)
    for path in ("x", "ab/y", "ab/x/y", "file/y", "no/such/thing", "ab/lost/y"):
        assert not names.has(path)


def test_each_folder_is_listed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "ab").mkdir()
    listed: list[str] = []
    listdir = os.listdir

    def noting(path: str) -> list[str]:
        listed.append(os.path.relpath(path, root))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", noting)
    names = LocalNames(str(root))
    for path in ("ab/x", "ab/y", "ab/z/w", "ab/z/v", "no/a", "no/b", "top"):
        assert not names.has(path)
    assert sorted(listed) == [".", "ab"]


def test_a_root_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    assert not LocalNames(str(tmp_path / "missing")).has("a")
