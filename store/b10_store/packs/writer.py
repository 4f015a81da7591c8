"""Write packs: many blobs, in shared frames, as immutable files."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol

from blake3 import blake3

from b10_store.digest import Digest, digest_of
from b10_store.errors import SizeLimitError
from b10_store.format.frame import FrameTable, compress_frame, share_frames
from b10_store.format.manifest import Location, Pack
from b10_store.format.names import FRAME_RAW_LIMIT, PACK_CLOSE_SIZE, PackId, pack_id_of
from b10_store.format.pack_footer import Piece, StoredFrame, encode_footer
from b10_store.remote.folder_names import PACKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from b10_store.remote.protocol import Remote


class Upload(Protocol):
    """A local blob to be written into a pack."""

    @property
    def digest(self) -> Digest:
        """The digest that its bytes must have; a blob that changed meanwhile is left out."""
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
    """The result of `write_packs`.

    Attributes:
        packs: the new packs.
        locations: the place of each blob.
        changed: blobs whose bytes no longer match their digest.
        stored_bytes: the size of the pack files.
    """

    packs: dict[PackId, Pack] = field(default_factory=dict[PackId, Pack])
    locations: dict[Digest, Location] = field(default_factory=dict[Digest, Location])
    changed: list[Digest] = field(default_factory=list[Digest])
    stored_bytes: int = 0


class _RawFrame(NamedTuple):
    raw: bytes
    pieces: tuple[Piece, ...]
    goes_on: bool


def write_packs(
    remote: Remote,
    uploads: Iterable[Upload],
    *,
    workers: int,
    limit: int,
    ready: Iterable[StoredFrame] = (),
    on_written: Callable[[int], None] = lambda _: None,
) -> Written:
    """Write blobs into new packs, in the given order: similar neighbours share frames.

    Args:
        remote: the store.
        uploads: the blobs, each digest once.
        ready: frames of further blobs, each digest once; they come first.
        workers: threads that compress.
        limit: the most bytes that the packs may take together.
        on_written: called with the number of raw bytes of each frame that is passed to the store.

    Raises:
        SizeLimitError: the packs would take more than `limit` bytes.
        OSError: the store cannot take them.
    """
    result = Written()
    with ThreadPoolExecutor(workers, "b10-compress") as pool:
        work = _submit_frames(pool, uploads, result.changed)
        made = _in_order(work, 2 * workers)
        frames = (frame for frame in chain(ready, made) if frame.stored or frame.pieces)
        while (first := next(frames, None)) is not None:
            builder = _PackBuilder(first, frames, result.stored_bytes, limit, on_written)
            remote.create(PACKS, builder.file_name, builder.chunks())
            pack = builder.pack_id
            result.packs[pack] = Pack(builder.size, builder.frame_table())
            result.stored_bytes += builder.size
            for digest, offset, _ in builder.blobs:
                result.locations[digest] = Location(pack, offset)
    return result


def _submit_frames(
    pool: ThreadPoolExecutor, uploads: Iterable[Upload], changed: list[Digest]
) -> Iterator[Future[StoredFrame]]:
    """Work that makes the frames, in order: small blobs share one, a large blob has its own."""
    for group in share_frames(uploads, lambda upload: upload.size):
        if group[0].size < FRAME_RAW_LIMIT:
            yield pool.submit(_make_shared, group, changed)
        else:
            for frame in _cut_large(group[0], changed):
                yield pool.submit(_compress, frame)


def _make_shared(group: Sequence[Upload], changed: list[Digest]) -> StoredFrame:
    """Return one frame of small blobs, without those that no longer match their digest."""
    parts: list[bytes] = []
    pieces: list[Piece] = []
    offset = 0
    for upload in group:
        data = _read_small(upload)
        if data is None:
            changed.append(upload.digest)
            continue
        parts.append(data)
        pieces.append(Piece(upload.digest, offset, len(data)))
        offset += len(data)
    return _compress(_RawFrame(b"".join(parts), tuple(pieces), goes_on=False))


def _read_small(upload: Upload) -> bytes | None:
    try:
        data = b"".join(_bounded(upload.read(), upload.size))
    except OSError:
        return None
    return data if digest_of(data) == upload.digest else None


def _cut_large(upload: Upload, changed: list[Digest]) -> Iterator[_RawFrame]:
    """Yield the frames of a blob of 1 MiB or more; it is read once, as a stream.

    Only the end shows whether the bytes still match the digest. If not, the frames are in the pack,
    but no blob is listed for them.
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
        pieces = (Piece(upload.digest, -done, upload.size),) if intact else ()
        yield _RawFrame(last, pieces, goes_on=False)


def _bounded(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the blocks up to the first one beyond `size`: a file may grow while it is read."""
    for block in blocks:
        yield block
        size -= len(block)
        if size < 0:
            return


def _in_order(work: Iterator[Future[StoredFrame]], ahead: int) -> Iterator[StoredFrame]:
    """Yield the results in order; at most `ahead` frames are in memory."""
    waiting: deque[Future[StoredFrame]] = deque()
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


def _compress(frame: _RawFrame) -> StoredFrame:
    stored = compress_frame(frame.raw) if frame.raw else b""
    return StoredFrame(stored, len(frame.raw), frame.pieces, frame.goes_on)


class _PackBuilder:
    """A pack that is written while it is built."""

    def __init__(
        self,
        first: StoredFrame,
        frames: Iterator[StoredFrame],
        before: int,
        limit: int,
        on_written: Callable[[int], None],
    ) -> None:
        self._first = first
        self._frames = frames
        self._before = before
        self._limit = limit
        self._on_written = on_written
        self._sizes: list[tuple[int, int]] = []
        self._raw_size = 0
        self._hasher = blake3()
        self.blobs: list[Piece] = []
        self.size = 0

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the file; take frames until the pack closes."""
        frame: StoredFrame | None = self._first
        while frame is not None:
            for digest, offset, size in frame.pieces:
                self.blobs.append(Piece(digest, self._raw_size + offset, size))
            if frame.stored:
                self._sizes.append((len(frame.stored), frame.raw_size))
                self._raw_size += frame.raw_size
                yield self._count(frame.stored)
                self._on_written(frame.raw_size)
            if self.size >= PACK_CLOSE_SIZE and not frame.goes_on:
                break
            frame = next(self._frames, None)
        yield self._count(encode_footer(self.frame_table(), self.blobs))

    @property
    def pack_id(self) -> PackId:
        """The pack's id, known when all chunks were taken."""
        return pack_id_of(Digest(self._hasher.hexdigest()))

    def file_name(self) -> str:
        """The name in packs/, known when all chunks were taken."""
        return f"{self.pack_id}.pack"

    def frame_table(self) -> FrameTable:
        """The table of the frames so far."""
        return FrameTable(tuple(self._sizes))

    def _too_large(self) -> SizeLimitError:
        """Compress the rest as well, to say how far the limit must be raised."""
        rest = sum(len(frame.stored) for frame in self._frames)
        needed = self._before + self.size + rest
        return SizeLimitError("the upload", needed, self._limit)

    def _count(self, chunk: bytes) -> bytes:
        self.size += len(chunk)
        if self._before + self.size > self._limit:
            raise self._too_large()
        self._hasher.update(chunk)
        return chunk
