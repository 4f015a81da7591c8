"""How a manifest takes the place of those it carries on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from b10_store.layout import MANIFESTS, SUPERSEDE_AGE_SECONDS, TRASH, snapshot_milliseconds
from b10_store.manifest import Lineage, Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store.envelope import SigningKey
    from b10_store.heads import Heads
    from b10_store.layout import SnapshotId
    from b10_store.remote import Remote


Facts = tuple[tuple[str, str], ...]
"""(name, value) of an environment's fields."""


def lineage_of(
    heads: Heads,
    parents: Sequence[Manifest],
    key: SigningKey | None,
    environment: tuple[Facts, Facts],
) -> Lineage:
    """How a manifest that carries on `parents` came about.

    Args:
        heads: as read.
        parents: those of them that are carried on.
        key: that the manifest is sealed with.
        environment: the fields of the environment, and what is recorded beside them.
    """
    carried_on = {head.name.snapshot for head in parents}
    listed = {name.snapshot for name in heads.listed}
    ancestors = {
        snapshot
        for manifest in heads.read
        if key or not manifest.signed
        for snapshot in manifest.lineage.supersedes
    }
    return Lineage(
        parents=tuple(sorted(carried_on)),
        ancestors=tuple(sorted((ancestors & listed) - carried_on)),
        environment=environment[0],
        recorded=environment[1],
    )


def trash_superseded(
    remote: Remote, heads: Heads, parents: Sequence[Manifest], own: SnapshotId
) -> None:
    """Move manifests to trash that an old enough head supersedes, the oldest first.

    Old enough: a listing that runs at the same time must see one of the two. Whether this succeeds
    is of no consequence: gc does the same.

    Args:
        remote: the store.
        heads: as read before the save.
        parents: those of the heads that were carried on.
        own: the snapshot that was published just now.
    """
    old_enough = snapshot_milliseconds(own) - SUPERSEDE_AGE_SECONDS * 1000
    superseded: set[SnapshotId] = set()
    for manifest in parents:
        snapshot = manifest.name.snapshot
        if snapshot_milliseconds(snapshot) < old_enough:
            superseded |= {older for older in manifest.lineage.supersedes if older < snapshot}
    for name in sorted(heads.listed):
        if name.snapshot in superseded:
            target = name.manifest_path.replace(MANIFESTS, f"{TRASH}/{own}", 1)
            with contextlib.suppress(OSError):
                remote.rename(name.manifest_path, target)
