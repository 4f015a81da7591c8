"""Find blobs of other environments and namespaces, to refer to instead of uploading."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from b10_store.errors import CorruptError, LimitError, StoreError
from b10_store.format.names import pack_path
from b10_store.format.pack_footer import read_footer
from b10_store.format.reading_budget import ReadingBudget
from b10_store.manifests.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from b10_store.digest import Digest
    from b10_store.format.manifest import Entry, Location, Manifest, Pack
    from b10_store.format.names import Address, PackId, SnapshotName
    from b10_store.manifests.reader import ManifestReader
    from b10_store.remote.protocol import Remote

WORTHWHILE_BYTES = 1 << 20
"""Other environments' manifests are read only when more bytes than this would be uploaded."""

_MANIFEST_LIMIT = 64
# Reads that are unfinished when the time is up go on in the background.
_BYTES = 256 << 20
_ENTRIES = 250_000
_SECONDS = 1.0
_WORTHWHILE_PART = 0.1
_PARALLEL = 16


def find_elsewhere(
    remote: Remote,
    reader: ManifestReader,
    address: Address,
    wanted: Mapping[Digest, int],
    good_packs: Collection[PackId],
) -> tuple[dict[Digest, Location], dict[PackId, Pack]]:
    """Look for blobs in the newest manifests of other addresses, for about a second at most.

    The result may be empty: a duplicate is better than a long save. A pack counts only if its own
    footer lists the blob where the manifest says, and if enough of it is reused that a load, which
    then has to read this pack as well, is not slower.

    Args:
        remote: the store.
        reader: reads its manifests.
        address: the saver's address; its own manifests are not read.
        wanted: the size of each blob that would be uploaded.
        good_packs: packs that are known to exist.

    Returns:
        Where blobs are, and the packs that they are in.
    """
    names = _newest_of_each(reader.names(), address)
    others = reader.apart(ReadingBudget(_MANIFEST_LIMIT, _BYTES, _ENTRIES))
    pool = ThreadPoolExecutor(_PARALLEL, "b10-dedup")
    try:
        futures = [pool.submit(others.read_many, [name]) for name in names]
        done, _ = wait(futures, timeout=_SECONDS)
        manifests: list[Manifest | Problem] = []
        for future in done:
            # If others' manifests do not fit in the work folder, our own still may.
            with contextlib.suppress(StoreError):
                manifests += future.result()
        found, packs = _blobs_of(manifests, wanted, good_packs)
        checks = {
            pack: pool.submit(_confirmed, remote, pack, packs[pack], found[pack]) for pack in found
        }
        confirmed, _ = wait(checks.values(), timeout=_SECONDS)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    locations: dict[Digest, Location] = {}
    used: dict[PackId, Pack] = {}
    for pack, check in checks.items():
        if check in confirmed:
            for entry in check.result():
                if entry.digest not in locations:
                    locations[entry.digest] = entry.location
                    used[pack] = packs[pack]
    return locations, used


def _newest_of_each(names: Iterable[SnapshotName], own: Address) -> list[SnapshotName]:
    newest: dict[Address, SnapshotName] = {}
    for name in names:
        if name.address != own:
            newest[name.address] = name
    ordered = sorted(newest.values(), key=lambda name: name.snapshot, reverse=True)
    return ordered[:_MANIFEST_LIMIT]


def _blobs_of(
    manifests: Iterable[Manifest | Problem],
    wanted: Mapping[Digest, int],
    good_packs: Collection[PackId],
) -> tuple[dict[PackId, list[Entry]], dict[PackId, Pack]]:
    """Return the entries worth referring to, by pack: enough of the pack must be useful."""
    found: defaultdict[PackId, dict[Digest, Entry]] = defaultdict(dict)
    packs: dict[PackId, Pack] = {}
    for manifest in manifests:
        if isinstance(manifest, Problem):
            continue
        for entry in manifest.entries.values():
            pack = entry.location.pack
            if pack in good_packs and wanted.get(entry.digest) == entry.size:
                found[pack][entry.digest] = entry
                packs.setdefault(pack, manifest.packs[pack])
    worthwhile: dict[PackId, list[Entry]] = {}
    for pack, entries in found.items():
        reused = sum(entry.size for entry in entries.values())
        if reused >= min(WORTHWHILE_BYTES, _WORTHWHILE_PART * packs[pack].frames.raw_size):
            worthwhile[pack] = list(entries.values())
    return worthwhile, packs


def _confirmed(remote: Remote, pack: PackId, known: Pack, entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries that the pack's own footer confirms."""
    try:
        frames, blobs = read_footer(remote, pack_path(pack))
    except (CorruptError, LimitError, OSError):
        return []
    if frames != known.frames:
        return []
    return [
        entry for entry in entries if blobs.get(entry.digest) == (entry.location.offset, entry.size)
    ]
