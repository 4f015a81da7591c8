"""From files on the local disk to hashed artifacts."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from b10_store.digest import Digest, digest_of
from b10_store.format.names import FRAME_RAW_LIMIT
from b10_store.tree.artifact import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from b10_store.format.manifest import Identity
    from b10_store.tree.content_check import ContentCheck

BLOCK_SIZE = FRAME_RAW_LIMIT
CANONICAL_LIMIT = FRAME_RAW_LIMIT - 1
"""Largest artifact that may have a canonical form of its own, in bytes."""

UNITED_LIMIT = 4 << 20
"""Largest artifact that is united with what is stored of it, in bytes: reading JSON can take two
hundred times as much memory."""

JUDGED_LIMIT = 32 << 20
"""Largest artifact that is looked through, in bytes."""

CHANGED = "changed while being read"
"""Why a file is left out that a compiler is at work on: the next save takes it."""

INCOMPLETE = "of no use without a file that is left out"
"""Why a file is left out that is whole, and one of a bundle that is not."""

_BATCH = 64
"""Files handed to a thread at once: handing over costs more than hashing a small file."""

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


_NO_ACCESS_TIME = getattr(os, "O_NOATIME", 0)


class Fingerprint(NamedTuple):
    """Size, times in ns, and inode of a file: they differ once it was changed."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class FoundFile(NamedTuple):
    """A regular file below a folder.

    Attributes:
        path: relative, with forward slashes.
        location: absolute.
        fingerprint: as the walk saw it.
        executable: whether its owner may execute it.
        accessed_ns: when it was last read, as far as its filesystem notes that.
    """

    path: str
    location: str
    fingerprint: Fingerprint
    executable: bool
    accessed_ns: int = 0


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that is an artifact.

    Attributes:
        identity: the artifact's identity.
        found: the file.
        mtime_ns: to be restored by loads, or None.
        group_length: see `Entry.group_length`.
        bundle: see `Candidate.bundle`.
        canonical: makes the bytes that are stored of those on disk; None where they are the same.
            Raises ValueError when the file is not what it should be.
        unite: for a file that its compiler rewrites with what it learns: unites its bytes with
            other ones, given last, which stand where both know the same. Raises ValueError when it
            cannot.
        check: makes what judges whether the bytes on disk are whole.
    """

    identity: Identity
    found: FoundFile
    mtime_ns: int | None = None
    group_length: int = 0
    bundle: str = ""
    canonical: Callable[[bytes], bytes] | None = None
    unite: Callable[[bytes, bytes], bytes] | None = None
    check: Callable[[], ContentCheck] | None = None


@dataclass(frozen=True, slots=True)
class Scanned:
    """A hashed artifact: what a save plans with, and a source of its bytes.

    Attributes:
        file: the local file.
        candidate: what a save plans with.
        content: the bytes, where they are not those of the file alone.
    """

    file: LocalFile
    candidate: Candidate
    content: bytes | None = None

    @property
    def digest(self) -> Digest:
        """The digest of the canonical bytes."""
        return self.candidate.digest

    @property
    def size(self) -> int:
        """The size of the canonical bytes."""
        return self.candidate.size

    def read(self) -> Iterator[bytes]:
        """The canonical bytes, in blocks of at most 1 MiB.

        Raises:
            OSError: the file is gone, or no regular file any more.
        """
        if self.content is not None:
            for start in range(0, len(self.content), BLOCK_SIZE):
                yield self.content[start : start + BLOCK_SIZE]
            return
        if self.file.canonical is None:
            yield from _read_blocks(self.file.found.location)
            return
        # It was one block when it was hashed; a file that goes on growing is not read to its end.
        data = b"".join(islice(_read_blocks(self.file.found.location), 2))
        try:
            yield self.file.canonical(data)
        except ValueError as error:
            raise OSError(str(error)) from error


class Skipped(NamedTuple):
    """A file that is left out.

    Attributes:
        location: absolute.
        reason: why, in a few words without the file's name: files are counted and shown by it.
    """

    location: str
    reason: str


class Broken(NamedTuple):
    """A file that was read and is not whole.

    Attributes:
        file: the file.
        digest: of its bytes: the store may hold the same.
        reason: see `Skipped.reason`.
    """

    file: LocalFile
    digest: Digest
    reason: str


def hash_files(
    files: Sequence[LocalFile], known: Mapping[str, tuple[Fingerprint, Digest, int]], workers: int
) -> tuple[list[Scanned], list[Skipped], list[Broken]]:
    """Hash artifacts in parallel, and look whether they are whole.

    A file that changes while it is read is left out: the next save takes it. One hashed before was
    whole.

    Args:
        files: the artifacts.
        known: by location: fingerprint, digest and canonical size of files hashed before.
        workers: threads.

    Returns:
        The hashed artifacts in the order of `files`, what changed, and what is not whole.
    """

    def scan(file: LocalFile) -> Scanned | Skipped | Broken:
        remembered = known.get(file.found.location)
        if remembered is not None and remembered[0] == file.found.fingerprint:
            return _scanned(file, remembered[1], remembered[2])
        return _hash_file(file)

    def scan_some(start: int) -> list[Scanned | Skipped | Broken]:
        return [scan(file) for file in files[start : start + _BATCH]]

    with ThreadPoolExecutor(workers, "b10-hash") as pool:
        batches = pool.map(scan_some, range(0, len(files), _BATCH))
        results = [result for batch in batches for result in batch]
    return (
        [result for result in results if isinstance(result, Scanned)],
        [result for result in results if isinstance(result, Skipped)],
        [result for result in results if isinstance(result, Broken)],
    )


def read_file(location: str, limit: int, dir_fd: int | None = None) -> bytes:
    """The bytes of a regular file; a link is not followed, and a pipe not waited for.

    Raises:
        OSError: it cannot be read, or is no regular file.
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
    """Open a file for reading, leaving its access time alone: that tells what compilers use.

    Raises:
        OSError: it cannot be read, or is a link.
    """
    try:
        return os.open(location, _FLAGS | _NO_ACCESS_TIME, dir_fd=dir_fd)
    except PermissionError:
        # Another user's file, which this one may only read.
        return os.open(location, _FLAGS, dir_fd=dir_fd)


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """The fingerprint in a stat result."""
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _hash_file(file: LocalFile) -> Scanned | Skipped | Broken:
    location = file.found.location
    check = file.check() if file.check is not None else None
    try:
        handle = open_unnoticed(location)
        try:
            if fingerprint_of(os.fstat(handle)) != file.found.fingerprint:
                return Skipped(location, CHANGED)
            digest, size = _hash_open(handle, file, check)
            if fingerprint_of(os.fstat(handle)) != file.found.fingerprint:
                return Skipped(location, CHANGED)
        finally:
            os.close(handle)
    except OSError as error:
        return Skipped(location, f"cannot be read: {error.strerror}")
    except ValueError as error:
        return Skipped(location, str(error))
    flaw = check.flaw() if check is not None else ""
    return Broken(file, digest, flaw) if flaw else _scanned(file, digest, size)


def _hash_open(handle: int, file: LocalFile, check: ContentCheck | None) -> tuple[Digest, int]:
    first = os.read(handle, BLOCK_SIZE)
    size = file.found.fingerprint.size
    if file.canonical is not None:
        if size > CANONICAL_LIMIT or len(first) != size:
            raise ValueError(f"over {CANONICAL_LIMIT} bytes, or cut short")
        return _hash_canonical(file.canonical(first))
    feed = check.feed if check is not None else _ignore
    feed(first)
    if len(first) == size:
        return digest_of(first), size
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
    return Digest(hasher.hexdigest()), size


def _hash_canonical(data: bytes) -> tuple[Digest, int]:
    if len(data) > CANONICAL_LIMIT:
        raise ValueError(f"over {CANONICAL_LIMIT} bytes in its canonical form")
    return digest_of(data), len(data)


def _ignore(_: bytes) -> None:
    pass


def _scanned(file: LocalFile, digest: Digest, size: int) -> Scanned:
    candidate = Candidate(
        identity=file.identity,
        digest=digest,
        size=size,
        executable=file.found.executable,
        mtime_ns=file.mtime_ns,
        group_length=file.group_length,
        bundle=file.bundle,
    )
    return Scanned(file, candidate)


def _read_blocks(location: str, dir_fd: int | None = None) -> Iterator[bytes]:
    handle = open_unnoticed(location, dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{location} is no regular file")
        while block := os.read(handle, BLOCK_SIZE):
            yield block
    finally:
        os.close(handle)
