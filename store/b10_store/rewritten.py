"""Artifacts that a compiler rewrites with what it learns: the local bytes and the stored ones."""

from __future__ import annotations

import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from b10_store.digest import digest_of
from b10_store.fetch import Fetcher, Wanted
from b10_store.layout import pack_path
from b10_store.scan import UNITED_LIMIT, Scanned

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from b10_store.digest import Digest
    from b10_store.layout import PackId
    from b10_store.manifest import Entry
    from b10_store.remote import Remote
    from b10_store.union import Union

_FRAMES_IN_FLIGHT = 8


def unite_rewritten(
    remote: Remote,
    stored: Union,
    artifacts: Sequence[Scanned],
    good_packs: Collection[PackId],
    *,
    cold: bool = False,
) -> tuple[Scanned, ...]:
    """Add to such artifacts what the store knows and this host does not.

    What cannot be read, or not be united, stays as it is. Most saves have none that differs, and
    read nothing.

    Args:
        remote: the store.
        stored: what its heads hold.
        artifacts: what is here.
        good_packs: packs that may be read.
        cold: whether the local bytes stand where both know the same, and not the stored ones.

    Returns:
        The artifacts in their order.
    """
    entries = {
        item.candidate.identity: entry
        for item in artifacts
        if item.file.unite is not None
        and (entry := stored.entries.get(item.candidate.identity)) is not None
        and entry.digest != item.digest
        and max(entry.size, item.size) <= UNITED_LIMIT
        and entry.location.pack in good_packs
    }
    if not entries:
        return tuple(artifacts)
    blobs = _read_blobs(remote, stored, list(entries.values()))
    return tuple(
        _united(item, blobs.get(entry.digest), cold=cold)
        if (entry := entries.get(item.candidate.identity)) is not None
        else item
        for item in artifacts
    )


def _united(item: Scanned, stored: bytes | None, *, cold: bool) -> Scanned:
    if stored is None or item.file.unite is None:
        return item
    try:
        local = b"".join(item.read())
        # Of what both know the stored stays: hosts that know the same would replace it for ever.
        content = item.file.unite(stored, local) if cold else item.file.unite(local, stored)
    except (OSError, ValueError):
        return item
    candidate = replace(
        item.candidate, digest=digest_of(content), size=len(content), is_united=True
    )
    return Scanned(item.file, candidate, content)


def _read_blobs(remote: Remote, stored: Union, entries: Sequence[Entry]) -> dict[Digest, bytes]:
    by_pack: defaultdict[PackId, list[Wanted]] = defaultdict(list)
    for entry in entries:
        location = entry.location
        by_pack[location.pack].append(Wanted(entry.digest, location.offset, entry.size))
    collected = _Collected()
    with ThreadPoolExecutor(1, "b10-rewritten") as pool:
        fetcher = Fetcher(remote, pool, _FRAMES_IN_FLIGHT)
        for pack, wanted in by_pack.items():
            fetcher.fetch(pack_path(pack), stored.packs[pack].frames, wanted, collected)
    return collected.blobs


class _Collected:
    """A `fetch.Sink` that keeps the blobs in memory."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self._lock = threading.Lock()

    def put(self, digest: Digest, data: bytes | memoryview) -> None:
        with self._lock:
            self.blobs[digest] = bytes(data)

    def stream(self, digest: Digest) -> _CollectedStream:
        return _CollectedStream(self, digest)


class _CollectedStream:
    """A `fetch.BlobStream` into memory."""

    def __init__(self, collected: _Collected, digest: Digest) -> None:
        self._collected = collected
        self._digest = digest
        self._parts: list[bytes] = []

    def write(self, data: bytes | memoryview) -> None:
        self._parts.append(bytes(data))

    def commit(self) -> None:
        self._collected.put(self._digest, b"".join(self._parts))

    def discard(self) -> None:
        self._parts.clear()
