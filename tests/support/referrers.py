"""Manifests as garbage collection sees them, without files behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.format.names import Address, SnapshotName
from b10_store.gc.references import Reference, References
from tests.support.values import ADDRESS, pack_id, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NOW = 1_700_000_000.0
HOUR = 3600.0
DAY = 86400.0


def address(number: int) -> Address:
    """One of many addresses; they sort by number."""
    return Address(f"{number:032x}")


def named(hours_old: float, *, at: Address = ADDRESS, salt: int = 0) -> SnapshotName:
    """The name of a manifest that was begun so long before `NOW`."""
    return SnapshotName(at, snapshot(round((NOW - hours_old * HOUR) * 1000), salt))


def referrer(
    name: SnapshotName,
    *,
    supersedes: Iterable[SnapshotName] = (),
    packs: Mapping[int, int] | None = None,
    loaded_days_ago: float = 0.0,
    published_hours_ago: float | None = None,
    is_trusted: bool = True,
) -> Reference:
    """A manifest.

    Args:
        name: its name.
        supersedes: what it carries on.
        packs: size of each pack, by number.
        loaded_days_ago: before `NOW`.
        published_hours_ago: before `NOW`; by default it was when it was begun.
        is_trusted: see `Reference`.
    """
    return Reference(
        name=name,
        supersedes=frozenset(other.snapshot for other in supersedes),
        packs={pack_id(number): size for number, size in (packs or {}).items()},
        loaded_at=NOW - loaded_days_ago * DAY,
        is_trusted=is_trusted,
        changed_at=0.0 if published_hours_ago is None else NOW - published_hours_ago * HOUR,
    )


def surveyed(*referrers: Reference) -> References:
    """All manifests of a store."""
    return References(tuple(referrers))
