"""Note a load in the record of a cache root."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from b10_transfer.caches.native_needs import split_requirement
from b10_transfer.local.record import (
    Hashed,
    filesystem_now_ns,
    read_hashed,
    read_loaded,
    write_hashed,
    write_loaded,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b10_store import Digest, Fingerprint, LoadOutcome, Placed, RestoreTarget


def remember_loaded(
    folders: Iterable[str], wanted: Iterable[RestoreTarget], outcome: LoadOutcome
) -> None:
    """Note in cache roots what a load put there, and what it found damaged, unreadable or broken.

    Args:
        folders: the cache roots.
        wanted: what was to be loaded.
        outcome: what became of it.
    """
    # A save sees by itself which packs are gone.
    unreadable = {
        (item.entry.digest, item.entry.location.pack)
        for item in wanted
        if not isinstance(outcome.unread.get(item.entry.digest), FileNotFoundError | None)
    }
    placed: defaultdict[str, list[tuple[RestoreTarget, Fingerprint]]] = defaultdict(list)
    for target, fingerprint in outcome.placed.placed:
        placed[target.folder].append((target, fingerprint))
    for folder in folders:
        loaded = read_loaded(folder)
        sound = {(item.entry.digest, item.entry.location.pack) for item, _ in placed[folder]}
        loaded.distrusted = (loaded.distrusted | set(outcome.damaged.items()) | unreadable) - sound
        loaded.finished_ns = filesystem_now_ns(folder)
        loaded.broken |= _broken_in(folder, outcome.placed)
        if placed[folder]:
            hashed = read_hashed(folder)
            for target, fingerprint in placed[folder]:
                entry = target.entry
                loaded.digests[entry.identity.path] = entry.digest
                loaded.broken.pop(entry.identity.path, None)
                if target.unite is None:
                    needs = split_requirement(entry.identity.requirement)[1]
                    hashed[entry.identity.path] = Hashed(
                        fingerprint, entry.digest, entry.size, needs
                    )
            write_hashed(folder, hashed)
        write_loaded(folder, loaded)


def _broken_in(folder: str, placed: Placed) -> dict[str, Digest]:
    """Return the stored artifacts of a cache root that are useless to every host, by path.

    A broken part makes its whole bundle useless: the compiler then makes all of it again.
    """
    broken = [item for item, _ in placed.broken if item.folder == folder]
    bundles = {item.bundle for item in broken} - {""}
    mates = [item for item in placed.torn if item.folder == folder and item.bundle in bundles]
    return {item.entry.identity.path: item.entry.digest for item in [*broken, *mates]}
