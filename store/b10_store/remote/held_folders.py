"""The folders of a store, held open: names are looked up in them, never through a link.

Anybody who can write to the store can put a link in place of one of its folders. A path would lead
through it, to files of this host; a descriptor leads to the folder that was opened, and opening
refuses a link (I12). The store's own root may be a link, because it belongs to the operator.
"""

from __future__ import annotations

import errno
import os

from b10_store.remote.folder_names import NO_FOLDER

_BY_DESCRIPTOR = os.open in os.supports_dir_fd
"""False on Windows: there, names are joined to paths."""
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_close = os.close


class HeldFolder:
    """An open folder; it is closed when nobody uses it any more.

    Attributes:
        path: where it was found.
        handle: its descriptor, for `dir_fd`; None when the system has none.
    """

    __slots__ = ("handle", "path")

    def __init__(self, path: str, handle: int | None) -> None:
        """Take over a descriptor."""
        self.path = path
        self.handle = handle

    def entry(self, name: str) -> str:
        """Return the name of a file in it, to be used together with `handle`."""
        return os.path.join(self.path, name) if self.handle is None else name

    def __del__(self) -> None:
        """Close it now, not earlier: another thread may work in a folder that was forgotten."""
        if self.handle is not None:
            _close(self.handle)


class HeldFolders:
    """The folders of one store, each opened at first use. Safe to use from threads."""

    def __init__(self, root: str) -> None:
        """Open nothing yet.

        Args:
            root: the absolute path of the store.
        """
        self._root = root
        self._kept: dict[str, HeldFolder] = {}

    def open(self, folder: str) -> HeldFolder:
        """Return a folder of the store, by its name; "" is the store itself.

        The store itself and the folders right below it stay open.

        Raises:
            OSError: it cannot be opened; ELOOP: it is a link.
        """
        kept = self._kept
        found = kept.get(folder)
        if found is None:
            found = self._open(folder)
            if "/" not in folder:
                kept[folder] = found
        return found

    def open_again(self, folder: str) -> HeldFolder:
        """Open a folder for this caller only: two scans of one would share their position.

        All others are reopened, too, at their next use.

        Raises:
            OSError: as `open`.
        """
        self.forget()
        return self._open(folder)

    def forget(self) -> None:
        """Forget all of them: one may have been deleted and created again."""
        self._kept = {}

    def path(self, name: str) -> str:
        """Return where a file or a folder of the store is, for messages."""
        return os.path.join(self._root, *name.split("/")) if name else self._root

    def _open(self, folder: str) -> HeldFolder:
        path = self.path(folder)
        if not _BY_DESCRIPTOR:
            return HeldFolder(path, None)
        if not folder:
            return HeldFolder(path, os.open(path, _FLAGS))
        parent, _, name = folder.rpartition("/")
        above = self.open(parent)
        try:
            return HeldFolder(path, os.open(name, _FLAGS | _NO_LINK, dir_fd=above.handle))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise OSError(errno.ELOOP, NO_FOLDER, path) from error
            raise


def hold_folder(path: str) -> HeldFolder:
    """Open a folder whose last part must not be a link.

    Raises:
        OSError: it cannot be opened, or is not a folder.
    """
    return HeldFolder(path, os.open(path, _FLAGS | _NO_LINK) if _BY_DESCRIPTOR else None)
