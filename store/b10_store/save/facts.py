"""The facts of a saver: the local artifacts, and the packs that it may rely on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store.format.manifest import Entry, Identity, Location

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_store.digest import Digest
    from b10_store.format.names import PackId

_HOUR_MS = 3_600_000
_MOST_HOURS = 24


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """The facts that a saver has beside the manifests.

    Attributes:
        good_packs: packs in the store, by a listing that was made while the token existed.
        loaded: the stored digest of an artifact that this host and the store last had in common.
        distrusted: (digest, pack) that could not be read, or failed verification, here twice.
        broken: root, path and digest of artifacts whose stored bytes are broken.
        elsewhere: blobs of other environments' manifests that may be referenced.
        dormant: local artifacts that are, or were, stored and are not known to be in use.
        cold: whether the start was cold on purpose, so that local artifacts replace stored ones.
        now_ms: the time, in ms since the epoch; None: nothing is delayed.
    """

    good_packs: frozenset[PackId]
    loaded: Mapping[Identity, Digest] = field(default_factory=dict[Identity, "Digest"])
    distrusted: frozenset[tuple[Digest, PackId]] = frozenset()
    broken: frozenset[tuple[str, str, Digest]] = frozenset()
    elsewhere: Mapping[Digest, Location] = field(default_factory=dict["Digest", Location])
    dormant: frozenset[Identity] = frozenset()
    cold: bool = False
    now_ms: int | None = None

    def trusts(self, entry: Entry) -> bool:
        """Return whether a load could get the entry's bytes, as far as is known here."""
        pack = entry.location.pack
        return (
            pack in self.good_packs
            and (entry.digest, pack) not in self.distrusted
            and not self.is_broken(entry)
        )

    def is_broken(self, entry: Entry) -> bool:
        """Return whether the entry's bytes are useless to everybody, in any pack."""
        identity = entry.identity
        return bool(self.broken) and (identity.root, identity.path, entry.digest) in self.broken

    def is_too_young(self, entry: Entry, changes: int) -> bool:
        """Return whether the entry is too young to give way to what a compiler made since.

        Args:
            entry: what is stored.
            changes: how often it changed beyond what is free; less than 0: it gives way at once. It
                must be an hour old at first, then two, four, and so on up to a day.
        """
        if changes < 0 or self.now_ms is None:
            return False
        hours = min(1 << min(changes, _MOST_HOURS), _MOST_HOURS)
        # This host's clock may be behind the store's: then the entry is young.
        return self.now_ms - entry.saved_ms < hours * _HOUR_MS
