"""The state that a save relied on when it left nothing to do, and whether it still holds.

A save is requested after every warm-up, mostly with nothing new. When neither the local tree nor
the store changed since the last one, it need not read and plan again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store.errors import StoreError
from b10_store.packs.health import look_at_packs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_store.format.names import Address, PackId, SnapshotName
    from b10_store.manifests.reader import ManifestReader
    from b10_store.remote.protocol import Remote


@dataclass(frozen=True, slots=True)
class StoreState:
    """The state of an address in which everything local was stored.

    Attributes:
        listed: every manifest of the address.
        heads: the manifests that were heads.
        packs: the size of each pack that the heads reference.
    """

    listed: frozenset[SnapshotName]
    heads: frozenset[SnapshotName]
    packs: Mapping[PackId, int]


def is_unchanged(
    remote: Remote, reader: ManifestReader, address: Address, store_state: StoreState
) -> bool:
    """Return whether the store is unchanged: the same manifests, and nothing damaged.

    Raises:
        OSError: the store cannot be read.
    """
    listed = frozenset(name for name in reader.names() if name.address == address)
    if listed != store_state.listed:
        return False
    for name in store_state.heads:
        try:
            reader.verify(name)
        except (StoreError, OSError):
            return False
    return look_at_packs(remote, store_state.packs).good.issuperset(store_state.packs)
