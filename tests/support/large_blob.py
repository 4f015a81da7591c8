"""A program: writes a large blob into a pack, reads it back, and prints the memory it took.

Usage: large_blob.py FOLDER MEBIBYTES. Prints JSON: the growth of the greatest resident size in
bytes, how many frames the pack has, and whether the bytes came back right.
"""

from __future__ import annotations

import json
import random
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from b10_store.digest import Digest
from b10_store.format.names import pack_path
from b10_store.packs.reader import Fetcher, Wanted
from b10_store.packs.writer import write_packs
from b10_store.remote.folder import FolderRemote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BLOCK = 1 << 20
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class MadeBlob:
    """A blob whose blocks are made when they are asked for; half of each compresses well."""

    digest: Digest
    size: int

    def read(self) -> Iterator[bytes]:
        """See `Upload.read`."""
        return _blocks(self.size)


class Hashing:
    """Hashes what comes, as a sink and as a stream."""

    def __init__(self) -> None:
        """Nothing came yet."""
        self._hasher = blake3()
        self.digest = ""

    def put(self, blobs: Sequence[tuple[Digest, bytes]]) -> None:
        """See `Sink.put`."""
        raise AssertionError(f"{blobs[0][0]} came whole")

    def stream(self, digest: Digest) -> Hashing:
        """See `Sink.stream`."""
        assert digest
        return self

    def write(self, data: bytes | memoryview) -> None:
        """See `BlobStream.write`."""
        self._hasher.update(data)

    def commit(self) -> None:
        """See `BlobStream.commit`."""
        self.digest = self._hasher.hexdigest()

    def discard(self) -> None:
        """See `BlobStream.discard`."""


def _blocks(size: int) -> Iterator[bytes]:
    for number in range(size // _BLOCK):
        half = random.Random(number).randbytes(_BLOCK // 2)
        yield half + bytes(_BLOCK // 2)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _main(folder: str, mebibytes: int) -> None:
    size = mebibytes * _BLOCK
    hasher = blake3()
    for block in _blocks(size):
        hasher.update(block)
    blob = MadeBlob(Digest(hasher.hexdigest()), size)
    remote = FolderRemote(folder)
    before = _peak()
    written = write_packs(remote, [blob], workers=_WORKERS, limit=size)
    ((pack, known),) = written.packs.items()
    sink = Hashing()
    with ThreadPoolExecutor(_WORKERS) as pool:
        wanted = [Wanted(blob.digest, written.locations[blob.digest].offset, size)]
        fetched = Fetcher(remote, pool, 8 * _WORKERS).fetch(
            pack_path(pack), known.frames, wanted, sink
        )
    report = {
        "growth": _peak() - before,
        "frames": len(known.frames.sizes),
        "right": sink.digest == blob.digest and fetched.delivered == {blob.digest},
    }
    print(json.dumps(report))  # noqa: T201  a program: this is its answer


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
