"""The files to clear in a cache root, found in one walk from its descriptor."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store import RECORD_FOLDER
from b10_transfer.own_user import own_uid

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store import OpenFolder

_DEPTH_LIMIT = 100
"""No compiler nests its folders deeper than this."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The paths of a cache root that a clear removes.

    Attributes:
        enters: returns whether there may be such files below a folder.
        takes: returns whether a file is one of them.
        refuses: returns why a link to a folder is not followed, given that folder; "" when it is.
    """

    enters: Callable[[str], bool]
    takes: Callable[[str], bool]
    refuses: Callable[[str], str]


@dataclass(slots=True)
class Folder:
    """A folder of a cache root that may have something to clear.

    Attributes:
        path: below the root; "" for the root itself.
        files: the names of the files to be removed.
        folders: the folders in it that were searched.
        is_whole: whether it can be moved away with everything in it.
    """

    path: str
    files: list[str] = field(default_factory=list[str])
    folders: list[Folder] = field(default_factory=list["Folder"])
    is_whole: bool = True

    def has_files(self) -> bool:
        """Return whether there are files to be removed, here or further down."""
        return bool(self.files) or any(folder.has_files() for folder in self.folders)

    def all_files(self) -> list[str]:
        """The paths below the root of all files to be removed, here and further down."""
        found = [join(self.path, name) for name in self.files]
        return found + [path for folder in self.folders for path in folder.all_files()]


@dataclass(slots=True)
class Survey:
    """The result of a walk.

    Attributes:
        top: the root.
        foreign: the paths that are not to be removed; folders end in a slash.
        closed: the paths of folders that cannot be read, with the reasons.
    """

    top: Folder
    foreign: list[str] = field(default_factory=list[str])
    closed: dict[str, str] = field(default_factory=dict[str, str])


def survey(root: OpenFolder, scope: Scope) -> Survey:
    """Walk a cache root.

    Raises:
        OSError: the root cannot be read.
    """
    found = Survey(Folder("", is_whole=False))
    _walk(found, found.top, root, (scope, root.status.st_dev))
    return found


def join(folder: str, name: str) -> str:
    """Return the path of a name in a folder, below the root."""
    return f"{folder}/{name}" if folder else name


def _walk(found: Survey, folder: Folder, opened: OpenFolder, rules: tuple[Scope, int]) -> None:
    scope = rules[0]
    for item in sorted(opened.entries(), key=lambda item: item.name):
        path = join(folder.path, item.name)
        if item.name == RECORD_FOLDER:
            continue
        is_folder = item.is_dir(follow_symlinks=False)
        if (is_folder or _is_followed(item, folder)) and scope.enters(path):
            _enter(found, folder, opened, item, rules)
        elif not is_folder and scope.takes(path):
            folder.files.append(item.name)
        else:
            folder.is_whole = False
            found.foreign.append(path + "/" * is_folder)


def _is_followed(item: os.DirEntry[str], folder: Folder) -> bool:
    """Return whether it is a link that puts a part of the cache elsewhere.

    Only links directly in the root do: those further down are the compiler's own, such as to its
    sources.
    """
    try:
        return not folder.path and item.is_symlink() and item.is_dir()
    except OSError:
        return False  # it leads in a circle


def _enter(
    found: Survey,
    above: Folder,
    opened: OpenFolder,
    item: os.DirEntry[str],
    rules: tuple[Scope, int],
) -> None:
    inner = Folder(join(above.path, item.name))
    above.folders.append(inner)
    if inner.path.count("/") >= _DEPTH_LIMIT:
        found.closed[inner.path] = "too many nested folders"
        above.is_whole = False
        return
    try:
        enter = opened.enter if item.is_symlink() else opened.enter_child
        with enter(item.name) as folder:
            if item.is_symlink() and rules[0].refuses(os.path.realpath(folder.location)):
                above.folders.remove(inner)
                found.foreign.append(inner.path)
                return
            # A mount cannot be moved. In another user's folder it is unknown what can be removed. A
            # link leads to a folder elsewhere.
            is_here = folder.status.st_dev == rules[1] and not item.is_symlink()
            inner.is_whole = is_here and _is_ours(folder.status)
            _walk(found, inner, folder, rules)
    except OSError as error:
        found.closed[inner.path] = error.strerror or str(error)
        inner.is_whole = False
    above.is_whole = above.is_whole and inner.is_whole


def _is_ours(status: os.stat_result) -> bool:
    return own_uid() in (None, 0, status.st_uid)
