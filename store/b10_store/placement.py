"""Moving staged files into a cache root beside a compiler that may be at work there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from b10_store.paths import local_path
from b10_store.scan import UNITED_LIMIT, Fingerprint, fingerprint_of, read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from b10_store.manifest import Entry

_NO_LINKS = {
    errno.EXDEV,
    errno.EPERM,
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.EOPNOTSUPP,
    errno.EACCES,
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how one artifact comes to be on this host.

    Attributes:
        entry: the artifact.
        folder: the local cache root, absolute.
        order: artifacts of a lower order are in place before those of a higher one.
        restore: makes the bytes on disk of the stored ones; None where they are the same. Only
            artifacts under 1 MiB have one. Raises ValueError when the bytes cannot be used.
        bundle: artifacts of one root and bundle are placed together or not at all; "" for none.
        unite: for a file that its compiler rewrites with what it learns, where there is one: makes
            of the stored bytes and the local ones what takes its place. Raises ValueError when it
            cannot.
    """

    entry: Entry
    folder: str
    order: int = 0
    restore: Callable[[bytes], bytes] | None = None
    bundle: str = ""
    unite: Callable[[bytes, bytes], bytes] | None = None

    @property
    def location(self) -> str:
        """The absolute path of the file."""
        return local_path(self.folder, self.entry.identity.path)


@dataclass(slots=True)
class Placed:
    """What became of the artifacts of one cache root.

    Attributes:
        placed: artifacts now in place, with the fingerprint of their file.
        kept: artifacts of which a file was there already; it was left as it is.
        failed: artifacts that could not be placed, and why.
        torn: artifacts of bundles of which another one failed.
    """

    placed: list[tuple[Placement, Fingerprint]] = field(
        default_factory=list[tuple[Placement, Fingerprint]]
    )
    kept: list[Placement] = field(default_factory=list[Placement])
    failed: list[tuple[Placement, str]] = field(default_factory=list[tuple[Placement, str]])
    torn: list[Placement] = field(default_factory=list[Placement])


class LocalNames:
    """Which files of a cache root are there, asking the filesystem once a folder."""

    def __init__(self, folder: str) -> None:
        """Ask nothing yet."""
        self._folder = folder
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        """Whether something is at `path`, a link that leads nowhere included."""
        folder, _, name = path.rpartition("/")
        return name in self._list(folder)

    def _list(self, folder: str) -> frozenset[str]:
        names = self._names.get(folder)
        if names is None:
            names = frozenset[str]()
            if not folder or self.has(folder):
                try:
                    names = frozenset(os.listdir(local_path(self._folder, folder)))
                except OSError:
                    # Not a folder, or unreadable: placing will say so.
                    names = frozenset[str]()
            self._names[folder] = names
        return names


class _Unit(NamedTuple):
    """What one rename moves: a folder that is not in place yet, or a single file."""

    relative: str
    is_folder: bool
    members: list[tuple[Placement, Fingerprint]]


def place_staged(
    staging: str, root: str, written: Sequence[tuple[Placement, Fingerprint]], result: Placed
) -> None:
    """Move staged files of one cache root to their places, those of a lower order first.

    A sub-folder that is not there yet comes in one rename. Where a compiler made it meanwhile, its
    content is moved one level further down. A file that is there is never replaced.
    """
    _Mover(staging, root, result).move(written)


class _Mover:
    def __init__(self, staging: str, root: str, result: Placed) -> None:
        self._staging = staging
        self._root = root
        self._result = result
        self._is_folder: dict[str, bool] = {}

    def move(self, written: Sequence[tuple[Placement, Fingerprint]]) -> None:
        for unit in self._units(written):
            if unit.is_folder:
                self._move_folder(unit)
            else:
                self._move_file(*unit.members[0])

    def _units(self, written: Sequence[tuple[Placement, Fingerprint]]) -> list[_Unit]:
        folders: defaultdict[str, list[tuple[Placement, Fingerprint]]] = defaultdict(list)
        units: list[_Unit] = []
        for item in written:
            missing = self._first_missing_folder(item[0])
            if missing is None:
                units.append(_Unit(item[0].entry.identity.path, is_folder=False, members=[item]))
            else:
                folders[missing].append(item)
        units += [_Unit(name, is_folder=True, members=items) for name, items in folders.items()]
        units.sort(key=lambda unit: max(placement.order for placement, _ in unit.members))
        return units

    def _first_missing_folder(self, placement: Placement) -> str | None:
        path = placement.entry.identity.path
        end = path.find("/")
        while end >= 0:
            folder = path[:end]
            known = self._is_folder.get(folder)
            if known is None:
                known = self._is_folder[folder] = _is_folder(local_path(self._root, folder))
            if not known:
                return folder
            end = path.find("/", end + 1)
        return None

    def _move_folder(self, unit: _Unit) -> None:
        target = local_path(self._root, unit.relative)
        try:
            # A link or a file in the way is never followed or replaced: rename refuses both.
            os.rename(local_path(self._staging, unit.relative), target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                # The folder above is a mount of its own: what is staged is copied file by file.
                with contextlib.suppress(OSError):
                    os.mkdir(target)
            self._is_folder[unit.relative] = _is_folder(target)
            if self._is_folder[unit.relative]:
                self.move(unit.members)
            else:
                reason = f"{target} is in the way: {error.strerror}"
                self._result.failed.extend((placement, reason) for placement, _ in unit.members)
        else:
            self._result.placed.extend(unit.members)

    def _move_file(self, placement: Placement, fingerprint: Fingerprint) -> None:
        target = placement.location
        try:
            source = local_path(self._staging, placement.entry.identity.path)
            if placement.unite is not None:
                _move_united(source, target, placement.unite)
                moved = True
            else:
                moved = _move_without_replacing(source, target)
            if moved:
                # Moving a single file may change its ctime, which is part of the fingerprint.
                fingerprint = fingerprint_of(os.stat(target, follow_symlinks=False))
        except (OSError, ValueError) as error:
            self._result.failed.append((placement, str(error)))
            return
        if moved:
            self._result.placed.append((placement, fingerprint))
        else:
            self._result.kept.append(placement)


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _move_without_replacing(source: str, target: str) -> bool:
    """Move a file unless there is one at `target` already. Returns whether it was moved."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without links the check and the rename are two steps. What another process may put there
        # in between has the same name, so it was made from the same input.
        if os.path.lexists(target):
            return False
        _move_over(source, target)
    else:
        os.unlink(source)
    return True


def _move_united(source: str, target: str, unite: Callable[[bytes, bytes], bytes]) -> None:
    """Put in the place of a file what it and the staged one hold together.

    The file that is there is read last, so that what its compiler adds to it meanwhile is lost only
    within the moment that this takes.
    """
    stored = read_file(source, UNITED_LIMIT)
    try:
        local = read_file(target, UNITED_LIMIT)
    except FileNotFoundError:
        _move_over(source, target)
        return
    content = unite(stored, local)
    if content == local:
        return
    if content != stored:
        with open(source, "wb") as file:
            file.write(content)
    _move_over(source, target)


def _move_over(source: str, target: str) -> None:
    """Rename, also into a folder that is a mount of its own, where it takes a copy."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        temporary = f"{target}.{secrets.token_hex(8)}.tmp"
        try:
            shutil.copy2(source, temporary)
            os.rename(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
