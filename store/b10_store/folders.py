"""Open local folders: names below them are resolved from their descriptors.

Anybody who can write to a folder above, or within, may replace what a name stands for at any
moment. A descriptor stays with the folder that was checked, and a link is followed only if nobody
but this user or root can have made it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

_HAS_DESCRIPTORS = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
"""Windows cannot open folders: there, names are joined to the folder's path."""

_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_STEP = _FOLDER | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_PATH", os.O_RDONLY)
"""A folder on the way to another must be searchable, but need not be readable."""

_CHILD = os.O_RDONLY | _FOLDER | getattr(os, "O_NOFOLLOW", 0)

_LINKS = 40
"""The number of links that are followed, as on Linux."""


_PRIVATE = 0o600


class ForeignLinkError(OSError):
    """A link that another user made is in place of a folder."""


def _never(_: object) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """A folder that stays the same whatever happens to its name. Closed by `with`.

    Attributes:
        location: the absolute path by which it was opened, for messages.
        handle: its descriptor, the `dir_fd` of calls; None when the system has none.
        status: its status when it was opened.
    """

    location: str
    handle: int | None
    status: os.stat_result

    def __enter__(self) -> Self:
        """Close it when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close it; folders that were opened from it stay open."""
        if self.handle is not None:
            os.close(self.handle)

    def at(self, name: str) -> str:
        """Return a name directly in the folder in the form that calls with `dir_fd` take."""
        return name if self.handle is not None else os.path.join(self.location, name)

    def locate(self, path: str) -> str:
        """Return the location of a path below the folder, for messages."""
        return os.path.join(self.location, path) if path else self.location

    def enter(self, path: str) -> OpenFolder:
        """Open a folder below this one.

        Args:
            path: relative; "" for the folder itself again.

        Raises:
            ForeignLinkError: a link that another user made is in the way.
            OSError: it cannot be opened, or is no folder.
        """
        location = self.locate(path)
        if self.handle is None:
            return _open_by_name(location)
        return _opened(_descend(os.dup(self.handle), path, location), location)

    def enter_child(self, name: str) -> OpenFolder:
        """Open a folder directly in this one; a link is not followed.

        Raises:
            OSError: it cannot be opened, or is no folder.
        """
        location = self.locate(name)
        if self.handle is None:
            return _open_by_name(location)
        handle = os.open(name, _CHILD, dir_fd=self.handle)
        return OpenFolder(location, handle, os.fstat(handle))

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """Iterate over the entries directly in the folder.

        Raises:
            OSError: it cannot be read.
        """
        with os.scandir(self.location if self.handle is None else self.handle) as found:
            yield from found

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a name directly in the folder; a link is not followed.

        Raises:
            OSError: it does not exist.
        """
        return os.stat(self.at(name), dir_fd=self.handle, follow_symlinks=False)


def open_folder(location: str) -> OpenFolder:
    """Open a folder by its absolute path.

    Args:
        location: the path; links in it are followed if this user or root made them.

    Raises:
        ForeignLinkError: a link that another user made is in the way.
        OSError: it cannot be opened, or is no folder.
    """
    if not _HAS_DESCRIPTORS:
        return _open_by_name(location)
    return _opened(_descend(os.open("/", _STEP), location, location), location)


def open_file(location: str, flags: int, check: Callable[[str, os.stat_result], None]) -> int:
    """Open a file by its absolute path; return its descriptor.

    Args:
        location: the path; links are followed if this user or root made them, except in place of a
            file that must be new (`O_EXCL`).
        flags: the flags of `os.open`. A new file is private to this user.
        check: called with the path and the status of each folder on the way; it raises an exception
            to end the search.

    Raises:
        ForeignLinkError: a link that another user made is in the way.
        OSError: it cannot be opened.
    """
    if not _HAS_DESCRIPTORS:
        return os.open(location, flags, _PRIVATE)
    path = location
    for _ in range(_LINKS):
        above, name = os.path.split(path)
        handle = _descend(os.open("/", _STEP), above, location, check)
        try:
            target = None if flags & os.O_EXCL else _read_link(name, handle, location)
            if target is None:
                return os.open(name or ".", flags | os.O_NOFOLLOW, _PRIVATE, dir_fd=handle)
        finally:
            os.close(handle)
        path = os.path.join(above, target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), location)


def make_folder(location: str, mode: int = 0o777) -> OpenFolder:
    """Open a folder by its absolute path; create it, and those above it, if missing.

    Args:
        location: see `open_folder`.
        mode: the mode of a new folder, before the umask.

    Raises:
        ForeignLinkError: a link that another user made is in the way.
        OSError: it cannot be created or opened.
    """
    try:
        return open_folder(location)
    except FileNotFoundError:
        above, name = os.path.split(location)
        if not name:
            raise
    with make_folder(above) as parent:
        with contextlib.suppress(FileExistsError):
            os.mkdir(parent.at(name), mode, dir_fd=parent.handle)
        return parent.enter(name)


def remove_tree(folder: OpenFolder, name: str) -> None:
    """Remove a file or tree directly in an open folder, as far as that is possible."""
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(folder.stat(name).st_mode):
            os.unlink(folder.at(name), dir_fd=folder.handle)
            return
        with folder.enter_child(name) as below:
            for item in list(below.entries()):
                remove_tree(below, item.name)
        os.rmdir(folder.at(name), dir_fd=folder.handle)


class Bounds(NamedTuple):
    """The folders below an open one that are used. Each function returns "" or why one is not.

    Attributes:
        refuse: asked with the status of every folder and file.
        refuse_link: asked with the path of the folder that a link leads to.
    """

    refuse: Callable[[os.stat_result], str] = _never
    refuse_link: Callable[[str], str] = _never

    def enter(self, folder: OpenFolder, name: str) -> OpenFolder:
        """Open a folder directly in an open one, or the one that a link there leads to.

        Raises:
            OSError: there is none, or it is not used; its `strerror` says why.
        """
        try:
            opened = folder.enter_child(name)
        except OSError:
            if not stat.S_ISLNK(folder.stat(name).st_mode):
                raise
            return self.follow(folder, name)
        return self._checked(opened, self.refuse(opened.status))

    def follow(self, folder: OpenFolder, path: str) -> OpenFolder:
        """Open the folder that a link leads to, if both belong to this user or root.

        Raises:
            OSError: it is not used; its `strerror` says why.
        """
        location = folder.locate(path)
        try:
            opened = folder.enter(path)
        except ForeignLinkError:
            raise OSError(errno.ELOOP, "a link of another user", location) from None
        except OSError as error:
            raise OSError(error.errno, "a link that leads to no folder", location) from error
        if foreign_owner(opened.status) is not None:
            return self._checked(opened, "a link to a folder of another user")
        reason = self.refuse(opened.status) or self.refuse_link(os.path.realpath(location))
        return self._checked(opened, reason)

    @staticmethod
    def _checked(opened: OpenFolder, reason: str) -> OpenFolder:
        if reason:
            opened.close()
            raise OSError(errno.EACCES, reason, opened.location)
        return opened


def _any_link(_: str) -> str:
    return "a link"


NO_LINKS = Bounds(refuse_link=_any_link)


def foreign_owner(status: os.stat_result) -> int | None:
    """Return the owner of something; None when that is this user or root."""
    own = getattr(os, "geteuid", lambda: status.st_uid)()
    return None if status.st_uid in (0, own) else status.st_uid


def _open_by_name(location: str) -> OpenFolder:
    if os.path.islink(location):
        raise ForeignLinkError(errno.ELOOP, "a link is in place of a folder", location)
    status = os.stat(location)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), location)
    return OpenFolder(location, None, status)


def _opened(handle: int, location: str) -> OpenFolder:
    """Replace a folder's descriptor by one that can also read it."""
    try:
        readable = os.open(".", os.O_RDONLY | _FOLDER, dir_fd=handle)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), location) from None
    finally:
        os.close(handle)
    return OpenFolder(location, readable, os.fstat(readable))


def _descend(
    handle: int,
    path: str,
    location: str,
    check: Callable[[str, os.stat_result], None] | None = None,
) -> int:
    """Open `path`, folder by folder, from an open one, which is closed."""
    waiting = path.split("/")[::-1]
    links = 0
    here = ""
    try:
        _look(check, here, handle)
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            target = None
            try:
                step = os.open(name, _STEP, dir_fd=handle)
            except OSError as error:
                target = _read_link(name, handle, location)
                links += 1
                if target is None or links > _LINKS:
                    raise OSError(error.errno, os.strerror(error.errno or 0), location) from None
                waiting += target.split("/")[::-1]
                if not target.startswith("/"):
                    continue
                step = os.open("/", _STEP)
            os.close(handle)
            handle = step
            here = f"{here}/{name}" if target is None else ""
            _look(check, here, handle)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _look(check: Callable[[str, os.stat_result], None] | None, path: str, handle: int) -> None:
    if check is not None:
        check(os.path.normpath(path or "/"), os.fstat(handle))


def _read_link(name: str, handle: int, location: str) -> str | None:
    """Return where a link leads that may be followed; None for anything but a link.

    The link is checked before and after, because it may be replaced meanwhile.
    """
    try:
        before = os.stat(name, dir_fd=handle, follow_symlinks=False)
        if not stat.S_ISLNK(before.st_mode):
            return None
        target = os.readlink(name, dir_fd=handle)
        after = os.stat(name, dir_fd=handle, follow_symlinks=False)
    except OSError:
        return None
    is_same = os.path.samestat(before, after) and before.st_ctime_ns == after.st_ctime_ns
    if is_same and not _is_planted(before, os.fstat(handle)):
        return target
    message = f"a link of another user (uid {before.st_uid}), {name}, is in the way"
    raise ForeignLinkError(errno.ELOOP, message, location)


def _is_planted(link: os.stat_result, folder: os.stat_result) -> bool:
    """Return whether somebody else can have made a link.

    Nobody can in a folder of this user or root in which nobody else may write, whoever owns the
    link now, such as root of another user namespace.
    """
    if foreign_owner(link) is None:
        return False
    for_others = folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return foreign_owner(folder) is not None or bool(for_others)
