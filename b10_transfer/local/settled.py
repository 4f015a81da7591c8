"""Which files can have changed since they were looked at only if their fingerprints have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_transfer.local.record import filesystem_now_ns

if TYPE_CHECKING:
    from b10_store import FoundFile

GRAIN_NS = 50_000_000
"""The clock that stamps files goes on every 10 ms, at the rarest; with room to spare."""

_WHOLE_SECONDS_NS = 2_000_000_000
"""The same where a filesystem notes whole seconds, or every other one."""

_SECOND_NS = 1_000_000_000


def settled_before_ns(folder: str) -> int:
    """Return the time before which the files of a cache root are settled, in ns since the epoch.

    A file that was changed before it, and is read from now on, has another change time after the
    next change. One that was changed later may be changed once more within the same tick of the
    clock, and its fingerprint stays as it is.
    """
    now = filesystem_now_ns(folder)
    return now - (GRAIN_NS if now % _SECOND_NS else _WHOLE_SECONDS_NS)


def is_settled(found: FoundFile, before_ns: int) -> bool:
    """Return whether a file was settled, given what `settled_before_ns` returned."""
    return found.fingerprint.ctime_ns < before_ns
