"""Merge heads: one view of manifests whose savers did not know of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from b10_store.format.manifest import Entry, Group, Identity, Manifest, Pack
    from b10_store.format.manifest_file import Header
    from b10_store.format.names import PackId, SnapshotId


class MergedView(NamedTuple):
    """Everything that the heads of one address contain."""

    entries: Mapping[Identity, Entry]
    packs: Mapping[PackId, Pack]


def superseded_by(manifests: Iterable[Manifest | Header]) -> frozenset[SnapshotId]:
    """Return the snapshots that these manifests supersede.

    An older snapshot never supersedes a newer one. So even manifests that name each other, which
    ours never do, leave the newest one to be read.
    """
    return frozenset(
        ancestor
        for manifest in manifests
        for ancestor in manifest.lineage.supersedes
        if ancestor < manifest.name.snapshot
    )


def merge(heads: Sequence[Manifest]) -> MergedView:
    """Merge the heads of one address.

    If two heads have an artifact, the entry that superseded more often wins (it descends from the
    other), or else the one in the older head. So all readers decide alike, and a later, independent
    compile does not replace what a host has loaded. The entry's time is the latest that a head has
    for the same bytes. Two variant groups that share a member are merged; groups that share none
    were compiled independently, and one is chosen as a whole.
    """
    ordered = sorted(heads, key=lambda head: head.name.snapshot)
    entries: dict[Identity, Entry] = {}
    groups: dict[Group, dict[Identity, Entry]] = {}
    packs: dict[PackId, Pack] = {}
    for head in ordered:
        credible = _credible_entries(head, packs)
        packs.update((pack, known) for pack, known in head.packs.items() if pack not in packs)
        for group, members in _groups_of(credible).items():
            present = groups.get(group)
            groups[group] = members if present is None else _unite_groups(present, members)
        for identity, entry in credible.items():
            if not entry.group_length:
                _put(entries, identity, entry)
    for members in groups.values():
        entries.update(members)
    return MergedView(entries, packs)


def with_good_packs(
    stored: MergedView, heads: Iterable[Manifest], good: Collection[PackId]
) -> MergedView:
    """Take blobs whose pack is not good from a head that has the same bytes in a good one.

    A saver that publishes this view supersedes the heads, so a location that is dropped here is
    lost.

    Args:
        stored: the merged heads.
        heads: the heads themselves.
        good: the packs that exist.
    """
    lacking = {item.digest for item in stored.entries.values() if item.location.pack not in good}
    if not lacking:
        return stored
    places = {
        entry.digest: entry.location
        for head in heads
        for entry in head.entries.values()
        if entry.digest in lacking and entry.location.pack in good
    }
    entries = {
        identity: entry._replace(location=places[entry.digest]) if entry.digest in places else entry
        for identity, entry in stored.entries.items()
    }
    return MergedView(entries, stored.packs)


def _credible_entries(head: Manifest, packs: Mapping[PackId, Pack]) -> Mapping[Identity, Entry]:
    """Return the head's entries, except those in a pack that an older head describes differently.

    A pack's id is the hash of its file, so two tables for one id cannot both be true.
    """
    contradicted = {pack for pack, known in head.packs.items() if packs.get(pack, known) != known}
    if not contradicted:
        return head.entries
    return {
        identity: entry
        for identity, entry in head.entries.items()
        if entry.location.pack not in contradicted
    }


def _groups_of(entries: Mapping[Identity, Entry]) -> dict[Group, dict[Identity, Entry]]:
    groups: dict[Group, dict[Identity, Entry]] = {}
    for identity, entry in entries.items():
        group = entry.group
        if group is not None:
            groups.setdefault(group, {})[identity] = entry
    return groups


def _unite_groups(
    older: dict[Identity, Entry], younger: dict[Identity, Entry]
) -> dict[Identity, Entry]:
    if older.keys().isdisjoint(younger):
        newest_older = max(entry.generation for entry in older.values())
        newest_younger = max(entry.generation for entry in younger.values())
        return younger if newest_younger > newest_older else older
    united = dict(older)
    for identity, entry in younger.items():
        _put(united, identity, entry)
    return united


def _put(entries: dict[Identity, Entry], identity: Identity, entry: Entry) -> None:
    present = entries.get(identity)
    if present is None:
        entries[identity] = entry
        return
    winner = entry if entry.generation > present.generation else present
    if entry.digest == present.digest:
        # The latest time of use counts for all.
        latest = max(entry.saved_ms, present.saved_ms)
        winner = winner if winner.saved_ms == latest else winner._replace(saved_ms=latest)
    entries[identity] = winner
