"""What is explored: who takes part, how time is cut, and which protection is taken out."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Flaw(enum.Enum):
    """One protection of the protocol taken out."""

    NO_FENCE = "the sessions that were witnessed are neither waited for nor fenced"
    NO_WITNESS = "sessions are not looked at at all"
    LATE_WITNESS = "sessions are listed and fenced only by the visit that deletes"
    BY_NAME = "the manifest is written to a temporary name, which is renamed to the token's"
    LATE_SESSION = "the token is created after the packs were listed"
    EARLY_BELIEF = "a pack counts as there if a listing before the token showed it"
    TRASH_COUNTS = "a pack counts as there when it is in trash"
    SHARED_TRASH = "all gcs move packs to one folder"
    UNREADABLE_IGNORED = "a manifest that cannot be read is passed over"
    NO_AGE = "what a manifest supersedes goes to trash at once"
    AGE_OF_SESSION = "a manifest's age counts from the creation of its token"
    AGE_OF_WRITING = "a manifest's age counts from its writing into the token"
    DROPPED_ENTRIES = "a manifest does not carry the entries of those it supersedes"
    TRASH_FORGOTTEN = "a manifest goes to trash while a pack that it references lies there"


WRONG_AGES = (Flaw.AGE_OF_SESSION, Flaw.AGE_OF_WRITING)


class Timing(NamedTuple):
    """Ticks.

    Attributes:
        stale: a view shows every change that is at least this old.
        stage: least distance between two stages of a folder of trash.
        age: how long a manifest must have been published before what it supersedes goes to trash.
    """

    stale: int
    stage: int
    age: int


COARSE = Timing(stale=1, stage=1, age=1)
"""Whatever falls between two ticks counts as one moment: fewest states."""

FINE = Timing(stale=2, stage=3, age=2)
"""A change may be one tick old and still be missed. On a grid the stages must then be
2 * stale - 1 ticks apart; in time that is continuous, twice the staleness."""


class Scenario(NamedTuple):
    """Who takes part.

    Attributes:
        savers: for each, which contested pack its artifact lies in; None: one of its own, which
            nobody moves it to trash. Savers of one pack stand side by side.
        gcs: how many gcs, each of which fills one once and takes any folder further.
        packs: how many contested packs.
        attempts: how often a saver begins; all but the first after it was fenced.
        supersedes: whether superseded manifests are moved to trash.
        expires: whether an old manifest of pack 0 is there, which the gcs expire.
        late: whether an old manifest of pack 0 is there, and was published by a witnessed saver
            after the first gc had moved the pack to trash.
        owners: savers that have the bytes of every artifact: of what lies in a pack that is not
            there, they store the bytes once more, in a pack of their own.
        timing: see `Timing`.
        flaw: what is taken out.
    """

    savers: tuple[int | None, ...]
    gcs: int = 0
    packs: int = 1
    attempts: int = 1
    supersedes: bool = False
    expires: bool = False
    late: bool = False
    owners: tuple[int, ...] = ()
    timing: Timing = COARSE
    flaw: Flaw | None = None
