"""The artifacts in the cache roots of this host, hashed, with what their records say."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from b10_store import CROWD_LIMIT, INCOMPLETE, Skipped, Use, hash_files, paused_collector
from b10_transfer.caches.artifacts import (
    artifact_kind,
    find_exports,
    find_files,
    select_artifacts,
)
from b10_transfer.caches.file_forms import is_graph_list
from b10_transfer.caches.native_needs import needs_of, split_requirement
from b10_transfer.local.artifact_use import artifact_use, older_profiles
from b10_transfer.local.harmful_files import harm_lines
from b10_transfer.local.proven_headers import leave_unproven, newest_kernel_ns
from b10_transfer.local.record import (
    Hashed,
    Loaded,
    read_hashed,
    read_loaded,
    write_hashed,
)
from b10_transfer.local.root_origin import NOTHING, look_at
from b10_transfer.local.settled import is_settled, settled_before_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store import (
        Broken,
        Digest,
        FoundFile,
        FramesAhead,
        Identity,
        LocalFile,
        PackId,
        Scanned,
    )
    from b10_transfer.caches.native_needs import HostLibraries
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.local.root_origin import Origin
    from b10_transfer.machine.environment import Environment


class LocalScan(NamedTuple):
    """The artifacts of a host.

    Attributes:
        artifacts: of all roots, hashed.
        skipped: files that are left out.
        loaded: the digest that was loaded for an artifact, if one was.
        distrusted: (digest, pack) that could not be read, or failed verification, twice here.
        reused: how many of the artifacts are unchanged since a load.
        recompiled: how many artifacts of each kind were made or replaced since the last load;
            None when there was none.
        use: which of the artifacts are in use.
        unfinished: whether files are left out that the next save may accept unchanged, or may have
            changed unseen.
        harmful: a line about each group of files that compute wrong numbers here, or end the
            process.
        broken: root, path and digest of artifacts that are broken, or in a bundle with a broken
            one: here, or as a load got them from the store.
    """

    artifacts: list[Scanned]
    skipped: list[Skipped]
    loaded: dict[Identity, Digest]
    distrusted: frozenset[tuple[Digest, PackId]]
    reused: int
    recompiled: dict[str, int] | None
    unfinished: bool
    harmful: list[str]
    use: Use = Use()
    broken: frozenset[tuple[str, str, Digest]] = frozenset()


_PROFILES = 2 * CROWD_LIMIT
"""As many as are stored, and as many again that were made here."""

Tree = list[tuple["CacheRoot", "list[FoundFile]"]]
"""The files of each cache root, as one walk saw them."""


@paused_collector()
def walk_roots(roots: Sequence[CacheRoot], skipped: list[Skipped] | None = None) -> Tree:
    """Find the files in `roots`; a root that does not exist has none.

    Args:
        roots: cache roots.
        skipped: receives the links in them that are not followed.
    """
    return [(root, find_files(root, skipped)) for root in roots]


@paused_collector()
def scan_tree(
    tree: Tree,
    environment: Environment,
    libraries: HostLibraries,
    workers: int,
    max_age_days: int = 0,
    ahead: FramesAhead | None = None,
) -> LocalScan:
    """Hash the artifacts in cache roots.

    Args:
        tree: the roots and their files.
        environment: of this host; files from before a root came here are not this host's.
        libraries: of this host.
        workers: threads.
        max_age_days: see `artifact_use`.
        ahead: see `hash_files`.
    """
    # Without a GPU the environment key says what native code needs of a host.
    requirement = environment.requirement if environment.is_gpu else ""
    records = {root.name: read_loaded(root.folder) for root, _ in tree}
    roots = {root.name: root for root, _ in tree}
    kernel_ns = newest_kernel_ns(
        (item, records[root.name]) for root, found in tree for item in found
    )
    scan = LocalScan([], [], {}, frozenset(), 0, None, unfinished=False, harmful=[])
    for root, found in tree:
        before_ns = settled_before_ns(root.folder) if found else 0
        known = read_hashed(root.folder) if found else {}
        origin = look_at(root, found, environment, before_ns, known) if found else NOTHING
        own, others = _made_here(found, origin)
        own, older = _without_older_profiles(own)
        fit, unproven = leave_unproven(root, own, kernel_ns, records[root.name])
        files, left_out = select_artifacts(
            root, fit, requirement, partial(_needs_of, known, libraries)
        )
        scanned, changed, broken = _hash(root, files, known, workers, ahead, before_ns)
        whole, torn = _without_torn_bundles(scanned, files, broken)
        scan.artifacts.extend(whole)
        scan.harmful.extend(harm_lines(root.folder, origin.harmful))
        exports = find_exports(root)
        scan.skipped.extend([*others, *older, *unproven, *left_out, *changed, *exports])
        scan.skipped.extend(Skipped(item.file.found.location, item.reason) for item in broken)
        scan.skipped.extend(Skipped(item.file.found.location, INCOMPLETE) for item in torn)
        scan = scan._replace(
            unfinished=scan.unfinished
            or bool(changed)
            or not all(is_settled(item, before_ns) for item in found),
            broken=scan.broken | _useless(broken, torn),
        )
    use = artifact_use(scan.artifacts, roots, records, max_age_days)
    return _with_records(scan._replace(use=use), records)


def common_with_store(root: CacheRoot) -> frozenset[str]:
    """Return the paths in a cache root whose present bytes a load or a save noted."""
    noted = read_loaded(root.folder).digests
    files, _ = select_artifacts(root, [item for item in find_files(root) if item.path in noted], "")
    scanned, _, _ = hash_files(files, {}, workers=1)
    paths = [(item.file.identity.path, item.digest) for item in scanned]
    return frozenset(path for path, digest in paths if noted[path] == digest)


def _with_records(scan: LocalScan, records: Mapping[str, Loaded]) -> LocalScan:
    """Add the records of the loads into the roots, by name."""
    finished_ns = max((record.finished_ns for record in records.values()), default=0)
    loaded: dict[Identity, Digest] = {}
    reused = 0
    kinds: Counter[str] = Counter()
    for file, _, size, *_ in scan.artifacts:
        identity = file.identity
        digest = records[identity.root].digests.get(identity.path)
        if digest is not None:
            loaded[identity] = digest
        # An empty file is a marker, which its compiler may touch at each use.
        if not size or file.found.fingerprint.ctime_ns <= finished_ns:
            reused += digest is not None
        elif finished_ns:
            kinds[artifact_kind(identity.path)] += 1
    return scan._replace(
        loaded=loaded,
        distrusted=frozenset(pair for record in records.values() for pair in record.distrusted),
        broken=scan.broken
        | {
            (name, path, digest)
            for name, record in records.items()
            for path, digest in record.broken.items()
        },
        reused=reused,
        recompiled=dict(kinds) if finished_ns else None,
    )


def _needs_of(known: Mapping[str, Hashed], libraries: HostLibraries, item: FoundFile) -> str:
    before = known.get(item.path)
    if before is not None and before.fingerprint == item.fingerprint:
        return before.needs
    return needs_of(item.location, libraries)


def _made_here(found: Sequence[FoundFile], origin: Origin) -> tuple[list[FoundFile], list[Skipped]]:
    """Split files into those that were made for this machine, and those left out."""
    reasons = origin.left_out
    if not reasons:
        return list(found), []
    own = [item for item in found if item.path not in reasons]
    others = [Skipped(item.location, reasons[item.path]) for item in found if item.path in reasons]
    return own, others


def _without_older_profiles(
    found: Sequence[FoundFile],
) -> tuple[list[FoundFile], list[Skipped]]:
    older = older_profiles(found, _PROFILES)
    if not older:
        return list(found), []
    return (
        [item for item in found if item.path not in older],
        [
            Skipped(item.location, f"a profile older than the newest {_PROFILES}")
            for item in found
            if item.path in older
        ],
    )


def _without_torn_bundles(
    scanned: list[Scanned], files: list[LocalFile], broken: Sequence[Broken]
) -> tuple[list[Scanned], list[Scanned]]:
    """Split off the bundles with a file that is broken, or changed while it was read."""
    if len(scanned) == len(files):
        return scanned, []
    # Without its list of graphs the rest of a bundle is ignored, which does no harm.
    lists = {item.file.identity for item in broken if is_graph_list(item.file.identity.path)}
    whole = {item.file.identity for item in scanned} | lists
    torn = {file.bundle for file in files if file.bundle and file.identity not in whole}
    return (
        [item for item in scanned if item.file.bundle not in torn],
        [item for item in scanned if item.file.bundle in torn],
    )


def _useless(
    broken: Iterable[Broken], torn: Iterable[Scanned]
) -> frozenset[tuple[str, str, Digest]]:
    """Return what is of no use to any host, wherever it is stored."""
    bundles = {item.file.bundle for item in broken} - {""}
    mates = (item for item in torn if item.file.bundle in bundles)
    items: list[Broken | Scanned] = [*broken, *mates]
    return frozenset(
        (item.file.identity.root, item.file.identity.path, item.digest) for item in items
    )


def _worth_remembering(scanned: Iterable[Scanned], before_ns: int) -> dict[str, Hashed]:
    """Return what to remember of a scan, by path: settled files alone."""
    return {
        file.found.path: Hashed(
            file.found.fingerprint,
            digest,
            size,
            split_requirement(file.identity.requirement)[1] if file.identity.requirement else "",
        )
        for file, digest, size, *_ in scanned
        if is_settled(file.found, before_ns)
    }


def _hash(
    root: CacheRoot,
    files: list[LocalFile],
    known: Mapping[str, Hashed],
    workers: int,
    ahead: FramesAhead | None,
    before_ns: int,
) -> tuple[list[Scanned], list[Skipped], list[Broken]]:
    if not files:
        return [], [], []
    scanned, changed, broken = hash_files(files, known, workers, ahead)
    fresh = _worth_remembering(scanned, before_ns)
    if fresh != known:
        write_hashed(root.folder, fresh)
    return scanned, changed, broken
