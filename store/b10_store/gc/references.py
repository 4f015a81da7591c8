"""The references of all manifests of a store."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from b10_store.errors import CorruptError, LimitError, StoreError
from b10_store.format.names import pack_path, published_at
from b10_store.format.seal import PREFIX_LIMIT, open_prefix
from b10_store.manifests.problem import Damage, Problem, problem_of
from b10_store.manifests.reader import ManifestReader
from b10_store.remote.folder_names import MANIFESTS
from b10_store.remote.protocol import is_no_file, read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from b10_store.format.keys import Key
    from b10_store.format.manifest import Manifest
    from b10_store.format.names import Address, PackId, SnapshotId, SnapshotName
    from b10_store.remote.protocol import Remote

_BATCH = 16
_LISTINGS = 3


@dataclass(frozen=True, slots=True)
class Reference:
    """A manifest, as far as garbage collection is concerned.

    Attributes:
        name: its name.
        supersedes: the snapshots that it carries on.
        packs: the size of each pack that it references, in bytes.
        loaded_at: when it was last loaded, in seconds since the epoch, by the store's filesystem.
        is_trusted: whether this host believes its seal.
        changed_at: see `FileStat.changed`.
    """

    name: SnapshotName
    supersedes: frozenset[SnapshotId]
    packs: Mapping[PackId, int]
    loaded_at: float
    is_trusted: bool
    changed_at: float = 0.0

    @property
    def published_at(self) -> float:
        """When it was published, or a later time; see `names.published_at`."""
        return published_at(self.name.snapshot, self.changed_at)


@dataclass(frozen=True, slots=True)
class References:
    """Every manifest of a store, as read at one moment.

    Attributes:
        referrers: the manifests.
        problems: why not all could be read; then nothing may be concluded from the rest.
        has_keys: whether this host has keys, which tell its own manifests from others'.
        half_dead: packs that are at least half unused.
    """

    referrers: tuple[Reference, ...]
    problems: tuple[Problem, ...] = ()
    half_dead: frozenset[PackId] = frozenset()
    has_keys: bool = False

    def by_address(self) -> Mapping[Address, Sequence[Reference]]:
        """The manifests of each address."""
        found: defaultdict[Address, list[Reference]] = defaultdict(list)
        for referrer in self.referrers:
            found[referrer.name.address].append(referrer)
        return found


def superseders(referrers: Sequence[Reference]) -> Mapping[SnapshotId, float]:
    """Return the superseded manifests of one address, and when each was superseded.

    Only a trusted manifest supersedes, and is superseded: anybody who can write to the store could
    plant one that claims to carry on all others.

    Returns:
        For each superseded snapshot, when the first that carries it on was published.
    """
    found: dict[SnapshotId, float] = {}
    trusted = {referrer.name.snapshot for referrer in referrers if referrer.is_trusted}
    for referrer in referrers:
        if not referrer.is_trusted:
            continue
        for ancestor in referrer.supersedes & trusted:
            if ancestor < referrer.name.snapshot:
                since = found.get(ancestor, referrer.published_at)
                found[ancestor] = min(since, referrer.published_at)
    return found


def survey(
    remote: Remote,
    scratch: str,
    keys: tuple[Key, ...],
    may_go_on: Callable[[], bool],
    *,
    now: float = float("inf"),
    measures: bool = False,
) -> References:
    """Read every manifest of a store, whoever signed it.

    A manifest protects its packs even if this host cannot check its signature, or does not know its
    key.

    Args:
        remote: the store.
        scratch: a local folder for databases while they are read.
        keys: of this host; see `Store`.
        may_go_on: asked now and then; when it returns False, the survey ends with a problem.
        now: the time by the store's filesystem; nothing was loaded later.
        measures: whether to measure the sizes of packs, instead of believing manifests.

    Raises:
        OSError: the store cannot be listed.
        StoreError: the scratch folder cannot take the databases.
    """
    found = _Surveyor(remote, scratch, keys, may_go_on, now).look()
    return _measured(remote, found, may_go_on) if measures else found


def _measured(remote: Remote, found: References, may_go_on: Callable[[], bool]) -> References:
    sizes: dict[PackId, int] = {}
    for pack in sorted({pack for referrer in found.referrers for pack in referrer.packs}):
        if not may_go_on():
            break
        try:
            sizes[pack] = remote.stat(pack_path(pack)).size
        except FileNotFoundError:
            sizes[pack] = 0
    return replace(
        found,
        referrers=tuple(
            replace(item, packs={pack: sizes.get(pack, 0) for pack in item.packs})
            for item in found.referrers
        ),
    )


class _Surveyor:
    def __init__(
        self,
        remote: Remote,
        scratch: str,
        keys: tuple[Key, ...],
        may_go_on: Callable[[], bool],
        now: float,
    ) -> None:
        self._remote = remote
        self._now = now
        self._scratch = scratch
        self._keys = keys
        self._may_go_on = may_go_on
        self._known: dict[SnapshotName, Reference] = {}
        # By pack: the size of each used blob by its offset, and the size of the whole.
        self._used: defaultdict[PackId, dict[int, int]] = defaultdict(dict)
        self._raw_sizes: dict[PackId, int] = {}

    def look(self) -> References:
        listed: set[SnapshotName] = set()
        problems: list[Problem] = []
        for _ in range(_LISTINGS):
            names = self._reader().names()
            listed = set(names)
            problems = self._read([name for name in names if name not in self._known])
            # A manifest that vanished was superseded meanwhile; only a new listing tells by which.
            if all(problem.damage is not Damage.MISSING for problem in problems):
                break
        referrers = [referrer for name, referrer in self._known.items() if name in listed]
        half_dead = frozenset(
            pack
            for pack, blobs in self._used.items()
            if 2 * sum(blobs.values()) <= self._raw_sizes[pack]
        )
        return References(tuple(referrers), tuple(problems), half_dead, bool(self._keys))

    def _read(self, wanted: Sequence[SnapshotName]) -> list[Problem]:
        problems: list[Problem] = []
        for start in range(0, len(wanted), _BATCH):
            if not self._may_go_on():
                late = "the time was too short to read them all"
                return [*problems, Problem(MANIFESTS, Damage.UNREAD, late)]
            # Each batch has a reader of its own, because together they may not fit into memory.
            batch = wanted[start : start + _BATCH]
            for name, result in zip(batch, self._reader().read_many(batch), strict=True):
                # A manifest that is too large beside others may fit alone.
                is_unread = isinstance(result, Problem) and result.damage is Damage.UNREAD
                problems += self._note(self._reader().try_read(name) if is_unread else result)
        return problems

    def _note(self, manifest: Manifest | Problem) -> list[Problem]:
        if isinstance(manifest, Problem):
            return [] if self._is_nobodys(manifest) else [manifest]
        name = manifest.name
        try:
            stat = self._remote.stat(name.manifest_path)
            is_trusted = self._is_trusted(manifest)
        except OSError as error:
            return [problem_of(name.manifest_path, error)]
        self._known[name] = Reference(
            name,
            manifest.lineage.supersedes,
            {pack: known.size for pack, known in manifest.packs.items()},
            min(stat.mtime, self._now),
            is_trusted,
            stat.changed,
        )
        for entry in manifest.entries.values():
            self._used[entry.location.pack][entry.location.offset] = entry.size
        for pack, known in manifest.packs.items():
            self._raw_sizes[pack] = known.frames.raw_size
        return []

    def _is_nobodys(self, problem: Problem) -> bool:
        """Return whether an unusable manifest was signed with none of this host's keys.

        Anybody who can write to the store can plant such files every day. Without keys, an
        unreadable manifest may belong to us. One that is short may be short only for this client.
        """
        if not self._keys or problem.damage in (Damage.MISSING, Damage.UNREAD):
            return False
        try:
            first = read_bounded(self._remote, problem.name, PREFIX_LIMIT)
            is_whole = len(first) == min(PREFIX_LIMIT, self._remote.stat(problem.name).size)
        except OSError as error:
            return is_no_file(error)
        try:
            open_prefix(first, self._keys)
        except CorruptError:
            return is_whole
        except LimitError:
            pass
        return False

    def _is_trusted(self, manifest: Manifest) -> bool:
        if not self._keys:
            return not manifest.signed
        try:
            ManifestReader(self._remote, self._scratch, self._keys).verify(manifest.name)
        except StoreError:
            return False
        return True

    def _reader(self) -> ManifestReader:
        return ManifestReader(self._remote, self._scratch, ())
