"""The union of heads: one view of what savers published who did not know of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from b10_store.format.manifest import Entry, Group, Identity, Manifest, Pack
    from b10_store.format.manifest_file import Header
    from b10_store.format.names import PackId, SnapshotId


class MergedView(NamedTuple):
    """Everything that the heads of one address hold."""

    entries: Mapping[Identity, Entry]
    packs: Mapping[PackId, Pack]


def superseded_by(manifests: Iterable[Manifest | Header]) -> frozenset[SnapshotId]:
    """The snapshots that these manifests carry on.

    A snapshot is never superseded by an older one, so that manifests which name each other, as none
    of ours do, still leave the newest to be read.
    """
    return frozenset(
        ancestor
        for manifest in manifests
        for ancestor in manifest.lineage.supersedes
        if ancestor < manifest.name.snapshot
    )


def merge(heads: Sequence[Manifest]) -> MergedView:
    """Unite the heads of one address.

    Where two heads have an artifact, the entry that superseded more often wins (it descends from
    the other), else the one in the older head. So every reader decides alike, and a later,
    independent compile does not replace what a host has loaded. The entry's time is the latest that
    a head has for the same bytes. Two variant groups that share a member are united; groups that
    share none were compiled independently and are decided whole.
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
    """Take blobs whose pack is not good from another head that has the same bytes in a good one.

    Whoever publishes this union supersedes the heads: a location that is dropped here is known to
    nobody any more.

    Args:
        stored: the union of the heads.
        heads: what it was made of.
        good: packs that are there.
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
    """Return the head's entries, but those in a pack that an older head describes otherwise.

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
        # Whoever found it in use last is right for all.
        latest = max(entry.saved_ms, present.saved_ms)
        winner = winner if winner.saved_ms == latest else winner._replace(saved_ms=latest)
    entries[identity] = winner
