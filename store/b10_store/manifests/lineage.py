"""The lineage of a manifest: the others that it supersedes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.format.manifest import Lineage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store.format.keys import Key
    from b10_store.format.manifest import Manifest
    from b10_store.manifests.reader import Heads


Facts = tuple[tuple[str, str], ...]
"""(name, value) of an environment's fields."""


def lineage_of(
    heads: Heads,
    parents: Sequence[Manifest],
    keys: Sequence[Key],
    environment: tuple[Facts, Facts],
) -> Lineage:
    """Return the lineage of a manifest that carries on `parents`.

    Args:
        heads: the heads, as read.
        parents: the heads that are carried on.
        keys: the keys of this host; without any, signed manifests are not carried on.
        environment: the fields of the environment, and what is recorded beside them.
    """
    carried_on = {head.name.snapshot for head in parents}
    listed = {name.snapshot for name in heads.listed}
    ancestors = {
        snapshot
        for manifest in heads.read
        if keys or not manifest.signed
        for snapshot in manifest.lineage.supersedes
    }
    return Lineage(
        parents=tuple(sorted(carried_on)),
        ancestors=tuple(sorted((ancestors & listed) - carried_on)),
        environment=environment[0],
        recorded=environment[1],
    )


def lineage_like_newest(heads: Heads, parents: Sequence[Manifest], keys: Sequence[Key]) -> Lineage:
    """Return the lineage of a manifest that carries on `parents` and adds nothing.

    It keeps the environment of the newest of them.
    """
    newest = max(parents, key=lambda head: head.name.snapshot).lineage
    return lineage_of(heads, parents, keys, (newest.environment, newest.recorded))
