"""Expiry: a manifest leaves out artifacts that nobody uses, and those beyond its size.

An entry's time tells when its bytes were first saved, or when a saver last found them in use.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store.errors import SizeLimitError
from b10_store.format.manifest import stored_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from b10_store.format.manifest import Entry, Identity, Pack
    from b10_store.format.names import PackId
    from b10_store.save.use import Use

_DAY_MS = 86_400_000

CROWD_LIMIT = 128
"""The most artifacts of a crowd, beside those in use here."""

_RENEWALS_PER_AGE = 3
"""A manifest is published only for the times when this part of the maximum age has passed, so that
artifacts in use are renewed at least twice before they would expire."""

Entries = dict["Identity", "Entry"]


def is_renewal_due(
    entries: Mapping[Identity, Entry], here: Collection[Identity], use: Use, now_ms: int
) -> bool:
    """Return whether an artifact in use was last noted as such so long ago that it might expire."""
    if not use.max_age_ms:
        return False
    oldest = now_ms - use.max_age_ms // _RENEWALS_PER_AGE
    old = [identity for identity, entry in entries.items() if entry.saved_ms < oldest]
    return bool(old) and not use.wanted(here).isdisjoint(old)


def renew(
    entries: Mapping[Identity, Entry], here: Collection[Identity], use: Use, now_ms: int
) -> Entries:
    """Note the use of local artifacts, at most once a day; times in the future are ignored."""
    renewed = dict(entries)
    old = [
        entry
        for entry in entries.values()
        if entry.saved_ms > now_ms or entry.saved_ms < now_ms - _DAY_MS
    ]
    wanted = use.wanted(here)
    for entry in old:
        if entry.saved_ms > now_ms or entry.identity in wanted:
            renewed[entry.identity] = entry._replace(saved_ms=now_ms)
    return renewed


def expire_unused(
    entries: Mapping[Identity, Entry], here: Collection[Identity], use: Use, now_ms: int
) -> Entries:
    """Leave out units that no saver found in use for the maximum age."""
    wanted, oldest = use.wanted(here), now_ms - use.max_age_ms
    if not use.max_age_ms or all(entry.saved_ms >= oldest for entry in entries.values()):
        return dict(entries)
    # A unit is also in use when this host has a part of it that is not stored.
    kept = {_unit(identity, use) for identity in wanted}
    kept |= {_unit(key, use) for key, entry in entries.items() if entry.saved_ms >= oldest}
    return {identity: entry for identity, entry in entries.items() if _unit(identity, use) in kept}


def limit_crowds(
    entries: Mapping[Identity, Entry], here: Collection[Identity], use: Use
) -> Entries:
    """Leave out the oldest artifacts of crowds that are too large."""
    owned = use.owned(here)
    crowds: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
    for identity, entry in entries.items():
        crowd = use.crowd_of(identity)
        if crowd and identity not in owned:
            crowds[identity.root, crowd].append(entry)
    kept = dict(entries)
    for members in crowds.values():
        members.sort(key=lambda entry: (entry.saved_ms, entry.identity))
        for entry in members[:-CROWD_LIMIT]:
            del kept[entry.identity]
    return kept


def expire_oldest(
    entries: Mapping[Identity, Entry],
    packs: Mapping[PackId, Pack],
    here: Collection[Identity],
    use: Use,
    limit: int,
) -> Entries:
    """Leave out the oldest units until the stored bytes are within `limit`.

    Raises:
        SizeLimitError: the artifacts that this host itself uses are over the limit.
    """
    # Entries account for no more than the whole packs, whose sizes are summed up sooner.
    if sum(pack.size for pack in packs.values()) <= limit:
        return dict(entries)
    if stored_bytes(entries.values(), packs) <= limit:
        return dict(entries)
    owned = use.owned(here)
    own = stored_bytes((entry for key, entry in entries.items() if key in owned), packs)
    if own > limit:
        raise SizeLimitError("what was compiled and is used here", own, limit)
    units = _oldest_first(entries, owned, use)
    # The bytes shrink with every removed unit, so bisection finds the least number of them.
    enough, too_few = len(units), -1
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if stored_bytes(_without(entries, units[:middle]).values(), packs) <= limit:
            enough = middle
        else:
            too_few = middle
    return _without(entries, units[:enough])


def _without(entries: Mapping[Identity, Entry], units: Sequence[list[Identity]]) -> Entries:
    gone = {identity for unit in units for identity in unit}
    return {identity: entry for identity, entry in entries.items() if identity not in gone}


def _oldest_first(
    entries: Mapping[Identity, Entry], owned: Collection[Identity], use: Use
) -> list[list[Identity]]:
    """Return units that expire together, oldest first; last those that may be in use here.

    Units that are partly in use come after all others, without their used parts: the limit holds
    even if one unit has everything.
    """
    units: defaultdict[tuple[str, str], list[Identity]] = defaultdict(list)
    kept_units: set[tuple[str, str]] = set()
    for identity in entries:
        if identity in owned:
            kept_units.add(_unit(identity, use))
        else:
            units[_unit(identity, use)].append(identity)

    def age(name: tuple[str, str]) -> tuple[bool, bool, int, Identity]:
        unit = units[name]
        newest = max(entries[identity].saved_ms for identity in unit)
        return name in kept_units, not use.unsure.isdisjoint(unit), newest, unit[0]

    return [units[name] for name in sorted(units, key=age)]


def _unit(identity: Identity, use: Use) -> tuple[str, str]:
    return identity.root, use.unit_of(identity)
