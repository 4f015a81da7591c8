"""The facts of a saver: the local artifacts, and the packs that it may rely on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store.format.manifest import Entry, Identity, Location

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_store.digest import Digest
    from b10_store.format.names import PackId

HOUR_MS = 3_600_000


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

    def is_younger(self, entry: Entry, age_ms: int) -> bool:
        """Return whether the entry was saved less than `age_ms` ago; never for 0.

        This host's clock may be behind the store's.
        """
        return bool(age_ms) and self.now_ms is not None and self.now_ms - entry.saved_ms < age_ms
