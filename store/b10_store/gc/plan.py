"""The plan of a garbage collection: functions from what is stored to what may go.

A manifest is superseded for an hour before it goes: every listing shows one of the two (I2).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from b10_store.format.names import SUPERSEDE_AGE_SECONDS, UNREFERENCED_SECONDS, age
from b10_store.gc.references import superseders

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from b10_store.format.names import Address, PackId, SnapshotName
    from b10_store.gc.references import Reference, References
    from b10_store.remote.protocol import FileStat


@dataclass(frozen=True, slots=True)
class GcPolicy:
    """The rules for what is kept.

    Attributes:
        max_age_seconds: an address that nobody loaded for this long expires; 0: never.
        max_store_bytes: beyond this size of all packs, addresses expire, those that were loaded
            longest ago first; 0: no limit. The one loaded last is always kept.
    """

    max_age_seconds: float = 30 * 86400.0
    max_store_bytes: int = 0


@dataclass(frozen=True, slots=True)
class GcPlan:
    """The manifests that may go.

    Attributes:
        superseded: others carry on all that they hold; oldest first.
        expired: nobody loaded them for long, or there is no room for them.
        addresses: of the expired ones.
    """

    superseded: tuple[SnapshotName, ...]
    expired: tuple[SnapshotName, ...]
    addresses: tuple[Address, ...]

    @property
    def names(self) -> tuple[SnapshotName, ...]:
        """All of them, in the order in which they go: what is superseded first, oldest first."""
        return tuple(dict.fromkeys((*self.superseded, *self.expired)))

    def only(self, gone: Collection[SnapshotName]) -> GcPlan:
        """Those that really went; an address has expired when all that it had is gone."""
        staying = {name.address for name in self.expired if name not in gone}
        return GcPlan(
            tuple(name for name in self.superseded if name in gone),
            tuple(name for name in self.expired if name in gone),
            tuple(address for address in self.addresses if address not in staying),
        )


def choose_departures(found: References, policy: GcPolicy, now: float) -> GcPlan:
    """Decide which manifests may go.

    Args:
        found: every manifest.
        policy: what is kept.
        now: seconds since the epoch, by the store's filesystem.
    """
    by_address = found.by_address()
    superseded = [
        name
        for referrers in by_address.values()
        for name in _superseded(referrers, now - SUPERSEDE_AGE_SECONDS)
    ]
    parts = _parts(found)
    gone = _expired(parts, policy, now)
    staying = {part.address for part in parts if part not in gone}
    expired = [referrer.name for part in gone for referrer in part.referrers]
    return GcPlan(
        tuple(sorted(superseded, key=lambda name: name.snapshot)),
        tuple(sorted(expired, key=lambda name: name.snapshot)),
        tuple(dict.fromkeys(part.address for part in gone if part.address not in staying)),
    )


def referenced_packs(
    found: References, without: Collection[SnapshotName] = ()
) -> frozenset[PackId]:
    """Return the packs that manifests reference, but for manifests that may go."""
    gone = frozenset(without)
    return frozenset(
        pack for referrer in found.referrers if referrer.name not in gone for pack in referrer.packs
    )


def choose_packs(unreferenced: Mapping[PackId, FileStat], now: float) -> tuple[PackId, ...]:
    """Which of the packs that no manifest references may go: not what a save may just have written.

    A save that takes longer starts over, or uploads what it misses: this is economy.
    """
    return tuple(
        sorted(
            pack
            for pack, known in unreferenced.items()
            if age(known.mtime, now) > UNREFERENCED_SECONDS
        )
    )


def _superseded(referrers: Iterable[Reference], begun_before: float) -> list[SnapshotName]:
    known = list(referrers)
    since = superseders(known)
    return [
        referrer.name
        for referrer in known
        if since.get(referrer.name.snapshot, begun_before) < begun_before
    ]


class _Part(NamedTuple):
    """Manifests of one address that expire together.

    Attributes:
        is_trusted: whether they are sealed as this host seals; True for all where it has no keys.
        loaded_at: when the last of them was loaded.
        address: of all of them.
        referrers: the manifests.
    """

    is_trusted: bool
    loaded_at: float
    address: Address
    referrers: tuple[Reference, ...]


def _parts(found: References) -> list[_Part]:
    """The manifests by address and trust: what expires first where room is short comes first.

    A manifest that somebody planted must not drive out what was signed, nor keep it.
    """
    groups: defaultdict[tuple[Address, bool], list[Reference]] = defaultdict(list)
    for referrer in found.referrers:
        groups[referrer.name.address, referrer.is_trusted or not found.has_keys].append(referrer)
    parts = [
        _Part(is_trusted, max(item.loaded_at for item in group), address, tuple(group))
        for (address, is_trusted), group in groups.items()
    ]
    return sorted(parts, key=lambda part: part[:3])


def _expired(parts: Sequence[_Part], policy: GcPolicy, now: float) -> list[_Part]:
    expired = [
        part
        for part in parts
        if policy.max_age_seconds and now - part.loaded_at > policy.max_age_seconds
    ]
    if not policy.max_store_bytes:
        return expired
    kept = [part for part in parts if part not in expired]
    users, sizes = _pack_users(kept)
    total = sum(sizes.values())
    for part in kept[:-1]:
        if total <= policy.max_store_bytes:
            break
        expired.append(part)
        for pack in {pack for referrer in part.referrers for pack in referrer.packs}:
            users[pack] -= 1
            if not users[pack]:
                total -= sizes[pack]
    return expired


def _pack_users(parts: Iterable[_Part]) -> tuple[Counter[PackId], dict[PackId, int]]:
    """How many of the parts reference each pack, and how large it is."""
    users: Counter[PackId] = Counter()
    sizes: dict[PackId, int] = {}
    for part in parts:
        packs = {pack: size for item in part.referrers for pack, size in item.packs.items()}
        users.update(packs.keys())
        sizes.update(packs)
    return users, sizes
