"""Reading blobs of many packs, one pack after the other."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from b10_store.format.names import pack_path
from b10_store.packs.reader import Fetcher, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from b10_store.digest import Digest
    from b10_store.format.manifest import Entry, Pack
    from b10_store.format.names import PackId
    from b10_store.packs.reader import Sink
    from b10_store.remote.protocol import Remote

_FRAMES_IN_FLIGHT = 8
"""Most frames in memory for each worker."""


def read_blobs(
    remote: Remote,
    packs: Mapping[PackId, Pack],
    entries: Iterable[Entry],
    sink: Sink,
    *,
    workers: int = 1,
) -> set[Digest]:
    """Read and verify the blobs of entries; what fails is read once more, through a fresh open.

    Args:
        remote: the store.
        packs: those that the entries lie in.
        entries: where two have one digest, the second is read if the first cannot be.
        sink: takes the blobs.
        workers: threads that decompress.

    Returns:
        The digests of the blobs that the sink has.
    """
    by_pack: defaultdict[PackId, dict[Digest, Wanted]] = defaultdict(dict)
    for entry in entries:
        pack, offset = entry.location
        by_pack[pack][entry.digest] = Wanted(entry.digest, offset, entry.size)
    read: set[Digest] = set()
    with ThreadPoolExecutor(workers, "b10-blobs") as pool:
        fetcher = Fetcher(remote, pool, _FRAMES_IN_FLIGHT * workers)
        for pack, wanted in by_pack.items():
            for _ in range(2):
                left = [item for digest, item in wanted.items() if digest not in read]
                if left:
                    found = fetcher.fetch(pack_path(pack), packs[pack].frames, left, sink)
                    read |= found.delivered
    return read
