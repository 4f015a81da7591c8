"""Manifests in which blobs lie on one another: the work stays that of reading their pack once."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store.digest import Digest, digest_of
from b10_store.format.frame import FrameTable, compress_frame
from b10_store.format.names import FRAME_RAW_LIMIT
from b10_store.packs.reader import Wanted
from tests.support.packed import fetch, memory_store

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT = 40
FRAME = compress_frame(bytes(FRAME_RAW_LIMIT))
TABLE = FrameTable(((len(FRAME), FRAME_RAW_LIMIT),) * COUNT)


@dataclass(slots=True)
class CountingSink:
    """Counts the bytes that it is given."""

    size: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, blobs: Sequence[tuple[Digest, bytes]]) -> None:
        for _, data in blobs:
            self.write(data)

    def stream(self, digest: Digest) -> CountingSink:
        del digest
        return self

    def write(self, data: bytes | memoryview) -> None:
        with self.lock:
            self.size += len(data)

    def commit(self) -> None:
        """Nothing is kept."""

    def discard(self) -> None:
        """Nothing is kept."""


def fetch_all(wanted: list[Wanted]) -> tuple[int, int, int]:
    """Bytes that were handed on, blobs that came, blobs that are damaged."""
    remote = memory_store()
    remote.create("packs", "x.pack", [FRAME * COUNT])
    sink = CountingSink()
    fetched = fetch(remote, "packs/x.pack", TABLE, wanted, sink)
    assert fetched.error is None
    return sink.size, len(fetched.delivered), len(fetched.damaged)


def test_blobs_that_all_take_the_whole_pack_are_not_all_read() -> None:
    wanted = [Wanted(Digest(f"{at:064x}"), 0, TABLE.raw_size - at) for at in range(200)]
    size, delivered, damaged = fetch_all(wanted)
    assert size <= TABLE.raw_size
    assert (delivered, damaged) == (0, 200)


def test_blobs_that_fill_a_pack_are_all_read() -> None:
    halves = [
        Wanted(digest_of(bytes(FRAME_RAW_LIMIT - at)), at * FRAME_RAW_LIMIT, FRAME_RAW_LIMIT - at)
        for at in range(COUNT)
    ]
    size, delivered, damaged = fetch_all(halves)
    assert (delivered, damaged) == (COUNT, 0)
    assert size == sum(item.size for item in halves)
