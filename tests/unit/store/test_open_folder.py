"""Folders that are open, and which links lead to one."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from b10_store.folders import ForeignLinkError, OpenFolder, foreign_owner, open_folder
from tests.support.crowd import OTHER_USER

if TYPE_CHECKING:
    from pathlib import Path

needs_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give a link away"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, beside which links may be made."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_bytes(b"here")
    return folder


def names_in(folder: OpenFolder) -> list[str]:
    return sorted(item.name for item in folder.entries())


def plant(link: Path, target: Path | str, owner: int = OTHER_USER) -> None:
    """Make a link of another user in a folder in which everybody may write."""
    link.symlink_to(target)
    os.chown(link, owner, owner, follow_symlinks=False)
    link.parent.chmod(0o1777)


def test_a_folder_is_opened_and_its_names_are_read(folder: Path) -> None:
    with open_folder(str(folder)) as opened:
        assert names_in(opened) == ["file", "sub"]
        assert opened.stat("file").st_size == 4
        assert os.path.samestat(opened.status, folder.stat())


def test_a_folder_stays_the_same_when_another_takes_its_name(folder: Path, tmp_path: Path) -> None:
    with open_folder(str(folder)) as opened:
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        os.unlink(opened.at("file"), dir_fd=opened.handle)
        assert names_in(opened) == ["sub"]
    assert not (tmp_path / "moved" / "file").exists()


def test_ones_own_links_are_followed_wherever_they_are_on_the_way(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "absolute").symlink_to(folder)
    (tmp_path / "relative").symlink_to("absolute/sub/..")
    for name in ("absolute", "relative", "absolute/sub/../../relative"):
        with open_folder(str(tmp_path / name)) as opened:
            assert names_in(opened) == ["file", "sub"]
    with open_folder(str(tmp_path)) as opened, opened.enter("relative/sub") as below:
        assert names_in(below) == []
        assert below.location == f"{tmp_path}/relative/sub"


@needs_root
def test_a_link_that_another_user_planted_is_not_followed(folder: Path, tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    plant(open_to_all / "link", folder)
    with open_folder(str(open_to_all)) as opened:
        for path in ("link", "link/sub"):
            with pytest.raises(ForeignLinkError, match=f"uid {OTHER_USER}"):
                opened.enter(path)
            with pytest.raises(ForeignLinkError, match=f"uid {OTHER_USER}"):
                open_folder(str(open_to_all / path))
    (tmp_path / "mine").symlink_to(open_to_all / "link")
    with pytest.raises(ForeignLinkError, match="link, is in the way"):
        open_folder(str(tmp_path / "mine"))


@needs_root
def test_a_link_is_followed_where_nobody_else_can_have_made_it(
    folder: Path, tmp_path: Path
) -> None:
    plant(tmp_path / "link", folder)
    for mode, is_followed in ((0o755, True), (0o775, False), (0o757, False)):
        tmp_path.chmod(mode)
        if is_followed:
            open_folder(str(tmp_path / "link")).close()
            continue
        with pytest.raises(ForeignLinkError):
            open_folder(str(tmp_path / "link"))


def test_what_is_no_folder_or_leads_nowhere_is_an_error_with_its_path(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "endless").symlink_to("endless")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "to a file").symlink_to(folder / "file")
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    for name in ("endless", "dangling", "to a file", "pipe", "absent", "folder/file/below"):
        with pytest.raises(OSError, match=r"./" + name):
            open_folder(str(tmp_path / name))
    if before:
        assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_folder_above_needs_only_to_be_searched(folder: Path) -> None:
    folder.chmod(0o111)
    try:
        with open_folder(str(folder / "sub")) as opened:
            assert names_in(opened) == []
    finally:
        folder.chmod(0o755)


@needs_root
def test_what_is_swapped_for_a_planted_link_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    victim, shared = tmp_path / "victim", tmp_path / "shared"
    victim.mkdir()
    shared.mkdir()
    (shared / "folder").mkdir()
    plant(shared / "planted", victim)
    (shared / "mine").symlink_to("folder")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for name in ("planted", "mine", "folder"):
                os.rename(shared / name, shared / "root")
                os.rename(shared / "root", shared / name)

    attacker = threading.Thread(target=swap)
    attacker.start()
    opened = 0
    try:
        for _ in range(3000):
            try:
                with open_folder(str(shared / "root")) as found:
                    assert not os.path.samestat(found.status, victim.stat())
                    opened += 1
            except OSError:
                continue
    finally:
        stop.set()
        attacker.join()
    assert opened


def test_an_owner_is_foreign_who_is_neither_this_user_nor_root(tmp_path: Path) -> None:
    assert foreign_owner(tmp_path.stat()) is None
    assert foreign_owner(os.stat("/")) is None
