"""What a garbage collection condemns: functions from what is stored to what may go."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store.layout import SUPERSEDE_AGE_SECONDS, UNREFERENCED_SECONDS
from b10_store.survey import superseders

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from b10_store.layout import Address, PackId, SnapshotName
    from b10_store.remote import FileStat
    from b10_store.survey import Referrer, Survey


@dataclass(frozen=True, slots=True)
class GcPolicy:
    """What is kept.

    Attributes:
        max_age_seconds: an address that nobody loaded for this long expires; 0: never.
        max_store_bytes: beyond this size of all packs, addresses expire, those that were loaded
            longest ago first; 0: no limit. The one loaded last is always kept.
    """

    max_age_seconds: float = 30 * 86400.0
    max_store_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Departures:
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

    def only(self, gone: Collection[SnapshotName]) -> Departures:
        """Those that really went; an address has expired when all that it had is gone."""
        staying = {name.address for name in self.expired if name not in gone}
        return Departures(
            tuple(name for name in self.superseded if name in gone),
            tuple(name for name in self.expired if name in gone),
            tuple(address for address in self.addresses if address not in staying),
        )


def choose_departures(found: Survey, policy: GcPolicy, now: float) -> Departures:
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
    addresses = _expired(by_address, policy, now)
    expired = [referrer.name for address in addresses for referrer in by_address[address]]
    return Departures(
        tuple(sorted(superseded, key=lambda name: name.snapshot)),
        tuple(sorted(expired, key=lambda name: name.snapshot)),
        tuple(addresses),
    )


def referenced_packs(found: Survey, without: Collection[SnapshotName] = ()) -> frozenset[PackId]:
    """The packs that manifests reference, less those that may go."""
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
            pack for pack, known in unreferenced.items() if now - known.mtime > UNREFERENCED_SECONDS
        )
    )


def _superseded(referrers: Iterable[Referrer], begun_before: float) -> list[SnapshotName]:
    known = list(referrers)
    since = superseders(known)
    return [
        referrer.name
        for referrer in known
        if since.get(referrer.name.snapshot, begun_before) < begun_before
    ]


def _expired(
    by_address: Mapping[Address, Collection[Referrer]], policy: GcPolicy, now: float
) -> list[Address]:
    loaded = {
        address: max(referrer.loaded_at for referrer in referrers)
        for address, referrers in by_address.items()
    }
    by_age = sorted(loaded, key=lambda address: (loaded[address], address))
    expired = [
        address
        for address in by_age
        if policy.max_age_seconds and now - loaded[address] > policy.max_age_seconds
    ]
    if not policy.max_store_bytes:
        return expired
    kept = [address for address in by_age if address not in set(expired)]
    users, sizes = _pack_users(by_address, kept)
    total = sum(sizes.values())
    for address in kept[:-1]:
        if total <= policy.max_store_bytes:
            break
        expired.append(address)
        for pack in [pack for pack, addresses in users.items() if address in addresses]:
            users[pack].discard(address)
            if not users[pack]:
                total -= sizes[pack]
                del users[pack]
    return expired


def _pack_users(
    by_address: Mapping[Address, Collection[Referrer]], addresses: Iterable[Address]
) -> tuple[dict[PackId, set[Address]], dict[PackId, int]]:
    users: defaultdict[PackId, set[Address]] = defaultdict(set)
    sizes: dict[PackId, int] = {}
    for address in addresses:
        for referrer in by_address[address]:
            for pack, size in referrer.packs.items():
                users[pack].add(address)
                sizes[pack] = size
    return dict(users), sizes
