"""Note a load in the record of a cache root."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store import paused_collector
from b10_transfer.caches.native_needs import split_requirement
from b10_transfer.local.record import (
    Hashed,
    Loaded,
    filesystem_now_ns,
    read_hashed,
    read_loaded,
    write_hashed,
    write_loaded,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from b10_store import Digest, Fingerprint, LoadOutcome, PackId, Placed, RestoreTarget


@paused_collector()
def remember_loaded(
    folders: Iterable[str], wanted: Iterable[RestoreTarget], outcome: LoadOutcome
) -> None:
    """Note in cache roots what a load put there, and what it found damaged, unreadable or broken.

    Args:
        folders: the cache roots.
        wanted: what was to be loaded.
        outcome: what became of it.
    """
    doubtful = {*outcome.damaged.items(), *_unreadable(wanted, outcome)}
    placed: defaultdict[str, list[tuple[RestoreTarget, Fingerprint]]] = defaultdict(list)
    for target, fingerprint in outcome.placed.placed:
        placed[target.folder].append((target, fingerprint))
    for folder in folders:
        loaded = read_loaded(folder)
        if doubtful or loaded.distrusted:
            sound = {(item.entry.digest, item.entry.location.pack) for item, _ in placed[folder]}
            loaded.distrusted = (loaded.distrusted | doubtful) - sound
        loaded.finished_ns = filesystem_now_ns(folder)
        loaded.broken |= _broken_in(folder, outcome.placed)
        if placed[folder]:
            hashed = read_hashed(folder)
            _note(placed[folder], loaded, hashed)
            write_hashed(folder, hashed)
        write_loaded(folder, loaded)


def _unreadable(
    wanted: Iterable[RestoreTarget], outcome: LoadOutcome
) -> Iterator[tuple[Digest, PackId]]:
    """Yield the blobs that could not be read from packs that are there, and their packs.

    A save sees by itself which packs are gone.
    """
    for item in wanted if outcome.unread else ():
        error = outcome.unread.get(item.entry.digest)
        if error is not None and not isinstance(error, FileNotFoundError):
            yield item.entry.digest, item.entry.location.pack


def _note(
    placed: Iterable[tuple[RestoreTarget, Fingerprint]], loaded: Loaded, hashed: dict[str, Hashed]
) -> None:
    """Note artifacts that were placed among those that were loaded, and hashed."""
    for target, fingerprint in placed:
        (_, path, requirement), digest, size, *_ = target.entry
        loaded.digests[path] = digest
        loaded.broken.pop(path, None)
        if target.unite is None:
            needs = split_requirement(requirement)[1] if requirement else ""
            hashed[path] = Hashed(fingerprint, digest, size, needs)


def _broken_in(folder: str, placed: Placed) -> dict[str, Digest]:
    """Return the stored artifacts of a cache root that are useless to every host, by path.

    A broken part makes its whole bundle useless: the compiler then makes all of it again.
    """
    broken = [item for item, _ in placed.broken if item.folder == folder]
    bundles = {item.bundle for item in broken} - {""}
    mates = [item for item in placed.torn if item.folder == folder and item.bundle in bundles]
    return {item.entry.identity.path: item.entry.digest for item in [*broken, *mates]}
