"""Read blobs from packs: verified (I8), in few reads, in limited memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from concurrent.futures import wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from blake3 import blake3

from b10_store.digest import Digest, digest_of
from b10_store.errors import CorruptError
from b10_store.format.frame import decompress_frame
from b10_store.remote.protocol import Range

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

    from b10_store.format.frame import FrameTable
    from b10_store.remote.protocol import Remote

_GAP_LIMIT = 256 << 10
"""A gap of at most this many stored bytes is read and dropped, instead of making another read."""
_RANGE_LIMIT = 4 << 20
"""How many stored bytes one read requests."""


class Wanted(NamedTuple):
    """A blob to be read: its digest, its offset in the pack's raw stream, its size."""

    digest: Digest
    offset: int
    size: int


class BlobStream(Protocol):
    """Takes a blob that spans several frames."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        ...

    def commit(self) -> None:
        """Finish: all bytes were written, and their digest is right."""
        ...

    def discard(self) -> None:
        """Undo: the bytes were wrong or incomplete, so leave nothing of them."""
        ...


class Sink(Protocol):
    """Takes blobs, from several threads at once. An error that it raises ends the fetch."""

    def put(self, blobs: Sequence[tuple[Digest, bytes]]) -> None:
        """Take complete, verified blobs of one frame."""
        ...

    def stream(self, digest: Digest) -> BlobStream:
        """Return a stream for a blob that comes in parts."""
        ...


@dataclass(slots=True)
class Fetched:
    """The outcome for the blobs asked for; one in neither set could not be read at all.

    Attributes:
        delivered: blobs that were verified and given to the sink.
        damaged: blobs whose bytes were read and do not match their digest.
        error: the filesystem's error, if something could not be read.
    """

    delivered: set[Digest] = field(default_factory=set[Digest])
    damaged: set[Digest] = field(default_factory=set[Digest])
    error: OSError | None = None


class Fetcher:
    """Reads packs of one store; decompresses, verifies and delivers blobs in a pool of threads."""

    def __init__(self, remote: Remote, pool: ThreadPoolExecutor, in_flight: int) -> None:
        """Share a pool.

        Args:
            remote: the store.
            pool: threads that decompress and hand on.
            in_flight: the most frames in memory at a time, for all packs together.
        """
        self._remote = remote
        self._pool = pool
        self._in_flight = in_flight
        self._room = threading.Semaphore(in_flight)
        self._stopped = threading.Event()

    def stop(self, seconds: float) -> None:
        """End all fetches; wait at most this long for blobs that are being delivered."""
        self._stopped.set()
        deadline = time.monotonic() + seconds
        free = 0
        while free < self._in_flight and self._room.acquire(
            timeout=max(0.0, deadline - time.monotonic())
        ):
            free += 1
        for _ in range(free):
            self._room.release()

    @property
    def is_stopped(self) -> bool:
        """Return whether all fetches have ended."""
        return self._stopped.is_set()

    def fetch(self, name: str, frames: FrameTable, wanted: Sequence[Wanted], sink: Sink) -> Fetched:
        """Read blobs of one pack through one open of its file; each digest once.

        Nothing in the pack raises an exception. An error of the sink does, and ends the fetches of
        other packs, too.
        """
        result = Fetched()
        plan = _Plan(frames, wanted, result)
        futures: list[Future[None]] = []
        spanning = {item.digest: _Spanning(item, sink, result) for item in plan.spanning}
        try:
            with self._stopping_all():
                _deliver(plan.empty, b"", 0, sink, result)
                for index, stored in self._read_frames(name, frames, plan.needed, result):
                    if self._stopped.is_set():
                        break
                    if index in plan.inside:
                        futures.append(
                            self._submit(frames, index, stored, plan.inside[index], sink, result)
                        )
                    for item in plan.across.get(index, ()):
                        spanning[item.digest].feed(frames, index, stored)
        finally:
            for blob in spanning.values():
                blob.close()
            wait(futures)
        for future in futures:
            future.result()
        return result

    def _read_frames(
        self, name: str, frames: FrameTable, needed: Sequence[int], result: Fetched
    ) -> Iterator[tuple[int, memoryview]]:
        """Yield the stored bytes of each needed frame; too few if the file is cut short.

        It ends early, and notes why, when the file cannot be read.
        """
        if not needed:
            return
        runs = list(_runs(frames, needed))
        ranges = [_range_of(frames, run) for run in runs]
        reader = self._remote.read(name, ranges)
        for run, wanted in zip(runs, ranges, strict=True):
            try:
                view = memoryview(next(reader))
            except OSError as error:
                result.error = error
                return
            for index in run:
                start = frames.stored_start(index) - wanted.start
                yield index, view[start : start + frames.sizes[index][0]]

    def _submit(
        self,
        frames: FrameTable,
        index: int,
        stored: memoryview,
        items: Sequence[Wanted],
        sink: Sink,
        result: Fetched,
    ) -> Future[None]:
        def work() -> None:
            try:
                with self._stopping_all():
                    if not self._stopped.is_set():
                        _decode(frames, index, stored, items, sink, result)
            finally:
                self._room.release()

        self._room.acquire()
        return self._pool.submit(work)

    @contextlib.contextmanager
    def _stopping_all(self) -> Generator[None]:
        """Stop every fetch when the block, which calls the sink, raises."""
        try:
            yield
        except BaseException:
            self._stopped.set()
            raise


class _Plan:
    """The frames that are needed, and for which blobs."""

    def __init__(self, frames: FrameTable, wanted: Sequence[Wanted], result: Fetched) -> None:
        self.empty: list[Wanted] = []
        self.spanning: list[Wanted] = []
        self.inside: defaultdict[int, list[Wanted]] = defaultdict(list)
        self.across: defaultdict[int, list[Wanted]] = defaultdict(list)
        room = frames.raw_size
        for item in wanted:
            try:
                covering = frames.covering(item.offset, item.size)
            except CorruptError:
                result.damaged.add(item.digest)
                continue
            room -= item.size
            if room < 0:
                # Blobs of a pack do not overlap. For a manifest with overlapping blobs, the work
                # would be the number of its entries times the size of the pack.
                result.damaged.add(item.digest)
                continue
            if not covering:
                self.empty.append(item)
            elif len(covering) == 1:
                self.inside[covering[0]].append(item)
            else:
                self.spanning.append(item)
                for index in covering:
                    self.across[index].append(item)
        self.needed = sorted(self.inside.keys() | self.across.keys())


class _Spanning:
    """A blob of several frames on its way to the sink."""

    def __init__(self, item: Wanted, sink: Sink, result: Fetched) -> None:
        self._item = item
        self._sink = sink
        self._result = result
        self._hasher = blake3()
        self._left = item.size
        self._stream: BlobStream | None = None
        self._over = False

    def feed(self, frames: FrameTable, index: int, stored: memoryview) -> None:
        """Take the next frame."""
        if self._over:
            return
        try:
            raw = decompress_frame(stored, frames.sizes[index][1])
        except CorruptError:
            self._result.damaged.add(self._item.digest)
            self.close()
            return
        start = max(0, self._item.offset - frames.raw_start(index))
        part = memoryview(raw)[start : start + self._left]
        if self._stream is None:
            self._stream = self._sink.stream(self._item.digest)
        self._stream.write(part)
        self._hasher.update(part)
        self._left -= len(part)
        if not self._left:
            self._finish(self._stream)

    def close(self) -> None:
        """Discard the blob if it is incomplete."""
        if not self._over and self._stream is not None:
            self._stream.discard()
        self._over = True

    def _finish(self, stream: BlobStream) -> None:
        if self._hasher.hexdigest() == self._item.digest:
            stream.commit()
            self._over = True
            self._result.delivered.add(self._item.digest)
        else:
            self._result.damaged.add(self._item.digest)
            self.close()


def _decode(
    frames: FrameTable,
    index: int,
    stored: memoryview,
    items: Sequence[Wanted],
    sink: Sink,
    result: Fetched,
) -> None:
    try:
        raw = decompress_frame(stored, frames.sizes[index][1])
    except CorruptError:
        result.damaged.update(item.digest for item in items)
        return
    _deliver(items, raw, frames.raw_start(index), sink, result)


def _deliver(items: Sequence[Wanted], raw: bytes, start: int, sink: Sink, result: Fetched) -> None:
    """Verify the blobs in some raw bytes, the first of which is at `start`, and hand them on."""
    sound: list[tuple[Digest, bytes]] = []
    for digest, offset, size in items:
        data = raw[offset - start : offset - start + size]
        if digest_of(data) == digest:
            sound.append((digest, data))
        else:
            result.damaged.add(digest)
    if sound:
        sink.put(sound)
        result.delivered.update(digest for digest, _ in sound)


def _runs(frames: FrameTable, needed: Sequence[int]) -> Iterator[list[int]]:
    """Yield the runs of needed frames that are read at once."""
    run = [needed[0]]
    for index in needed[1:]:
        gap = frames.stored_start(index) - frames.stored_start(run[-1] + 1)
        length = frames.stored_start(index + 1) - frames.stored_start(run[0])
        if gap > _GAP_LIMIT or length > _RANGE_LIMIT:
            yield run
            run = []
        run.append(index)
    yield run


def _range_of(frames: FrameTable, run: Sequence[int]) -> Range:
    start = frames.stored_start(run[0])
    return Range(start, frames.stored_start(run[-1] + 1) - start)
