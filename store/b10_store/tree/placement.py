"""Move staged files into a cache root, in which a compiler may be at work.

An existing file stays (I9). A lower order is placed before a higher one (I10).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from b10_store.folders import Bounds
from b10_store.paths import local_path
from b10_store.tree.scan import UNITED_LIMIT, Fingerprint, fingerprint_of, read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from b10_store.folders import OpenFolder
    from b10_store.format.manifest import Entry
    from b10_store.tree.content_check import ContentCheck

_BINARY = getattr(os, "O_BINARY", 0)
_OPEN_AT_ONCE = 32
"""How many folders of a cache root are kept open: many consecutive files belong to one."""

_NO_LINKS = {
    errno.EXDEV,
    errno.EPERM,
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.EOPNOTSUPP,
    errno.EACCES,
}


class RestoreTarget(NamedTuple):
    """The place of one artifact on this host, and how to restore it.

    Attributes:
        entry: the artifact.
        folder: the local cache root, absolute.
        order: artifacts of a lower order are placed before those of a higher one.
        restore: turns the stored bytes into those on disk; None when they are the same. Only
            artifacts under 1 MiB have one. Raises ValueError when the bytes cannot be used.
        bundle: artifacts of one root and bundle are placed together or not at all; "" for none.
        unite: for a file that its compiler rewrites: merges the stored bytes and the local ones
            into those that replace it. Raises ValueError when it cannot.
        check: returns, for a path, the check of the stored bytes; broken ones are left out.
    """

    entry: Entry
    folder: str
    order: int = 0
    restore: Callable[[bytes], bytes] | None = None
    bundle: str = ""
    unite: Callable[[bytes, bytes], bytes] | None = None
    check: Callable[[str], ContentCheck] | None = None

    @property
    def location(self) -> str:
        """The absolute path of the file."""
        return local_path(self.folder, self.entry.identity.path)


@dataclass(slots=True)
class Placed:
    """The result for the artifacts of one cache root.

    Attributes:
        placed: artifacts now in place, with the fingerprint of their file.
        kept: artifacts whose file existed already, and was left unchanged.
        failed: artifacts that could not be placed, and why.
        torn: artifacts left out because another artifact of their bundle failed.
        broken: artifacts whose stored bytes are broken, and why: their saver's disk was at fault,
            and every load gets the same bytes.
    """

    placed: list[tuple[RestoreTarget, Fingerprint]] = field(
        default_factory=list[tuple[RestoreTarget, Fingerprint]]
    )
    kept: list[RestoreTarget] = field(default_factory=list[RestoreTarget])
    failed: list[tuple[RestoreTarget, str]] = field(default_factory=list[tuple[RestoreTarget, str]])
    torn: list[RestoreTarget] = field(default_factory=list[RestoreTarget])
    broken: list[tuple[RestoreTarget, str]] = field(default_factory=list[tuple[RestoreTarget, str]])


class OpenRoot(NamedTuple):
    """A cache root that artifacts are placed into.

    Attributes:
        folder: the open folder.
        bounds: the parts of it that are not used.
    """

    folder: OpenFolder
    bounds: Bounds = Bounds()


class LocalNames:
    """The existing files of a cache root; the filesystem is asked once per folder."""

    def __init__(self, folder: str) -> None:
        """Ask nothing yet."""
        self._folder = folder
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        """Return whether something is at `path`, even a link that leads nowhere."""
        folder, _, name = path.rpartition("/")
        names = self._names.get(folder)
        return name in (self._list(folder) if names is None else names)

    def _list(self, folder: str) -> frozenset[str]:
        names = frozenset[str]()
        if not folder or self.has(folder):
            # Placing will report anything that is not a folder or cannot be read.
            with contextlib.suppress(OSError):
                names = frozenset(os.listdir(local_path(self._folder, folder)))
        self._names[folder] = names
        return names


class _Unit(NamedTuple):
    """The unit of one rename: a new folder, or a single file."""

    relative: str
    is_folder: bool
    members: list[tuple[RestoreTarget, Fingerprint]]


def place_staged(
    staging: OpenFolder,
    target: OpenRoot,
    written: Sequence[tuple[RestoreTarget, Fingerprint]],
    result: Placed,
) -> None:
    """Move staged files of one cache root to their places, those of a lower order first.

    A new sub-folder is placed by one rename. If a compiler made it meanwhile, its content is moved
    one level further down. An existing file is never replaced. Nothing is placed behind a link that
    another user made, whatever happens to names meanwhile.
    """
    mover = _Mover(staging, target, result)
    try:
        mover.move(written)
    finally:
        mover.close()


class _Mover:
    def __init__(self, staging: OpenFolder, target: OpenRoot, result: Placed) -> None:
        self._staging = staging
        self._target = target
        self._result = result
        self._open: dict[str, OpenFolder] = {}
        self._obstacles: dict[str, str] = {}

    def close(self) -> None:
        for opened in self._open.values():
            opened.close()

    def move(self, written: Sequence[tuple[RestoreTarget, Fingerprint]]) -> None:
        for unit in self._units(written):
            if unit.is_folder:
                self._move_folder(unit)
            else:
                self._move_file(*unit.members[0])

    def _units(self, written: Sequence[tuple[RestoreTarget, Fingerprint]]) -> list[_Unit]:
        folders: defaultdict[str, list[tuple[RestoreTarget, Fingerprint]]] = defaultdict(list)
        units: list[_Unit] = []
        missing: dict[str, str | None] = {}
        for item in written:
            path = item[0].entry.identity.path
            folder = path.rpartition("/")[0]
            if folder not in missing:
                missing[folder] = self._first_missing(folder)
            first = missing[folder]
            if first is None:
                units.append(_Unit(path, is_folder=False, members=[item]))
            else:
                folders[first].append(item)
        units += [_Unit(name, is_folder=True, members=items) for name, items in folders.items()]
        units.sort(key=lambda unit: max(placement.order for placement, _ in unit.members))
        return units

    def _first_missing(self, folder: str) -> str | None:
        """Return the first missing folder on the way to `folder`, which may be `folder` itself."""
        end = 0
        while folder and end >= 0:
            end = folder.find("/", end + 1)
            above = folder if end < 0 else folder[:end]
            if not self._is_there(above):
                return above
        return None

    def _is_there(self, folder: str) -> bool:
        if folder in self._open:
            return True
        if folder in self._obstacles:
            return False
        try:
            self._enter(folder)
        except OSError as error:
            self._obstacles[folder] = error.strerror or str(error)
            return False
        return True

    def _enter(self, folder: str) -> OpenFolder:
        """Open a folder of the cache root, as its compiler would, through no link of another user.

        Raises:
            OSError: there is none, or nothing may be placed in it.
        """
        if not folder:
            return self._target.folder
        opened = self._open.get(folder)
        if opened is not None:
            return opened
        above, _, name = folder.rpartition("/")
        opened = self._target.bounds.enter(self._enter(above), name)
        if len(self._open) >= _OPEN_AT_ONCE:
            self.close()
            self._open.clear()
        self._open[folder] = opened
        return opened

    def _move_folder(self, unit: _Unit) -> None:
        above, _, name = unit.relative.rpartition("/")
        try:
            parent = self._enter(above)
            # A link or a file in the way is never followed or replaced: rename refuses both.
            os.rename(
                self._staging.at(unit.relative),
                parent.at(name),
                src_dir_fd=self._staging.handle,
                dst_dir_fd=parent.handle,
            )
        except OSError as error:
            self._move_content(unit, error)
        else:
            self._result.placed.extend(unit.members)

    def _move_content(self, unit: _Unit, error: OSError) -> None:
        above, _, name = unit.relative.rpartition("/")
        if error.errno == errno.EXDEV:
            # The folder above is a mount of its own: the staged files are copied one by one.
            with contextlib.suppress(OSError):
                parent = self._enter(above)
                os.mkdir(parent.at(name), dir_fd=parent.handle)
        told = self._obstacles.pop(unit.relative, "")
        if self._is_there(unit.relative):
            self.move(unit.members)
            return
        told = self._obstacles.get(unit.relative) or told or str(error.strerror)
        reason = f"{self._target.folder.locate(unit.relative)} is in the way: {told}"
        self._result.failed.extend((placement, reason) for placement, _ in unit.members)

    def _move_file(self, placement: RestoreTarget, fingerprint: Fingerprint) -> None:
        path = placement.entry.identity.path
        above, _, name = path.rpartition("/")
        try:
            parent = self._enter(above)
            source, target = _Name(self._staging, path), _Name(parent, name)
            if placement.unite is not None:
                _move_united(source, target, placement.unite)
                moved = True
            else:
                moved = _move_without_replacing(source, target)
            if moved:
                # Moving a single file may change its ctime, which is part of the fingerprint.
                fingerprint = fingerprint_of(parent.stat(name))
        except (OSError, ValueError) as error:
            self._result.failed.append((placement, str(error)))
            return
        if moved:
            self._result.placed.append((placement, fingerprint))
        else:
            self._result.kept.append(placement)


class _Name(NamedTuple):
    """A name in an open folder; in the staging folder, which is private, a path."""

    folder: OpenFolder
    path: str

    @property
    def at(self) -> str:
        return self.folder.at(self.path)

    @property
    def dir_fd(self) -> int | None:
        return self.folder.handle

    def sibling(self, name: str) -> _Name:
        return _Name(self.folder, name)


def _move_without_replacing(source: _Name, target: _Name) -> bool:
    """Move a file unless `target` exists already. Returns whether it was moved."""
    try:
        os.link(
            source.at,
            target.at,
            src_dir_fd=source.dir_fd,
            dst_dir_fd=target.dir_fd,
            follow_symlinks=False,
        )
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without links the check and the rename are two steps. A file that another process puts
        # there in between has the same name, so it was made from the same input.
        with contextlib.suppress(FileNotFoundError):
            target.folder.stat(target.path)
            return False
        _move_over(source, target)
    else:
        os.unlink(source.at, dir_fd=source.dir_fd)
    return True


def _move_united(source: _Name, target: _Name, unite: Callable[[bytes, bytes], bytes]) -> None:
    """Replace a file by the merged content of it and the staged one.

    The existing file is read last, so that an addition of its compiler can be lost only in the
    moment that this takes.
    """
    stored = read_file(source.at, UNITED_LIMIT, source.dir_fd)
    try:
        local = read_file(target.at, UNITED_LIMIT, target.dir_fd)
    except FileNotFoundError:
        _move_over(source, target)
        return
    content = unite(stored, local)
    if content == local:
        return
    if content != stored:
        handle = os.open(source.at, os.O_WRONLY | os.O_TRUNC | _BINARY, dir_fd=source.dir_fd)
        with open(handle, "wb") as file:
            file.write(content)
    _move_over(source, target)


def _move_over(source: _Name, target: _Name) -> None:
    """Rename, or copy into a folder that is a mount of its own."""
    try:
        _rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        temporary = target.sibling(f"{target.path}.{os.urandom(8).hex()}.tmp")
        try:
            _copy(source, temporary)
            _rename(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary.at, dir_fd=temporary.dir_fd)
            raise


def _rename(source: _Name, target: _Name) -> None:
    os.rename(source.at, target.at, src_dir_fd=source.dir_fd, dst_dir_fd=target.dir_fd)


def _copy(source: _Name, target: _Name) -> None:
    """Copy a file with its mode and times to a new name."""
    reading = os.open(source.at, os.O_RDONLY | _BINARY, dir_fd=source.dir_fd)
    with open(reading, "rb") as file:
        status = os.fstat(reading)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
        writing = os.open(target.at, flags, stat.S_IMODE(status.st_mode), dir_fd=target.dir_fd)
        with open(writing, "wb") as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
