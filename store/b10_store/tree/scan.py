"""Turn files on the local disk into hashed artifacts."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from blake3 import blake3

from b10_store.digest import Digest, digest_of
from b10_store.format.frame import share_frames
from b10_store.format.manifest import Group
from b10_store.format.names import FRAME_RAW_LIMIT
from b10_store.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from b10_store.format.manifest import Identity
    from b10_store.tree.content_check import ContentCheck
    from b10_store.tree.frames_ahead import FramesAhead

BLOCK_SIZE = FRAME_RAW_LIMIT
CANONICAL_LIMIT = FRAME_RAW_LIMIT - 1
"""The largest artifact that may have a canonical form of its own, in bytes."""

UNITED_LIMIT = 4 << 20
"""The largest artifact that is merged with its stored version, in bytes: reading JSON can take two
hundred times as much memory."""

JUDGED_LIMIT = 32 << 20
"""The largest artifact that is searched, in bytes."""

CHANGED = "changed while being read"
"""The reason for leaving out a file that a compiler is writing; the next save takes it."""

INCOMPLETE = "useless without a file that is left out"
"""The reason for leaving out an intact file of a bundle that is not intact."""

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


_NO_ACCESS_TIME = getattr(os, "O_NOATIME", 0)


class Fingerprint(NamedTuple):
    """Size, times in ns, and inode of a file; a change makes them differ."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class FoundFile(NamedTuple):
    """A regular file below a folder.

    Attributes:
        path: relative, with forward slashes.
        folder: the absolute path of the folder.
        fingerprint: as the walk saw it.
        executable: whether its owner may execute it.
        accessed_ns: when it was last read, as far as its filesystem records that.
    """

    path: str
    folder: str
    fingerprint: Fingerprint
    executable: bool
    accessed_ns: int = 0

    @property
    def location(self) -> str:
        """Its absolute path."""
        return local_path(self.folder, self.path)


class LocalFile(NamedTuple):
    """A file that is an artifact.

    Attributes:
        identity: the artifact's identity.
        found: the file.
        mtime_ns: the modification time that loads restore, or None.
        group_length: see `Entry.group_length`.
        bundle: artifacts of one root and bundle are of use only together; "" for none.
        canonical: turns the bytes on disk into the stored ones; None when they are the same. Raises
            ValueError when the file is invalid.
        unite: for a file that its compiler rewrites: merges its bytes with others, given last,
            which win when both have the same key. Raises ValueError when it cannot.
        check: makes, given the path, what judges whether the bytes on disk are whole.
    """

    identity: Identity
    found: FoundFile
    mtime_ns: int | None = None
    group_length: int = 0
    bundle: str = ""
    canonical: Callable[[bytes], bytes] | None = None
    unite: Callable[[bytes, bytes], bytes] | None = None
    check: Callable[[str], ContentCheck] | None = None


class Scanned(NamedTuple):
    """A hashed artifact: the value that a save plans with, and a source of its bytes.

    Attributes:
        file: the local file.
        digest: of the canonical bytes.
        size: of the canonical bytes.
        content: the bytes, when they are not only those of the file.
        is_united: they hold all that the stored ones hold, and may replace them.
    """

    file: LocalFile
    digest: Digest
    size: int
    content: bytes | None = None
    is_united: bool = False

    @property
    def identity(self) -> Identity:
        """Which artifact it is."""
        return self.file.identity

    @property
    def group(self) -> Group | None:
        """The variant group that the artifact is a member of."""
        length = self.file.group_length
        if not length:
            return None
        root, path, requirement = self.file.identity
        return Group(root, path[:length], requirement)

    def read(self) -> Iterator[bytes]:
        """Yield the canonical bytes, in blocks of at most 1 MiB.

        Raises:
            OSError: the file is gone, or is no longer a regular file.
        """
        if self.content is not None:
            for start in range(0, len(self.content), BLOCK_SIZE):
                yield self.content[start : start + BLOCK_SIZE]
            return
        if self.file.canonical is None:
            yield from _read_blocks(self.file.found.location)
            return
        # It was one block when it was hashed; a file that keeps growing is not read to its end.
        data = b"".join(islice(_read_blocks(self.file.found.location), 2))
        try:
            yield self.file.canonical(data)
        except ValueError as error:
            raise OSError(str(error)) from error


class Skipped(NamedTuple):
    """A file that is left out.

    Attributes:
        location: absolute.
        reason: why, in a few words without the file's name; files are counted by it.
    """

    location: str
    reason: str


class Broken(NamedTuple):
    """A file that was read and is broken.

    Attributes:
        file: the file.
        digest: the digest of its bytes; the store may have the same.
        reason: see `Skipped.reason`.
    """

    file: LocalFile
    digest: Digest
    reason: str


class Known(Protocol):
    """What is remembered of a file that was hashed before."""

    @property
    def fingerprint(self) -> Fingerprint:
        """As it was then."""
        ...

    @property
    def digest(self) -> Digest:
        """Of its canonical bytes."""
        ...

    @property
    def size(self) -> int:
        """Of its canonical bytes."""
        ...


_Result = Scanned | Skipped | Broken


def hash_files(
    files: Sequence[LocalFile],
    known: Mapping[str, Known],
    workers: int,
    ahead: FramesAhead | None = None,
) -> tuple[list[Scanned], list[Skipped], list[Broken]]:
    """Hash artifacts of one root in parallel, and look whether they are whole.

    A file that changes while it is read is left out; the next save takes it. A file that was hashed
    before was intact.

    Args:
        files: the artifacts.
        known: what is remembered of files hashed before, by path.
        workers: threads.
        ahead: takes the bytes of those that it expects to be uploaded.

    Returns:
        The hashed artifacts in the order of `files`, the changed files, and the broken ones.
    """
    results: list[_Result | None] = [None] * len(files)
    fresh: list[int] = []
    for place, file in enumerate(files):
        found = file.found
        before = known.get(found.path)
        if before is not None and before.fingerprint == found.fingerprint:
            results[place] = Scanned(file, before.digest, before.size)
        else:
            fresh.append(place)
    if fresh:
        _hash_fresh(files, fresh, workers, ahead, results)
    return (
        [result for result in results if isinstance(result, Scanned)],
        [result for result in results if isinstance(result, Skipped)],
        [result for result in results if isinstance(result, Broken)],
    )


def _hash_fresh(
    files: Sequence[LocalFile],
    fresh: list[int],
    workers: int,
    ahead: FramesAhead | None,
    results: list[_Result | None],
) -> None:
    """Hash the files at some places, and put the results there."""
    if ahead is not None:
        fresh.sort(key=lambda place: layout_order(files[place].found.path))
    batches = list(share_frames(fresh, lambda place: files[place].found.fingerprint.size))
    with ThreadPoolExecutor(workers, "b10-hash") as pool:
        work = pool.map(partial(_hash_some, files, ahead), count(), batches)
        for batch, hashed in zip(batches, work, strict=True):
            for place, result in zip(batch, hashed, strict=True):
                results[place] = result


def read_file(location: str, limit: int, dir_fd: int | None = None) -> bytes:
    """Return the bytes of a regular file; links are not followed, and pipes are not read.

    Raises:
        OSError: it cannot be read, or is not a regular file.
        ValueError: it has over `limit` bytes.
    """
    parts: list[bytes] = []
    size = 0
    for block in _read_blocks(location, dir_fd):
        parts.append(block)
        size += len(block)
        if size > limit:
            raise ValueError(f"{location} has over {limit} bytes")
    return b"".join(parts)


def open_unnoticed(location: str, dir_fd: int | None = None) -> int:
    """Open a file for reading without changing its access time, which is the sign of use.

    Raises:
        OSError: it cannot be read, or is a link.
    """
    try:
        return os.open(location, _FLAGS | _NO_ACCESS_TIME, dir_fd=dir_fd)
    except PermissionError:
        # Another user's file, which this one may only read.
        return os.open(location, _FLAGS, dir_fd=dir_fd)


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Return the fingerprint in a stat result."""
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def layout_order(path: str) -> tuple[str, str, str]:
    """Where a blob is laid out: by suffix, then by name: like beside like compresses better."""
    folder, _, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return suffix if dot else folder.partition("/")[0], stem, path


def _hash_some(
    files: Sequence[LocalFile], ahead: FramesAhead | None, number: int, places: Sequence[int]
) -> list[_Result]:
    """Hash the files at some indices, and make frame `number` from the expected ones."""
    results: list[_Result] = []
    blobs: list[tuple[Digest, bytes]] = []
    takes = None if ahead is None or ahead.is_full else ahead.expects
    for place in places:
        file = files[place]
        result, data = _hash_file(file)
        results.append(result)
        if takes is not None and data and isinstance(result, Scanned) and takes(file.identity):
            blobs.append((result.digest, data))
    if ahead is not None and blobs:
        ahead.make(number, blobs)
    return results


def _hash_file(file: LocalFile) -> tuple[_Result, bytes]:
    """Hash a file; returns its canonical bytes too, where they are fewer than a frame has."""
    location = file.found.location
    check = file.check(file.found.path) if file.check is not None else None
    try:
        handle = open_unnoticed(location)
        try:
            if fingerprint_of(os.fstat(handle)) != file.found.fingerprint:
                return Skipped(location, CHANGED), b""
            digest, size, data = _hash_open(handle, file, check)
            if fingerprint_of(os.fstat(handle)) != file.found.fingerprint:
                return Skipped(location, CHANGED), b""
        finally:
            os.close(handle)
    except OSError as error:
        return Skipped(location, f"cannot be read: {error.strerror}"), b""
    except ValueError as error:
        return Skipped(location, str(error)), b""
    flaw = check.flaw() if check is not None else ""
    return (Broken(file, digest, flaw) if flaw else Scanned(file, digest, size)), data


def _hash_open(
    handle: int, file: LocalFile, check: ContentCheck | None
) -> tuple[Digest, int, bytes]:
    size = file.found.fingerprint.size
    # A byte more than there should be shows that there is no more, without a second read.
    first = os.read(handle, min(size + 1, BLOCK_SIZE))
    if file.canonical is not None:
        if size > CANONICAL_LIMIT or len(first) != size:
            raise ValueError(f"over {CANONICAL_LIMIT} bytes, or cut short")
        return _hash_canonical(file.canonical(first))
    feed = check.feed if check is not None else _ignore
    feed(first)
    if len(first) == size:
        return digest_of(first), size, first if size < BLOCK_SIZE else b""
    hasher = blake3()
    done = 0
    block = first
    while block and done <= size:
        hasher.update(block)
        done += len(block)
        block = os.read(handle, BLOCK_SIZE)
        feed(block)
    if done != size:
        raise ValueError(CHANGED)
    return Digest(hasher.hexdigest()), size, b""


def _hash_canonical(data: bytes) -> tuple[Digest, int, bytes]:
    if len(data) > CANONICAL_LIMIT:
        raise ValueError(f"over {CANONICAL_LIMIT} bytes in its canonical form")
    return digest_of(data), len(data), data


def _ignore(_: bytes) -> None:
    pass


def _read_blocks(location: str, dir_fd: int | None = None) -> Iterator[bytes]:
    handle = open_unnoticed(location, dir_fd)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{location} is not a regular file")
        # A byte more than there should be shows that there is no more, without a second read.
        block = os.read(handle, min(status.st_size + 1, BLOCK_SIZE))
        while block:
            yield block
            if len(block) == status.st_size:
                break
            block = os.read(handle, BLOCK_SIZE)
    finally:
        os.close(handle)
