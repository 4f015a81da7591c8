"""Variant groups: which new members they get, and which members make room."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from b10_store.format.manifest import GENERATION_LIMIT, Entry, Group, Identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store.manifests.merge import MergedView
    from b10_store.save.facts import PlanInputs
    from b10_store.tree.scan import Scanned

GROUP_LIMIT = 8
"""The most members of a variant group; the oldest leave first."""


class GroupPolicy:
    """The rules for which new artifacts variant groups get, and which members make room."""

    def __init__(self, stored: MergedView, local: Sequence[Scanned], inputs: PlanInputs) -> None:
        self._stored = stored
        self._here = {candidate.identity for candidate in local}
        self._inputs = inputs
        self._members: defaultdict[Group, list[Entry]] = defaultdict(list)
        for entry in stored.entries.values():
            group = entry.group
            if group is not None:
                self._members[group].append(entry)
        self._added: Counter[Group] = Counter()
        self._replaced: set[Group] = set()

    def generation_of_new(self, candidate: Scanned) -> int | None:
        """Return 0 for an artifact to add, more if it replaces others, None if it is not added."""
        group = candidate.group
        if group is None:
            return 0
        members = self._members.get(group, [])
        if any(self._is_missed(entry) for entry in members):
            if not self._inputs.cold:
                return None
            self._replaced.add(group)
            return min(max(entry.generation for entry in members) + 1, GENERATION_LIMIT)
        # A variant that was stored before and made room for others is not saved again: two hosts
        # would push out each other's variants forever.
        full = len(members) >= GROUP_LIMIT or self._added[group] >= GROUP_LIMIT
        if full and (not members or candidate.identity in self._inputs.loaded):
            return None
        if full and any(self._inputs.is_too_young(entry, 0) for entry in members):
            # If each start makes another variant, nobody finds one again.
            return None
        self._added[group] += 1
        return 0

    def kept_entries(self) -> dict[Identity, Entry]:
        """Return the stored entries that stay: not broken, and not making room for others."""
        return {
            identity: entry
            for identity, entry in self._stored.entries.items()
            if not self._inputs.is_broken(entry)
            and (identity in self._here or not self._makes_room(entry))
        }

    def _is_missed(self, entry: Entry) -> bool:
        """Return whether the member can be read but is not here."""
        return entry.identity not in self._here and self._inputs.trusts(entry)

    def _makes_room(self, entry: Entry) -> bool:
        group = entry.group
        if group is None:
            return False
        failed = (entry.digest, entry.location.pack) in self._inputs.distrusted
        return group in self._replaced or (failed and self._added[group] > 0)


def limit_groups(entries: dict[Identity, Entry]) -> dict[Identity, Entry]:
    """Leave out the oldest members of groups that are too large; changes `entries`."""
    members: defaultdict[Group, list[Entry]] = defaultdict(list)
    for entry in entries.values():
        group = entry.group
        if group is not None:
            members[group].append(entry)
    for group_entries in members.values():
        if len(group_entries) > GROUP_LIMIT:
            group_entries.sort(key=lambda entry: (entry.saved_ms, entry.identity))
            for entry in group_entries[:-GROUP_LIMIT]:
                del entries[entry.identity]
    return entries
