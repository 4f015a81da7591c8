"""Artifacts that a compiler extends and rewrites: merge the local and the stored bytes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from b10_store.digest import digest_of
from b10_store.manifests.merge import MergedView
from b10_store.packs.blobs import read_blobs
from b10_store.tree.scan import UNITED_LIMIT, Scanned

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from b10_store.digest import Digest
    from b10_store.format.manifest import Entry, Identity, Manifest
    from b10_store.format.names import PackId
    from b10_store.remote.protocol import Remote


def unite_rewritten(
    remote: Remote,
    stored: MergedView,
    artifacts: Sequence[Scanned],
    good_packs: Collection[PackId],
    *,
    parents: Sequence[Manifest] = (),
    cold: bool = False,
) -> tuple[Scanned, ...]:
    """Merge the stored versions of such artifacts into the local ones.

    A file that cannot be read or merged stays unchanged. Most saves have none that differs, and
    read nothing.

    Args:
        remote: the store.
        stored: the merged heads.
        artifacts: the local artifacts.
        good_packs: packs that may be read.
        parents: the heads; if they do not know each other, the merged view has the bytes of one.
        cold: whether the local bytes win, instead of the stored ones, when both have the same key.

    Returns:
        The artifacts in their order.
    """
    views = [stored, *(MergedView(parent.entries, parent.packs) for parent in parents)]
    versions: dict[Identity, list[Entry]] = {}
    for item in artifacts:
        if item.file.unite is not None and item.size <= UNITED_LIMIT:
            found = _other_versions(item, views, good_packs)
            if found:
                versions[item.identity] = found
    if not versions:
        return tuple(artifacts)
    packs = {pack: known for view in reversed(views) for pack, known in view.packs.items()}
    collected = _Collected()
    read_blobs(remote, packs, [entry for found in versions.values() for entry in found], collected)
    blobs = collected.blobs
    return tuple(
        _united(
            item,
            [
                blobs[entry.digest]
                for entry in versions.get(item.identity, ())
                if entry.digest in blobs
            ],
            cold=cold,
        )
        for item in artifacts
    )


def _other_versions(
    item: Scanned, views: Sequence[MergedView], good_packs: Collection[PackId]
) -> list[Entry]:
    """Return the stored versions that differ from the local one; the merged view's is last."""
    found: dict[Digest, Entry] = {}
    for view in reversed(views):
        entry = view.entries.get(item.identity)
        if (
            entry is not None
            and entry.digest != item.digest
            and entry.size <= UNITED_LIMIT
            and entry.location.pack in good_packs
        ):
            found.pop(entry.digest, None)
            found[entry.digest] = entry
    return list(found.values())


def _united(item: Scanned, versions: Sequence[bytes], *, cold: bool) -> Scanned:
    if not versions or item.file.unite is None:
        return item
    try:
        content = b"".join(item.read())
        for stored in versions:
            # If both have a value, the stored one stays: otherwise two hosts would replace each
            # other's forever.
            content = item.file.unite(stored, content) if cold else item.file.unite(content, stored)
    except (OSError, ValueError):
        return item
    return Scanned(item.file, digest_of(content), len(content), content, is_united=True)


class _Collected:
    """A `Sink` that keeps the blobs in memory."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self._lock = threading.Lock()

    def put(self, blobs: Sequence[tuple[Digest, bytes]]) -> None:
        with self._lock:
            self.blobs.update(blobs)

    def stream(self, digest: Digest) -> _CollectedStream:
        return _CollectedStream(self, digest)


class _CollectedStream:
    """A `BlobStream` into memory."""

    def __init__(self, collected: _Collected, digest: Digest) -> None:
        self._collected = collected
        self._digest = digest
        self._parts: list[bytes] = []

    def write(self, data: bytes | memoryview) -> None:
        self._parts.append(bytes(data))

    def commit(self) -> None:
        self._collected.put([(self._digest, b"".join(self._parts))])

    def discard(self) -> None:
        self._parts.clear()
