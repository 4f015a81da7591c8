"""Find the files below a local folder, through its open descriptor."""

from __future__ import annotations

import contextlib
import os
import stat
from operator import attrgetter
from typing import TYPE_CHECKING

from b10_store.folders import NO_LINKS, Bounds, open_folder
from b10_store.paths import DEPTH_LIMIT
from b10_store.tree.scan import FoundFile, Skipped, fingerprint_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.folders import OpenFolder


def walk(
    folder: str,
    enter: Callable[[str], bool],
    bounds: Bounds = NO_LINKS,
    skipped: list[Skipped] | None = None,
) -> list[FoundFile]:
    """Find the regular files below a folder, sorted by path.

    A link to a folder is followed if both belong to this user or root, since compilers follow it,
    too. A folder that can be reached in several ways is found by the first, and by one without
    links if there is one. For a folder that cannot be read, or vanishes meanwhile, the files that
    were seen until then count.

    Args:
        folder: absolute path.
        enter: returns whether to enter a folder, or to follow a link, given its relative path.
        bounds: what is left out; by default the targets of links.
        skipped: receives the links that are not followed, and what the bounds refuse.
    """
    found = _Walk(folder, enter, bounds)
    found.begin()
    if skipped is not None:
        skipped += found.skipped
    found.files.sort(key=_path_of)
    return found.files


_path_of = attrgetter("path")


class _Walk:
    def __init__(self, folder: str, enter: Callable[[str], bool], bounds: Bounds) -> None:
        self.files: list[FoundFile] = []
        self.skipped: list[Skipped] = []
        self._folder = folder
        self._enter = enter
        self._bounds = bounds
        self._links: list[str] = []
        self._seen: set[tuple[int, int]] = set()

    def begin(self) -> None:
        try:
            root = open_folder(self._folder)
        except OSError:
            return
        reason = self._bounds.refuse(root.status)
        with root:
            if reason:
                self.skipped.append(Skipped(self._folder, reason))
                return
            self._look_into(root, "")
            # Following a link may find further ones.
            while self._links:
                self._links.sort(reverse=True)
                self._follow(root, self._links.pop())

    def _look_into(self, opened: OpenFolder, prefix: str) -> None:
        identity = opened.status.st_dev, opened.status.st_ino
        if identity in self._seen:
            return
        self._seen.add(identity)
        with contextlib.suppress(OSError):
            for item in opened.entries():
                # An entry that vanishes meanwhile was not there.
                try:
                    if item.is_file(follow_symlinks=False):
                        self._note(item.stat(follow_symlinks=False), prefix + item.name)
                    else:
                        self._look_at(opened, item, prefix + item.name)
                except OSError:
                    continue

    def _note(self, status: os.stat_result, path: str) -> None:
        reason = self._bounds.refuse(status)
        if reason:
            self._skip(path, reason)
            return
        executable = bool(status.st_mode & stat.S_IXUSR)
        fingerprint = fingerprint_of(status)
        self.files.append(
            FoundFile(path, self._folder, fingerprint, executable, status.st_atime_ns)
        )

    def _look_at(self, opened: OpenFolder, item: os.DirEntry[str], path: str) -> None:
        if item.is_dir(follow_symlinks=False):
            # Deeper folders hold no artifacts, and would take a descriptor each.
            if self._enter(path) and path.count("/") < DEPTH_LIMIT:
                with opened.enter_child(item.name) as below:
                    reason = self._bounds.refuse(below.status)
                    if reason:
                        self._skip(path, reason)
                    else:
                        self._look_into(below, path + "/")
        elif item.is_symlink() and self._enter(path):
            self._links.append(path)

    def _follow(self, root: OpenFolder, path: str) -> None:
        try:
            opened = self._bounds.follow(root, path)
        except OSError as error:
            self._skip(path, str(error.strerror))
            return
        with opened:
            self._look_into(opened, path + "/")

    def _skip(self, path: str, reason: str) -> None:
        self.skipped.append(Skipped(f"{self._folder}{os.sep}{path}", reason))
