"""What is in the cache roots of this host, hashed, with what is remembered of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from b10_store.paths import local_path
from b10_store.scan import hash_files
from b10_transfer.artifacts import find_files, select_artifacts
from b10_transfer.cache_roots import folders_of_others
from b10_transfer.local_record import (
    Hashed,
    note_environment,
    read_hashed,
    read_loaded,
    settled,
    write_hashed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store.digest import Digest
    from b10_store.layout import PackId
    from b10_store.manifest import Identity
    from b10_store.scan import FoundFile, LocalFile, Scanned, Skipped
    from b10_transfer.cache_roots import CacheRoot


class LocalScan(NamedTuple):
    """The artifacts of a host.

    Attributes:
        artifacts: of all roots, hashed.
        skipped: files that would be artifacts if they were whole and at rest.
        loaded: the digest that was loaded for an artifact, where one was.
        distrusted: (digest, pack) that failed verification twice here.
        compiled_anew: artifacts made or replaced since the last load; None when there was none.
        others: files from when a cache root was used under another environment.
    """

    artifacts: list[Scanned]
    skipped: list[Skipped]
    loaded: dict[Identity, Digest]
    distrusted: frozenset[tuple[Digest, PackId]]
    compiled_anew: int | None
    others: int


Tree = list[tuple["CacheRoot", "list[FoundFile]"]]
"""The files of each cache root, as one walk saw them."""


def walk_roots(roots: Sequence[CacheRoot]) -> Tree:
    """Find the files in `roots`; those that do not exist hold nothing."""
    return [(root, find_files(root, folders_of_others(root, roots))) for root in roots]


def scan_tree(tree: Tree, environment_key: str, requirement: str, workers: int) -> LocalScan:
    """Hash the artifacts in cache roots.

    Args:
        tree: the roots and their files.
        environment_key: of this host; files from before a root came here are not this host's.
        requirement: see `select_artifacts`.
        workers: threads.
    """
    artifacts: list[Scanned] = []
    skipped: list[Skipped] = []
    loaded: dict[Identity, Digest] = {}
    distrusted: set[tuple[Digest, PackId]] = set()
    compiled_anew: int | None = None
    others = 0
    for root, found in tree:
        since = note_environment(root.folder, environment_key) if found else 0
        own = [item for item in found if item.fingerprint.ctime_ns >= since]
        others += len(found) - len(own)
        files, left_out = select_artifacts(root, own, requirement)
        scanned, changed = _hash(root, files, workers)
        scanned = _without_torn_bundles(scanned, files)
        artifacts += scanned
        skipped += left_out + changed
        remembered = read_loaded(root.folder)
        distrusted |= remembered.distrusted
        for item in scanned:
            digest = remembered.digests.get(item.file.identity.path)
            if digest is not None:
                loaded[item.file.identity] = digest
        if remembered.finished_ns:
            compiled_anew = (compiled_anew or 0) + sum(
                item.file.found.fingerprint.ctime_ns > remembered.finished_ns for item in scanned
            )
    return LocalScan(artifacts, skipped, loaded, frozenset(distrusted), compiled_anew, others)


def _without_torn_bundles(scanned: list[Scanned], files: list[LocalFile]) -> list[Scanned]:
    """Less the bundles of which a file changed while it was read: the next save takes them."""
    if len(scanned) == len(files):
        return scanned
    whole = {item.file.identity for item in scanned}
    torn = {file.bundle for file in files if file.bundle and file.identity not in whole}
    return [item for item in scanned if item.file.bundle not in torn]


def _hash(
    root: CacheRoot, files: list[LocalFile], workers: int
) -> tuple[list[Scanned], list[Skipped]]:
    if not files:
        return [], []
    known = read_hashed(root.folder)
    by_location = {
        local_path(root.folder, path): (item.fingerprint, item.digest, item.size)
        for path, item in known.items()
    }
    scanned, changed = hash_files(files, by_location, workers)
    fresh: dict[str, Hashed] = settled(scanned)
    if fresh != known:
        write_hashed(root.folder, fresh)
    return scanned, changed
