"""Which of the stored artifacts a saver knows to be needed, and which not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from b10_store.format.manifest import Identity


def folder_of(identity: Identity) -> str:
    """The folder of an artifact below its root."""
    return identity.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Use:
    """The use of the artifacts that are here; those in neither set are in use.

    Attributes:
        idle: those that are here as they are stored, and that nothing opened lately.
        unsure: those that are here as they are stored, and whose use cannot be told.
        max_age_ms: artifacts that no saver found in use for this long expire; 0: never.
        unit_of: names the unit of artifacts that are of use together; it expires whole.
        crowd_of: names the crowd of artifacts that a program leaves one of at each run: only the
            newest of a crowd are kept; "" for none.
    """

    idle: frozenset[Identity] = frozenset()
    unsure: frozenset[Identity] = frozenset()
    max_age_ms: int = 0
    unit_of: Callable[[Identity], str] = folder_of
    crowd_of: Callable[[Identity], str] = field(default=lambda _: "")

    @property
    def dormant(self) -> frozenset[Identity]:
        """The artifacts that are here and not known to be in use."""
        return self.idle | self.unsure

    def wanted(self, here: Collection[Identity]) -> frozenset[Identity]:
        """Those of `here` that no saver should take for unused."""
        return frozenset(here) - self.idle

    def owned(self, here: Collection[Identity]) -> frozenset[Identity]:
        """Those of `here` that are known to be in use, and never expire."""
        return frozenset(here) - self.dormant
