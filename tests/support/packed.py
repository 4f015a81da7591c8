"""Blobs in a pack of a store in memory, or what a test makes of such a pack."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store.format.names import pack_path
from b10_store.packs.reader import Fetcher, Wanted
from b10_store.packs.writer import write_packs
from b10_store.remote.memory import MemoryRemote
from b10_store.remote.protocol import Range
from tests.support.blobs import Collector, HeldBlob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from b10_store.format.frame import FrameTable
    from b10_store.format.names import PackId
    from b10_store.packs.reader import Fetched, Sink
    from b10_store.packs.writer import Upload, Written
    from b10_store.remote.protocol import Remote

NO_LIMIT = 1 << 40


@dataclass(frozen=True, slots=True)
class Packed:
    """One pack that holds some blobs."""

    remote: Remote
    pack: PackId
    frames: FrameTable
    wanted: tuple[Wanted, ...]

    @property
    def name(self) -> str:
        """The pack's name in the store."""
        return pack_path(self.pack)

    @property
    def stored_size(self) -> int:
        """Bytes of the pack's frames: where its footer begins."""
        return self.frames.stored_start(len(self.frames.sizes))

    @property
    def data(self) -> bytes:
        """The pack's file."""
        return whole_file(self.remote, self.name)

    def replace(self, data: bytes) -> None:
        """Put other bytes in the place of the pack's."""
        folder, _, name = self.name.partition("/")
        self.remote.create(folder, name, [data])

    def fetch(self, wanted: Sequence[Wanted] | None = None) -> tuple[Fetched, Collector]:
        """Fetch some of the blobs, or all."""
        sink = Collector()
        return fetch(self.remote, self.name, self.frames, wanted or self.wanted, sink), sink


def memory_store() -> MemoryRemote:
    """An empty store."""
    return MemoryRemote(time.time)


def write(
    remote: Remote, uploads: Iterable[Upload], *, limit: int = NO_LIMIT, workers: int = 2
) -> Written:
    """Write packs as a save does."""
    return write_packs(remote, uploads, workers=workers, limit=limit)


def pack_blobs(remote: Remote, contents: Iterable[bytes]) -> Packed:
    """Write distinct blobs that fit one pack."""
    blobs = [HeldBlob.of(content) for content in contents]
    written = write(remote, blobs)
    ((pack, known),) = written.packs.items()
    wanted = tuple(
        Wanted(blob.digest, written.locations[blob.digest].offset, blob.size) for blob in blobs
    )
    return Packed(remote, pack, known.frames, wanted)


def fetch(
    remote: Remote, name: str, frames: FrameTable, wanted: Sequence[Wanted], sink: Sink
) -> Fetched:
    """Fetch blobs as a load does."""
    with ThreadPoolExecutor(2) as pool:
        return Fetcher(remote, pool, 8).fetch(name, frames, wanted, sink)


def whole_file(remote: Remote, name: str) -> bytes:
    """All bytes of a file."""
    (data,) = remote.read(name, [Range(0, 1 << 40)])
    return data


def the_pack(remote: Remote) -> str:
    """The name of the store's only pack."""
    (name,) = remote.list("packs")
    return f"packs/{name}"


def rewrite(remote: Remote, name: str, data: bytes) -> None:
    """Let a file have other bytes."""
    folder, _, file = name.partition("/")
    remote.create(folder, file, [data])
