"""Packs: immutable files that hold many blobs.

    frames            zstd frames, one behind the other: the pack's raw stream, cut
    footer            a zstd skippable frame, so that `zstd -d` on a pack yields the raw stream:
      0           4   magic number 0x184D2A5B
      4           4   length of the rest of the footer
      8          8n   frame table: stored size and raw size of each frame (see frame.py)
      8+8n      48m   blob table: digest (32), offset in the raw stream (8), size (8) of each blob
      8+8n+48m    4   n
      12+8n+48m   4   m
      16+8n+48m  32   BLAKE3 of everything in the footer before it, from offset 8 on
      48+8n+48m   4   length of the whole footer: 60 + 8n + 48m
      52+8n+48m   8   magic, b"B10PACK1"

Integers are little-endian. A pack's id is the BLAKE3 of the whole file.
"""

from __future__ import annotations

import struct
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from blake3 import blake3

from b10_store.digest import Digest, digest_from_bytes, digest_of
from b10_store.errors import CorruptError, SizeLimitError
from b10_store.frame import FrameTable, compress_frame
from b10_store.layout import (
    FRAME_RAW_LIMIT,
    PACK_CLOSE_SIZE,
    PACKS,
    PackId,
    pack_id_of,
)
from b10_store.manifest import Location, Pack
from b10_store.remote import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from b10_store.remote import Remote

_MAGIC = b"B10PACK1"
_SKIPPABLE = struct.Struct("<II")
_SKIPPABLE_MAGIC = 0x184D2A5B
_BLOB = struct.Struct("<32sQQ")
_COUNTS = struct.Struct("<II")
_TAIL = struct.Struct("<32sI8s")
_FOOTER_GUESS = 1 << 16
_EMPTY_FOOTER = _SKIPPABLE.size + _COUNTS.size + _TAIL.size
_FOOTER_LIMIT = 64 << 20


class Upload(Protocol):
    """A blob that is here and is to be written into a pack."""

    @property
    def digest(self) -> Digest:
        """What its bytes must hash to; a blob that changed meanwhile is left out."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self) -> Iterator[bytes]:
        """Its bytes, in blocks of at most 1 MiB. Raises OSError when the file is gone."""
        ...


@dataclass(slots=True)
class Written:
    """What `write_packs` did.

    Attributes:
        packs: the new packs.
        locations: where each blob lies.
        changed: blobs whose bytes were not what their digest says any more.
        stored_bytes: bytes of the pack files.
    """

    packs: dict[PackId, Pack] = field(default_factory=dict[PackId, Pack])
    locations: dict[Digest, Location] = field(default_factory=dict[Digest, Location])
    changed: list[Digest] = field(default_factory=list[Digest])
    stored_bytes: int = 0


class _Piece(NamedTuple):
    """A blob that ends in a frame; its offset is from the frame's start and may be negative."""

    digest: Digest
    offset: int
    size: int


class _RawFrame(NamedTuple):
    raw: bytes
    pieces: tuple[_Piece, ...]
    goes_on: bool


class _StoredFrame(NamedTuple):
    stored: bytes
    raw_size: int
    pieces: tuple[_Piece, ...]
    goes_on: bool


def write_packs(remote: Remote, uploads: Iterable[Upload], *, workers: int, limit: int) -> Written:
    """Write blobs into new packs, in the order given: similar blobs beside each other share frames.

    Args:
        remote: the store.
        uploads: the blobs, each digest once.
        workers: threads that compress.
        limit: most bytes that the packs may take together.

    Raises:
        SizeLimitError: the packs would take more than `limit` bytes.
        OSError: the store cannot take them.
    """
    result = Written()
    with ThreadPoolExecutor(workers, "b10-compress") as pool:
        work = _submit_frames(pool, uploads, result.changed)
        frames = (frame for frame in _in_order(work, 2 * workers) if frame.stored or frame.pieces)
        while (first := next(frames, None)) is not None:
            builder = _PackBuilder(first, frames, result.stored_bytes, limit)
            remote.create(PACKS, builder.file_name, builder.chunks())
            pack = builder.pack_id
            result.packs[pack] = Pack(builder.size, builder.frame_table())
            result.stored_bytes += builder.size
            for digest, offset, _ in builder.blobs:
                result.locations[digest] = Location(pack, offset)
    return result


def read_footer(remote: Remote, name: str) -> tuple[FrameTable, dict[Digest, tuple[int, int]]]:
    """The verified frame table of a pack, and offset and size of each of its blobs.

    Raises:
        CorruptError: the pack is damaged or cut short.
        LimitError: it declares an empty frame, or one beyond what is accepted.
        OSError: it cannot be read.
    """
    end = next(remote.read(name, [Range(-_FOOTER_GUESS, _FOOTER_GUESS)]))
    length = _footer_length(end)
    if length > len(end):
        end = next(remote.read(name, [Range(-length, length)]))
    if length > len(end):
        raise CorruptError("a pack cut short")
    return _parse_footer(end[len(end) - length :])


def _submit_frames(
    pool: ThreadPoolExecutor, uploads: Iterable[Upload], changed: list[Digest]
) -> Iterator[Future[_StoredFrame]]:
    """Work that makes the frames, in order: small blobs share one, a large blob has its own."""
    for group in _groups(uploads):
        if group[0].size < FRAME_RAW_LIMIT:
            yield pool.submit(_make_shared, group, changed)
        else:
            for frame in _cut_large(group[0], changed):
                yield pool.submit(_compress, frame)


def _groups(uploads: Iterable[Upload]) -> Iterator[list[Upload]]:
    group: list[Upload] = []
    size = 0
    for upload in uploads:
        if group and size + upload.size > FRAME_RAW_LIMIT:
            yield group
            group, size = [], 0
        group.append(upload)
        size += upload.size
        if upload.size >= FRAME_RAW_LIMIT:
            yield group
            group, size = [], 0
    if group:
        yield group


def _make_shared(group: Sequence[Upload], changed: list[Digest]) -> _StoredFrame:
    """One frame of small blobs, without those that are not what their digest says any more."""
    parts: list[bytes] = []
    pieces: list[_Piece] = []
    offset = 0
    for upload in group:
        data = _read_small(upload)
        if data is None:
            changed.append(upload.digest)
            continue
        parts.append(data)
        pieces.append(_Piece(upload.digest, offset, len(data)))
        offset += len(data)
    return _compress(_RawFrame(b"".join(parts), tuple(pieces), goes_on=False))


def _read_small(upload: Upload) -> bytes | None:
    try:
        data = b"".join(_bounded(upload.read(), upload.size))
    except OSError:
        return None
    return data if digest_of(data) == upload.digest else None


def _cut_large(upload: Upload, changed: list[Digest]) -> Iterator[_RawFrame]:
    """Frames of a blob of 1 MiB and more; it is read once, as a stream.

    Whether the bytes are still those of its digest shows at the end only. If not, the frames are in
    the pack but no blob is listed for them.
    """
    hasher = blake3()
    done = 0
    last = b""
    try:
        for block in _bounded(upload.read(), upload.size):
            if last:
                yield _RawFrame(last, (), goes_on=True)
                done += len(last)
            hasher.update(block)
            last = block
    except OSError:
        hasher.update(b"unreadable")
    intact = hasher.hexdigest() == upload.digest
    if not intact:
        changed.append(upload.digest)
    if last:
        pieces = (_Piece(upload.digest, -done, upload.size),) if intact else ()
        yield _RawFrame(last, pieces, goes_on=False)


def _bounded(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The blocks, up to the first that goes beyond `size`: a file may grow while it is read."""
    for block in blocks:
        yield block
        size -= len(block)
        if size < 0:
            return


def _in_order(work: Iterator[Future[_StoredFrame]], ahead: int) -> Iterator[_StoredFrame]:
    """The results, in order; at most `ahead` frames are in memory."""
    waiting: deque[Future[_StoredFrame]] = deque()
    try:
        for future in work:
            waiting.append(future)
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _compress(frame: _RawFrame) -> _StoredFrame:
    stored = compress_frame(frame.raw) if frame.raw else b""
    return _StoredFrame(stored, len(frame.raw), frame.pieces, frame.goes_on)


class _PackBuilder:
    """One pack, written as it is built."""

    def __init__(
        self, first: _StoredFrame, frames: Iterator[_StoredFrame], before: int, limit: int
    ) -> None:
        self._first = first
        self._frames = frames
        self._before = before
        self._limit = limit
        self._sizes: list[tuple[int, int]] = []
        self._raw_size = 0
        self._hasher = blake3()
        self.blobs: list[_Piece] = []
        self.size = 0

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file; takes frames until the pack closes."""
        frame: _StoredFrame | None = self._first
        while frame is not None:
            for digest, offset, size in frame.pieces:
                self.blobs.append(_Piece(digest, self._raw_size + offset, size))
            if frame.stored:
                self._sizes.append((len(frame.stored), frame.raw_size))
                self._raw_size += frame.raw_size
                yield self._count(frame.stored)
            if self.size >= PACK_CLOSE_SIZE and not frame.goes_on:
                break
            frame = next(self._frames, None)
        yield self._count(_footer(self.frame_table(), self.blobs))

    @property
    def pack_id(self) -> PackId:
        """Known once all chunks were taken."""
        return pack_id_of(Digest(self._hasher.hexdigest()))

    def file_name(self) -> str:
        """The name in packs/, known once all chunks were taken."""
        return f"{self.pack_id}.pack"

    def frame_table(self) -> FrameTable:
        """The frames so far."""
        return FrameTable(tuple(self._sizes))

    def _count(self, chunk: bytes) -> bytes:
        self.size += len(chunk)
        if self._before + self.size > self._limit:
            raise SizeLimitError(f"more than {self._limit / 1e6:.1f} MB compressed")
        self._hasher.update(chunk)
        return chunk


def _footer(frames: FrameTable, blobs: Sequence[_Piece]) -> bytes:
    body = b"".join(
        (
            frames.encode(),
            *(_BLOB.pack(bytes.fromhex(blob.digest), blob.offset, blob.size) for blob in blobs),
            _COUNTS.pack(len(frames.sizes), len(blobs)),
        )
    )
    length = _SKIPPABLE.size + len(body) + _TAIL.size
    tail = _TAIL.pack(bytes.fromhex(digest_of(body)), length, _MAGIC)
    return _SKIPPABLE.pack(_SKIPPABLE_MAGIC, length - _SKIPPABLE.size) + body + tail


def _footer_length(end: bytes) -> int:
    if len(end) < _TAIL.size:
        raise CorruptError("a pack cut short")
    _, length, magic = _TAIL.unpack_from(end, len(end) - _TAIL.size)
    if magic != _MAGIC or not _EMPTY_FOOTER <= length <= _FOOTER_LIMIT:
        raise CorruptError("a pack without its footer")
    return int(length)


def _parse_footer(footer: bytes) -> tuple[FrameTable, dict[Digest, tuple[int, int]]]:
    body = footer[_SKIPPABLE.size : len(footer) - _TAIL.size]
    digest, _, _ = _TAIL.unpack_from(footer, len(footer) - _TAIL.size)
    if len(body) < _COUNTS.size or bytes.fromhex(digest_of(body)) != digest:
        raise CorruptError("a pack with a damaged footer")
    frame_count, blob_count = _COUNTS.unpack_from(body, len(body) - _COUNTS.size)
    table_end = 8 * frame_count
    if len(body) != table_end + _BLOB.size * blob_count + _COUNTS.size:
        raise CorruptError("a pack whose footer contradicts itself")
    frames = FrameTable.decode(body[:table_end])
    blobs = {
        digest_from_bytes(raw): (offset, size)
        for raw, offset, size in _BLOB.iter_unpack(body[table_end : -_COUNTS.size])
    }
    return frames, blobs
