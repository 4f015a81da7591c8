"""Blobs in memory: a source for packs, and a sink for what is fetched."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store.digest import Digest, digest_of
from b10_store.format.names import FRAME_RAW_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class HeldBlob:
    """A blob in memory, an `Upload`.

    Attributes:
        digest: what its bytes are said to hash to.
        size: what is said to be its size.
        data: what is read.
    """

    digest: Digest
    size: int
    data: bytes

    @classmethod
    def of(cls, data: bytes) -> HeldBlob:
        """An honest one."""
        return cls(digest_of(data), len(data), data)

    def read(self) -> Iterator[bytes]:
        """See `Upload.read`."""
        for start in range(0, len(self.data), FRAME_RAW_LIMIT):
            yield self.data[start : start + FRAME_RAW_LIMIT]


class Collector:
    """Keeps what is delivered, a `Sink`.

    Attributes:
        blobs: whole blobs.
        discarded: blobs of which parts came before they turned out to be wrong.
    """

    def __init__(self) -> None:
        """Empty."""
        self.blobs: dict[Digest, bytes] = {}
        self.discarded: list[Digest] = []
        self._lock = threading.Lock()

    def put(self, blobs: Sequence[tuple[Digest, bytes]]) -> None:
        """See `Sink.put`."""
        with self._lock:
            assert self.blobs.keys().isdisjoint(dict(blobs)), "delivered twice"
            self.blobs.update(blobs)

    def stream(self, digest: Digest) -> CollectedStream:
        """See `Sink.stream`."""
        return CollectedStream(self, digest)


class CollectedStream:
    """A blob that comes in parts."""

    def __init__(self, collector: Collector, digest: Digest) -> None:
        """Nothing came yet."""
        self._collector = collector
        self._digest = digest
        self._parts: list[bytes] = []
        self._over = False

    def write(self, data: bytes | memoryview) -> None:
        """See `BlobStream.write`."""
        assert not self._over, "written after its end"
        self._parts.append(bytes(data))

    def commit(self) -> None:
        """See `BlobStream.commit`."""
        self._end()
        self._collector.put([(self._digest, b"".join(self._parts))])

    def discard(self) -> None:
        """See `BlobStream.discard`."""
        self._end()
        self._collector.discarded.append(self._digest)

    def _end(self) -> None:
        assert not self._over, "ended twice"
        self._over = True


def prose(size: int, seed: int = 0) -> bytes:
    """Bytes that compress about as generated code does, the same for the same seed."""
    words = [b"%x" % random.Random(f"{seed} {word}").getrandbits(40) for word in range(64)]
    draw = random.Random(seed)
    line = b" ".join(draw.choice(words) for _ in range(min(4096, size // 4 + 1))) + b"\n"
    return (line * (size // len(line) + 1))[:size]
