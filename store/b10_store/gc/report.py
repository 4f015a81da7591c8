"""The report of a visit of the garbage collection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from b10_store.format.names import Address


@dataclass(slots=True)
class GcReport:
    """The effects of a visit, or of a dry run what they would be.

    Attributes:
        refused: why nothing was moved to trash or deleted, one line each.
        unwritten: why packs that are at least half unused could not be repacked, one line each.
        trashed_packs: packs that no manifest references; moved to trash.
        trashed_bytes: their size.
        superseded: manifests whose entries others carry on; moved to trash.
        expired: addresses whose every manifest was moved to trash.
        freed_files: packs and manifests that were deleted.
        freed_bytes: their size.
        restored: packs that were put back from trash, because a manifest references them.
        rewritten_bytes: the size of new packs with the used blobs of packs that were at least half
            unused.
        verified_bytes: the size of the packs whose every byte was read.
        damaged: the damaged packs among them, and how the damage shows, one line each.
        fenced: sessions that can no longer publish.
        swept: temporary files of dead processes, and old files in fenced/ and quarantine/.
        waiting_files: packs and manifests in trash.
        free_at: when the last of them may be deleted, in seconds since the epoch, at the earliest;
            None when there are none.
        is_complete: whether the time was enough for everything.
    """

    refused: list[str] = field(default_factory=list[str])
    unwritten: list[str] = field(default_factory=list[str])
    trashed_packs: int = 0
    trashed_bytes: int = 0
    superseded: int = 0
    expired: tuple[Address, ...] = ()
    freed_files: int = 0
    freed_bytes: int = 0
    restored: int = 0
    rewritten_bytes: int = 0
    verified_bytes: int = 0
    damaged: list[str] = field(default_factory=list[str])
    fenced: int = 0
    swept: int = 0
    waiting_files: int = 0
    free_at: float | None = None
    is_complete: bool = True
