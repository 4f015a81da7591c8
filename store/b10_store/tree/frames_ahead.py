"""Frames that a scan makes of the bytes in its hands, so that a save need not read them again."""

from __future__ import annotations

import mmap
import threading
from typing import TYPE_CHECKING, NamedTuple

from b10_store.format.frame import compress_frame
from b10_store.format.names import FRAME_RAW_LIMIT
from b10_store.format.pack_footer import Piece, StoredFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from b10_store.digest import Digest
    from b10_store.format.manifest import Identity

_HELD_BYTES = 64 << 20
"""Most compressed bytes that are kept in memory; what comes after them is read again."""


class _Held(NamedTuple):
    """A frame that is kept: where, and as in `StoredFrame`."""

    start: int
    end: int
    raw_size: int
    pieces: tuple[Piece, ...]


class FramesAhead:
    """The frames of artifacts that will probably be uploaded. Safe to use from many threads.

    It is local work alone: a save takes those frames whose every blob it uploads, and reads the
    other files again. So a wrong guess costs time, and nothing else.
    """

    def __init__(self, expects: Callable[[Identity], bool]) -> None:
        """Make none yet.

        Args:
            expects: whether an artifact will probably be uploaded.
        """
        self.expects = expects
        # One region for all of them, which takes no memory before it is written to: in the heap
        # each would leave a gap behind it, and pin the memory of what was read around it.
        self._region = mmap.mmap(-1, _HELD_BYTES)
        self._used = 0
        self._frames: dict[int, _Held] = {}
        self._places: dict[Digest, int] = {}
        self._lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether no frame is sure to fit in any more."""
        return self._used + FRAME_RAW_LIMIT > _HELD_BYTES

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

    def take(self, wanted: Container[Digest]) -> list[StoredFrame]:
        """Return the frames in which every blob is wanted; no digest is in two of them."""
        region = memoryview(self._region)
        return [
            StoredFrame(region[held.start : held.end], held.raw_size, held.pieces)
            for _, held in sorted(self._frames.items())
            if all(piece.digest in wanted for piece in held.pieces)
        ]

    def _keep(self, number: int, stored: bytes, size: int, pieces: tuple[Piece, ...]) -> None:
        with self._lock:
            start, end = self._used, self._used + len(stored)
            if end <= _HELD_BYTES:
                self._region[start:end] = stored
                self._frames[number] = _Held(start, end, size, pieces)
                self._used = end
