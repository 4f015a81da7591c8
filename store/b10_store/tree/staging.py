"""Turn verified blobs into files of a cache root: stage them, then place them.

A compiler may read and write the same folders at the same time. It never sees an incomplete file,
never loses one of its own, and never sees an artifact before the parts that it refers to (I9, I10).
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store.errors import OUT_OF_SPACE, NoSpaceError
from b10_store.folders import open_folder, remove_tree
from b10_store.paths import RECORD_FOLDER
from b10_store.tree.placement import OpenRoot, Placed, RestoreTarget, place_staged
from b10_store.tree.scan import CANONICAL_LIMIT, Fingerprint, fingerprint_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from b10_store.digest import Digest
    from b10_store.folders import OpenFolder
    from b10_store.tree.content_check import ContentCheck

STAGING_PREFIX = "staging-"
"""The prefix of a load's private folder; the next load removes one that was left behind."""

_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)
_LONGEST_PATH = 4096
_SURELY_SHORT = 1000


class Staging:
    """Takes verified blobs into private folders beside their place, then moves them there.

    A `fetch.Sink`: `put` and `stream` may be called from several threads.
    """

    def __init__(
        self, watch: Callable[[str, int], None], roots: Mapping[str, OpenRoot] | None = None
    ) -> None:
        """Write nothing yet.

        Args:
            watch: called with a cache root and a number of bytes before they are written there;
                raises NoSpaceError when there is no space for them.
            roots: open cache roots, by the folder that placements name. Others are opened here.
        """
        self.watch = watch
        self._roots = dict(roots or {})
        self._targets: defaultdict[Digest, list[RestoreTarget]] = defaultdict(list)
        self._folders: dict[str, OpenFolder] = {}
        self._held = contextlib.ExitStack()
        self._removals = contextlib.ExitStack()
        self._written: list[tuple[RestoreTarget, Fingerprint]] = []
        self._failed: list[tuple[RestoreTarget, str]] = []
        self._broken: list[tuple[RestoreTarget, str]] = []

    def expect(self, placements: Iterable[RestoreTarget]) -> None:
        """Prepare folders for artifacts that will come.

        Raises:
            NoSpaceError: there is no room for them.
            OSError: a cache root cannot be written.
        """
        made: dict[str, set[str]] = {}
        for placement in placements:
            root, path = placement.folder, placement.entry.identity.path
            folders = made.get(root)
            if folders is None:
                self._open_folder(root)
                folders = made[root] = set()
            folder = path.rpartition("/")[0]
            try:
                if len(root) + len(path) > _SURELY_SHORT:
                    _check_length(placement.location)
                if folder not in folders:
                    _make_folders(self._folders[root], folder, folders)
            except OSError as error:
                self.note_failure(placement, error)
                continue
            self._targets[placement.entry.digest].append(placement)

    def put(self, blobs: Sequence[tuple[Digest, bytes]]) -> None:
        """Write every file that has the bytes of one of these blobs."""
        files = [
            (target, data) for digest, data in blobs for target in self._targets.get(digest, ())
        ]
        sizes: defaultdict[str, int] = defaultdict(int)
        for target, data in files:
            sizes[target.folder] += len(data)
        for folder, size in sizes.items():
            self.watch(folder, size)
        for target, data in files:
            self._write_file(target, data)

    def stream(self, digest: Digest) -> StagedBlob:
        """Write every file that has these bytes, in parts."""
        placements: list[RestoreTarget] = []
        for placement in self._targets.get(digest, ()):
            if placement.restore is None:
                placements.append(placement)
            else:
                self._fail(placement, f"over {CANONICAL_LIMIT} bytes")
        return StagedBlob(self, placements)

    def place(self) -> Placed:
        """Move everything that was written to its place, in order, except torn bundles."""
        result = Placed(failed=list(self._failed))
        for placement, flaw in self._broken:
            # A broken artifact adds nothing to a file that its compiler rewrites.
            if placement.unite is not None and os.path.lexists(placement.location):
                result.kept.append(placement)
            else:
                result.broken.append((placement, flaw))
        torn = self._torn_bundles()
        by_folder: defaultdict[str, list[tuple[RestoreTarget, Fingerprint]]] = defaultdict(list)
        for item in self._written:
            placement = item[0]
            if torn and (placement.folder, placement.bundle) in torn:
                # A folder is moved with everything that was staged in it, and some compilers take
                # an empty one for a kernel.
                self.remove_file(placement)
                self._remove_folder(placement)
                result.torn.append(placement)
            else:
                by_folder[placement.folder].append(item)
        for folder, written in by_folder.items():
            place_staged(self._folders[folder], self._roots[folder], written, result)
        return result

    def _torn_bundles(self) -> set[tuple[str, str]]:
        """Return the bundles with a missing member, and their roots."""
        expected = [item for placements in self._targets.values() for item in placements]
        expected += [placement for placement, _ in self._failed]
        if len(self._written) == len(expected):
            return set()
        written = {id(placement) for placement, _ in self._written}
        return {
            (item.folder, item.bundle)
            for item in expected
            if item.bundle and id(item) not in written
        }

    def close(self) -> None:
        """Remove the private folders and whatever is left in them."""
        self._removals.close()
        self._held.close()

    def abandon(self, seconds: float) -> None:
        """Do the same in the background, and wait at most this long; the next load does the rest.

        Threads may still be writing: the descriptors stay open, so that no other folder gets their
        numbers.
        """
        thread = threading.Thread(target=self._removals.close, name="b10-abandon", daemon=True)
        thread.start()
        thread.join(seconds)

    def open_file(self, placement: RestoreTarget) -> int:
        """Create the staged file of an artifact; return its descriptor."""
        mode = 0o777 if placement.entry.executable else 0o666
        staging = self._folders[placement.folder]
        path = placement.entry.identity.path
        return os.open(staging.at(path), _FLAGS, mode, dir_fd=staging.handle)

    def write(self, placement: RestoreTarget, handle: int, data: bytes | memoryview) -> None:
        """Write bytes of an artifact.

        Raises:
            NoSpaceError: there is no room for them.
        """
        try:
            written = os.write(handle, data)
            while written < len(data):
                written += os.write(handle, memoryview(data)[written:])
        except OSError as error:
            if error.errno in OUT_OF_SPACE:
                raise self._full(placement, error) from error
            raise

    def finish_file(self, placement: RestoreTarget, handle: int) -> None:
        """Note that a staged file is complete."""
        if placement.entry.mtime_ns is not None:
            os.utime(handle, ns=(placement.entry.mtime_ns, placement.entry.mtime_ns))
        # Appending needs no lock: it is one step, whatever other threads do.
        self._written.append((placement, fingerprint_of(os.fstat(handle))))

    def remove_file(self, placement: RestoreTarget) -> None:
        """Remove a staged file that is incomplete."""
        staging = self._folders[placement.folder]
        with contextlib.suppress(OSError):
            os.unlink(staging.at(placement.entry.identity.path), dir_fd=staging.handle)

    def _remove_folder(self, placement: RestoreTarget) -> None:
        """Remove the staged folder of an artifact, and those above it, if they are empty."""
        staging = self._folders[placement.folder]
        folder = placement.entry.identity.path.rpartition("/")[0]
        with contextlib.suppress(OSError):
            while folder:
                os.rmdir(staging.at(folder), dir_fd=staging.handle)
                folder = folder.rpartition("/")[0]

    def note_failure(self, placement: RestoreTarget, error: OSError) -> None:
        """Note an artifact that this filesystem refuses, such as for its name; the load goes on.

        Raises:
            NoSpaceError: the filesystem is full.
        """
        if error.errno in OUT_OF_SPACE:
            raise self._full(placement, error) from error
        self._fail(placement, str(error))

    def _full(self, placement: RestoreTarget, error: OSError) -> NoSpaceError:
        expected = {id(item): item for items in self._targets.values() for item in items}
        expected[id(placement)] = placement
        here = (item for item in expected.values() if item.folder == placement.folder)
        needed = sum(item.entry.size for item in here)
        return NoSpaceError(error.strerror or str(error), placement.folder, needed)

    def note_broken(self, placement: RestoreTarget, flaw: str) -> None:
        """Note an artifact whose stored bytes are broken."""
        self._broken.append((placement, flaw))

    def _write_file(self, placement: RestoreTarget, data: bytes) -> None:
        check = _check_of(placement)
        if check is not None:
            check.feed(data)
            if flaw := check.flaw():
                self.note_broken(placement, flaw)
                return
        if placement.restore is not None:
            try:
                data = placement.restore(data)
            except ValueError as error:
                self._fail(placement, str(error))
                return
        try:
            handle = self.open_file(placement)
        except OSError as error:
            self.note_failure(placement, error)
            return
        try:
            self.write(placement, handle, data)
            self.finish_file(placement, handle)
        finally:
            os.close(handle)

    def _fail(self, placement: RestoreTarget, reason: str) -> None:
        self._failed.append((placement, reason))

    def _open_folder(self, root: str) -> OpenFolder:
        target = self._roots.get(root)
        if target is None:
            target = self._roots[root] = OpenRoot(self._held.enter_context(open_folder(root)))
        own = self._held.enter_context(target.folder.enter_child(RECORD_FOLDER))
        name = STAGING_PREFIX + os.urandom(8).hex()
        try:
            os.mkdir(own.at(name), 0o700, dir_fd=own.handle)
        except OSError as error:
            if error.errno in OUT_OF_SPACE:
                raise NoSpaceError(error.strerror or str(error), root) from error
            raise
        self._removals.callback(remove_tree, own, name)
        self._folders[root] = self._held.enter_context(own.enter_child(name))
        return self._folders[root]


class StagedBlob:
    """A blob of several frames that is being written to its files; a `BlobStream`."""

    def __init__(self, staging: Staging, placements: Sequence[RestoreTarget]) -> None:
        """Create the files."""
        self._staging = staging
        self._open: list[tuple[RestoreTarget, int]] = []
        self._checks: dict[int, ContentCheck] = {}
        try:
            for placement in placements:
                try:
                    handle = staging.open_file(placement)
                    self._open.append((placement, handle))
                    if (check := _check_of(placement)) is not None:
                        self._checks[handle] = check
                except OSError as error:
                    staging.note_failure(placement, error)
        except BaseException:
            self.discard()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """See `BlobStream.write`."""
        for placement, handle in self._open:
            self._staging.watch(placement.folder, len(data))
            self._staging.write(placement, handle, data)
        for check in self._checks.values():
            check.feed(data)

    def commit(self) -> None:
        """See `BlobStream.commit`."""
        for placement, handle in self._open:
            check = self._checks.get(handle)
            if check is not None and (flaw := check.flaw()):
                self._staging.remove_file(placement)
                self._staging.note_broken(placement, flaw)
            else:
                self._staging.finish_file(placement, handle)
        self._close()

    def discard(self) -> None:
        """See `BlobStream.discard`."""
        for placement, _ in self._open:
            self._staging.remove_file(placement)
        self._close()

    def _close(self) -> None:
        for _, handle in self._open:
            os.close(handle)
        self._open = []


def _check_length(location: str) -> None:
    """Refuse a path that compilers could not open, though it could be made from a descriptor.

    Raises:
        OSError: the path is too long.
    """
    if len(location) > _SURELY_SHORT and len(os.fsencode(location)) >= _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), location)


def _make_folders(staging: OpenFolder, folder: str, made: set[str]) -> None:
    """Create a folder below the staging folder, and those above it; `made` exist already."""
    if not folder or folder in made:
        return
    _make_folders(staging, folder.rpartition("/")[0], made)
    with contextlib.suppress(FileExistsError):
        os.mkdir(staging.at(folder), dir_fd=staging.handle)
    made.add(folder)


def _check_of(placement: RestoreTarget) -> ContentCheck | None:
    return placement.check(placement.entry.identity.path) if placement.check is not None else None
