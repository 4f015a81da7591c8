"""Empty a cache root of this host.

Files with names that its compiler gives, according to the table of cache roots, are removed; all
others stay. Everything is done from one descriptor of the root, so that nothing outside is reached,
whatever others rename or link meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from b10_store import RECORD_FOLDER, foreign_owner, open_folder
from b10_transfer.caches.artifacts import placing_order, refuse_link
from b10_transfer.caches.foreign import OF_FILESYSTEMS, few, foreign_line
from b10_transfer.caches.unusable_roots import other_user
from b10_transfer.local.clear_survey import Folder, Scope, join, survey
from b10_transfer.local.lock import Patience, holders_of
from b10_transfer.local.scan import common_with_store
from b10_transfer.local.sweep import CLEARED_PREFIX
from b10_transfer.paths import is_below

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from b10_store import OpenFolder
    from b10_transfer.caches.roots import CacheRoot

_LOCK_SECONDS = 10.0
"""How long a clear waits for loads, in seconds, for all cache roots together."""
_LAST_MARK = ".committed"
"""A kernel of DeepGEMM counts as complete while it has this file."""

_STILL_THERE = "written again meanwhile, or open in another process"


class Left(NamedTuple):
    """Something of a cache that could not be removed: its path below the root, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.path}: {self.reason}"


class Cleared(NamedTuple):
    """The result of clearing a cache root.

    Attributes:
        root: the cache root.
        left: the parts of the cache that could not be removed.
        foreign: the paths of files that no compiler wrote; folders end in a slash.
        failure: why nothing at all could be removed; "" otherwise.
    """

    root: CacheRoot
    left: tuple[Left, ...] = ()
    foreign: tuple[str, ...] = ()
    failure: str = ""

    @property
    def problem(self) -> str:
        """Return a line about what is left and why; "" when nothing is."""
        if not self.left:
            return self.failure
        shown = few([str(item) for item in self.left])
        return f"{len(self.left)} left in {self.root.folder} that could not be removed: {shown}"

    @property
    def note(self) -> str:
        """Return a line about files that stay because they are not part of the cache; or ""."""
        foreign = [path for path in self.foreign if path.rstrip("/") not in OF_FILESYSTEMS]
        if not foreign or self.root.kind.is_shared:
            return ""
        if self.root.kind.is_users:
            return (
                f"{self.root.folder}: files that this host does not have in common with the store "
                f"stay ({few(foreign)})"
            )
        return foreign_line(self.root, foreign)


def clear_roots(roots: Sequence[CacheRoot]) -> list[Cleared]:
    """Clear cache roots; a failure in one does not stop the others."""
    patience = Patience(_LOCK_SECONDS)
    return [_try_to_clear(root, roots, patience) for root in roots]


def _try_to_clear(root: CacheRoot, roots: Sequence[CacheRoot], patience: Patience) -> Cleared:
    try:
        cleared = clear_root(root, patience)
    except OSError as error:
        return Cleared(root, failure=f"{root.name}: {_failure(root, error)}")
    nested = [other.folder for other in roots if other.folder != root.folder]
    foreign = (
        path
        for path in cleared.foreign
        if not any(is_below(folder, os.path.join(root.folder, path)) for folder in nested)
    )
    return cleared._replace(foreign=tuple(foreign))


def _failure(root: CacheRoot, error: OSError) -> str:
    owner = other_user(root) if isinstance(error, PermissionError) else None
    if owner is not None:
        return (
            f"{root.folder} is used by another user (uid {owner}), whose {RECORD_FOLDER} is in it: "
            "clear it as that user"
        )
    named = f"{error.filename}: " if error.filename else ""
    return f"{named}{error.strerror or error}"


def clear_root(root: CacheRoot, patience: Patience | None = None) -> Cleared:
    """Remove the cache in a root, our own records, and the folders that become empty.

    Entries are removed before the files that they refer to, in the opposite order of a load.
    Folders with nothing foreign in them are renamed away as a whole before anything in them is
    removed. So a process that is killed meanwhile leaves no entry without its parts, and the next
    load or clear removes what it renamed. In a folder of the user only files are removed that this
    host has in common with the store.

    Args:
        root: the cache root.
        patience: how long to wait for loads.

    Raises:
        OSError: the root cannot be opened or written, is in use, or belongs to another user.
    """
    try:
        opened = open_folder(root.folder)
    except FileNotFoundError:
        return Cleared(root)
    with opened:
        owner = foreign_owner(opened.status)
        if owner is not None:
            message = f"it belongs to another user (uid {owner}): clear it as that user"
            raise OSError(errno.EPERM, message, root.folder)
        with (patience or Patience(_LOCK_SECONDS)).lock(root.folder) as held:
            if held is False:
                raise OSError(_in_use(root.folder))
            left, foreign = _clear_open(opened, _scope_of(root))
        _remove_emptied(opened)
    return Cleared(root, tuple(left), tuple(foreign))


def _in_use(folder: str) -> str:
    return f"{folder} is in use by {holders_of(folder) or 'another load or clear'}: end that first"


def _scope_of(root: CacheRoot) -> Scope:
    kind, refuses = root.kind, partial(refuse_link, root)
    if kind.is_users:
        return Scope(kind.enters, common_with_store(root).__contains__, refuses)
    return Scope(kind.layout.has_folder, kind.layout.has_file, refuses)


def _clear_open(root: OpenFolder, scope: Scope) -> tuple[list[Left], list[str]]:
    before = survey(root, scope)
    reasons = dict(before.closed)
    _Removal(root, scope, reasons).remove(before.top)
    after = survey(root, scope)
    # Nobody knows to whom an empty folder beside foreign files belongs.
    emptied = _folders_with_files(before.top)
    _prune(root, after.top, emptied.__contains__ if after.foreign else _anything)
    paths = [*after.closed, *after.top.all_files()]
    left = [Left(path, reasons.get(path, _STILL_THERE)) for path in paths]
    left += _remove_records(root, keep_notes=bool(left))
    return left, after.foreign


class _Removal:
    """Moves away or removes what a survey found, in the opposite order of a load."""

    def __init__(self, root: OpenFolder, scope: Scope, reasons: dict[str, str]) -> None:
        self._root = root
        self._scope = scope
        self._reasons = reasons
        self._moved: list[Folder] = []
        self._doomed = ""

    def remove(self, top: Folder) -> None:
        self._doomed = _make_doomed(self._root)
        try:
            self._remove_in(top)
            for number, folder in enumerate(self._moved):
                self._destroy(number, folder)
        finally:
            with contextlib.suppress(OSError), self._root.enter(RECORD_FOLDER) as own:
                os.rmdir(own.at(self._doomed), dir_fd=own.handle)

    def _remove_in(self, folder: Folder) -> None:
        """Remove files from a folder that stays or cannot be moved."""
        for unit in sorted(_units(folder), key=_rank, reverse=True):
            if isinstance(unit, Folder):
                if not self._move(unit):
                    self._remove_in(unit)
            else:
                self._unlink(unit)

    def _move(self, folder: Folder) -> bool:
        above, _, name = folder.path.rpartition("/")
        try:
            with (
                self._root.enter(above) as parent,
                self._root.enter(f"{RECORD_FOLDER}/{self._doomed}") as doomed,
            ):
                os.rename(
                    parent.at(name),
                    doomed.at(str(len(self._moved))),
                    src_dir_fd=parent.handle,
                    dst_dir_fd=doomed.handle,
                )
        except OSError:
            # It is a mount, or a layer of an image is below it: its files are removed one by one.
            return False
        self._moved.append(folder)
        return True

    def _unlink(self, path: str) -> None:
        above, _, name = path.rpartition("/")

        def unlink() -> None:
            with self._root.enter(above) as parent:
                _unlink_at(parent, name)

        self._try(path, unlink)

    def _destroy(self, number: int, folder: Folder) -> None:
        """Remove a folder that was moved away; if that fails, move the rest back."""
        above, _, name = folder.path.rpartition("/")
        with self._root.enter(f"{RECORD_FOLDER}/{self._doomed}") as doomed:
            # By now somebody may have put a link in the folder's place.
            with contextlib.suppress(OSError), doomed.enter_child(str(number)) as moved:
                _empty(moved, folder.path, self._scope.takes, self._try)
            try:
                os.rmdir(doomed.at(str(number)), dir_fd=doomed.handle)
            except OSError:
                # If it cannot be moved back, its path in the record folder is reported.
                with contextlib.suppress(OSError), self._root.enter(above) as parent:
                    os.rename(
                        doomed.at(str(number)),
                        parent.at(name),
                        src_dir_fd=doomed.handle,
                        dst_dir_fd=parent.handle,
                    )

    def _try(self, path: str, remove: Callable[[], object]) -> None:
        try:
            remove()
        except FileNotFoundError:
            pass  # a file that vanishes meanwhile was a compiler's temporary file
        except OSError as error:
            self._reasons[path] = error.strerror or str(error)


def _make_doomed(root: OpenFolder) -> str:
    name = CLEARED_PREFIX + os.urandom(8).hex()
    with root.enter(RECORD_FOLDER) as own:
        os.mkdir(own.at(name), 0o700, dir_fd=own.handle)
    return name


def _units(folder: Folder) -> list[Folder | str]:
    """Return what can go in one step: the highest folders with nothing foreign, and files."""
    units: list[Folder | str] = [join(folder.path, name) for name in folder.files]
    for inner in folder.folders:
        units += [inner] if inner.is_whole and inner.has_files() else _units(inner)
    return units


def _rank(unit: Folder | str) -> tuple[int, bool]:
    if isinstance(unit, str):
        return placing_order(unit), unit.endswith(_LAST_MARK)
    orders = [placing_order(path) for path in unit.all_files()]
    return max(orders, default=placing_order(unit.path + "/")), False


def _empty(
    folder: OpenFolder,
    path: str,
    takes: Callable[[str], bool],
    attempt: Callable[[str, Callable[[], object]], None],
) -> None:
    """Remove our files in an open folder, and the folders in it that become empty.

    Args:
        folder: the folder.
        path: where it was, below the root.
        takes: returns whether a file is ours, by its path.
        attempt: calls a function for a path, and notes its failure.
    """
    for item in list(folder.entries()):
        inner_path = join(path, item.name)
        if not item.is_dir(follow_symlinks=False):
            if takes(inner_path):
                attempt(inner_path, partial(_unlink_at, folder, item.name))
            continue
        is_own_record = item.name == RECORD_FOLDER
        with contextlib.suppress(OSError):
            with folder.enter_child(item.name) as inner:
                _empty(inner, inner_path, _anything if is_own_record else takes, attempt)
            os.rmdir(folder.at(item.name), dir_fd=folder.handle)


def _unlink_at(folder: OpenFolder, name: str) -> None:
    os.unlink(folder.at(name), dir_fd=folder.handle)


def _anything(_: str) -> bool:
    return True


def _folders_with_files(folder: Folder) -> set[str]:
    inner = {path for item in folder.folders for path in _folders_with_files(item)}
    return inner | {folder.path} if folder.has_files() else inner


def _prune(root: OpenFolder, folder: Folder, may_go: Callable[[str], bool]) -> None:
    """Remove the folders below a folder that are empty except for a record of ours."""
    for inner in folder.folders:
        _prune(root, inner, may_go)
        above, _, name = inner.path.rpartition("/")
        if may_go(inner.path):
            with contextlib.suppress(OSError), root.enter(above) as parent:
                _remove_nested_record(parent, name)
                os.rmdir(parent.at(name), dir_fd=parent.handle)


def _remove_nested_record(parent: OpenFolder, name: str) -> None:
    """Remove the record of a root inside this one, if nothing else is in that root."""
    with parent.enter(name) as folder:
        if [item.name for item in folder.entries()] != [RECORD_FOLDER]:
            return
        with folder.enter(RECORD_FOLDER) as record:
            _empty(record, "", _anything, _attempt)
        os.rmdir(folder.at(RECORD_FOLDER), dir_fd=folder.handle)


def _remove_records(root: OpenFolder, *, keep_notes: bool) -> list[Left]:
    """Remove our own folder; while a cache is still there, only leftovers of killed processes."""
    with contextlib.suppress(OSError), root.enter(RECORD_FOLDER) as own:
        takes = _is_in_a_folder if keep_notes else _anything
        _empty(own, "", takes, _attempt)
        stuck = [item.name for item in own.entries() if item.is_dir(follow_symlinks=False)]
        if not keep_notes:
            os.rmdir(root.at(RECORD_FOLDER), dir_fd=root.handle)
        return [Left(f"{RECORD_FOLDER}/{name}", _STILL_THERE) for name in stuck]
    return []


def _is_in_a_folder(path: str) -> bool:
    return "/" in path


def _attempt(_: str, remove: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        remove()


def _remove_emptied(root: OpenFolder) -> None:
    above, name = os.path.split(root.location)
    with contextlib.suppress(OSError), open_folder(above) as parent:
        if os.path.samestat(parent.stat(name), root.status):
            os.rmdir(parent.at(name), dir_fd=parent.handle)
