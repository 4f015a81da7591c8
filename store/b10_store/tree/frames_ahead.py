"""Frames that a scan makes of the bytes in its hands, so that a save need not read them again."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from typing import IO, TYPE_CHECKING, NamedTuple

from b10_store.digest import digest_of
from b10_store.format.frame import compress_frame
from b10_store.format.names import FRAME_RAW_LIMIT
from b10_store.format.pack_footer import Piece, StoredFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Iterable, Iterator

    from typing_extensions import Self

    from b10_store.digest import Digest
    from b10_store.format.manifest import Identity

_KEPT_BYTES = 256 << 20
"""Most compressed bytes that are kept; the files of further frames are read again."""

_PART_OF_FREE_SPACE = 4


class _Kept(NamedTuple):
    """A frame in the file: where, the digest of its compressed bytes, and as in `StoredFrame`."""

    start: int
    length: int
    digest: Digest
    raw_size: int
    pieces: tuple[Piece, ...]


class FramesAhead:
    """The frames of artifacts that will probably be uploaded. Closed by `with`.

    Safe to use from many threads.

    It is local work alone: a save takes those frames whose every blob it uploads, and reads the
    other files again. So a wrong guess costs time, and nothing else. They are kept in a file that
    has no name, so that memory stays small and a killed process leaves nothing behind.
    """

    def __init__(self, expects: Callable[[Identity], bool], scratch: str) -> None:
        """Make none yet.

        Args:
            expects: whether an artifact will probably be uploaded.
            scratch: a local folder; where it cannot take the frames, none are kept.
        """
        self.expects = expects
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._opened = contextlib.ExitStack()
        self._used = 0
        self._limit = _KEPT_BYTES
        self._kept: dict[int, _Kept] = {}
        self._places: dict[Digest, int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Let go of the frames when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the frames."""
        self._opened.close()

    @property
    def is_full(self) -> bool:
        """Whether no frame is sure to fit in any more."""
        return self._used + FRAME_RAW_LIMIT > self._limit

    def make(self, number: int, blobs: Iterable[tuple[Digest, bytes]]) -> None:
        """Make a frame of blobs; what does not fit, or is in another one, is left out.

        Args:
            number: of the frame; they come in the order of their numbers.
            blobs: the blobs, and their bytes.
        """
        parts: list[bytes] = []
        pieces: list[Piece] = []
        size = 0
        for digest, data in blobs:
            fits = size + len(data) <= FRAME_RAW_LIMIT
            if fits and self._places.setdefault(digest, number) == number:
                pieces.append(Piece(digest, size, len(data)))
                parts.append(data)
                size += len(data)
        if size:
            self._keep(number, compress_frame(b"".join(parts)), size, tuple(pieces))

    def take(self, wanted: Container[Digest]) -> tuple[set[Digest], Iterator[StoredFrame]]:
        """Take the frames in which every blob is wanted; no digest is in two of them.

        Returns:
            The digests in them, and the frames, read one by one. A save that is fenced takes them
            once more.
        """
        taken = [
            kept
            for _, kept in sorted(self._kept.items())
            if all(piece.digest in wanted for piece in kept.pieces)
        ]
        return {piece.digest for kept in taken for piece in kept.pieces}, self._read(taken)

    def _read(self, taken: list[_Kept]) -> Iterator[StoredFrame]:
        if self._file is None:
            return
        for kept in taken:
            self._file.seek(kept.start)
            stored = self._file.read(kept.length)
            # Nothing looks at the blobs again before they are published.
            if digest_of(stored) != kept.digest:
                raise OSError(f"the work folder {self._scratch} gives back other bytes")
            yield StoredFrame(stored, kept.raw_size, kept.pieces)

    def _keep(self, number: int, stored: bytes, size: int, pieces: tuple[Piece, ...]) -> None:
        with self._lock:
            try:
                start = self._append(stored)
            except OSError:
                self._limit = 0
            else:
                self._kept[number] = _Kept(start, len(stored), digest_of(stored), size, pieces)

    def _append(self, stored: bytes) -> int:
        """Write bytes to the file; returns where they begin.

        Raises:
            OSError: there is no room for them.
        """
        if self._file is None:
            free = shutil.disk_usage(self._scratch).free
            self._limit = min(_KEPT_BYTES, free // _PART_OF_FREE_SPACE)
            self._file = self._opened.enter_context(_spool(self._scratch))
        start, end = self._used, self._used + len(stored)
        if end > self._limit:
            raise OSError("no further frames are kept")
        self._used = end
        if self._file.write(stored) != len(stored):
            raise OSError("a frame was written in part")
        return start


@contextlib.contextmanager
def _spool(scratch: str) -> Generator[IO[bytes]]:
    with tempfile.TemporaryFile(dir=scratch, buffering=0) as file:
        yield file
