"""Plan a garbage collection: functions from what is stored to what may be removed.

A manifest is removed only an hour after it was superseded, so that every listing shows one of the
two (I2).
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
        max_store_bytes: when all packs together exceed this size, addresses expire; the one whose
            last load is longest ago comes first, and the one loaded last is always kept. 0: no
            limit.
    """

    max_age_seconds: float = 30 * 86400.0
    max_store_bytes: int = 0


@dataclass(frozen=True, slots=True)
class GcPlan:
    """The manifests that may be removed.

    Attributes:
        superseded: manifests whose entries others carry on; oldest first.
        expired: manifests that nobody loaded for long, or for which there is no space.
        addresses: the addresses of the expired ones.
    """

    superseded: tuple[SnapshotName, ...]
    expired: tuple[SnapshotName, ...]
    addresses: tuple[Address, ...]

    @property
    def names(self) -> tuple[SnapshotName, ...]:
        """All of them in the order of removal: superseded ones first, oldest first."""
        return tuple(dict.fromkeys((*self.superseded, *self.expired)))

    def only(self, gone: Collection[SnapshotName]) -> GcPlan:
        """Return those that were really removed; an address expired if all its manifests were."""
        staying = {name.address for name in self.expired if name not in gone}
        return GcPlan(
            tuple(name for name in self.superseded if name in gone),
            tuple(name for name in self.expired if name in gone),
            tuple(address for address in self.addresses if address not in staying),
        )


def plan_gc(found: References, policy: GcPolicy, now: float) -> GcPlan:
    """Decide which manifests may be removed.

    Args:
        found: all manifests.
        policy: what is kept.
        now: the time by the store's filesystem, in seconds since the epoch.
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
    """Return the packs that manifests reference, ignoring manifests that may be removed."""
    gone = frozenset(without)
    return frozenset(
        pack for referrer in found.referrers if referrer.name not in gone for pack in referrer.packs
    )


def choose_packs(unreferenced: Mapping[PackId, FileStat], now: float) -> tuple[PackId, ...]:
    """Choose the unreferenced packs that may be removed; a save may just have written new ones.

    If a save takes longer, it starts over, or uploads the missing packs again: this is economy, not
    safety.
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
        is_trusted: whether a key of this host sealed them; True for all when it has no keys.
        loaded_at: when the last of them was loaded.
        address: the address of all of them.
        referrers: the manifests.
    """

    is_trusted: bool
    loaded_at: float
    address: Address
    referrers: tuple[Reference, ...]


def _parts(found: References) -> list[_Part]:
    """Group the manifests by address and trust; those that expire first come first.

    A planted manifest must neither push out signed ones nor protect others.
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
    """Return how many of the parts reference each pack, and its size."""
    users: Counter[PackId] = Counter()
    sizes: dict[PackId, int] = {}
    for part in parts:
        packs = {pack: size for item in part.referrers for pack, size in item.packs.items()}
        users.update(packs.keys())
        sizes.update(packs)
    return users, sizes
