"""What a save relied on when it left nothing to do, and whether that still holds.

A save with nothing new is asked for after every warm-up. When neither the local tree nor the store
changed since the last one, it need not read and plan again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from b10_store.digest import digest_of_chunks
from b10_store.errors import StoreError
from b10_store.layout import PACKS, pack_id_of, pack_path, parse_pack_name
from b10_store.remote import Range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_store.heads import ManifestReader
    from b10_store.layout import Address, PackId, SnapshotName
    from b10_store.remote import Remote

_VERIFIED_BYTES = 16 << 20
"""A save reads and verifies this much of the packs that it relies on: all of a small store."""
_BLOCK = 4 << 20


@dataclass(frozen=True, slots=True)
class Basis:
    """The state of an address in which everything local was stored.

    Attributes:
        listed: every manifest of the address.
        heads: those of them that were heads.
        packs: size of each pack that the heads reference.
    """

    listed: frozenset[SnapshotName]
    heads: frozenset[SnapshotName]
    packs: Mapping[PackId, int]


def holds(remote: Remote, reader: ManifestReader, address: Address, basis: Basis) -> bool:
    """Whether the store is as it was: the same manifests, none damaged, and no pack damaged.

    Raises:
        OSError: the store cannot be read.
    """
    listed = frozenset(name for name in reader.names() if name.address == address)
    if listed != basis.listed:
        return False
    for name in basis.heads:
        try:
            reader.verify(name)
        except (StoreError, OSError):
            return False
    return look_at_packs(remote, basis.packs).good.issuperset(basis.packs)


class Packs(NamedTuple):
    """The packs of a store, as far as a saver can tell.

    Attributes:
        good: in packs/, readable, and not known to be damaged.
        broken: in packs/, and not what their id says. One that is merely gone is not among them.
    """

    good: frozenset[PackId]
    broken: frozenset[PackId]


def look_at_packs(remote: Remote, relied_on: Mapping[PackId, int]) -> Packs:
    """List the packs, and look closer at those that are relied on.

    Their length is compared, and the bytes of some: of all, in a small store; in a large one of a
    few taken at random, so that the savers together look at every pack now and then.

    Args:
        remote: the store.
        relied_on: their sizes, as manifests say.

    Raises:
        OSError: the store cannot be listed.
    """
    parsed = (parse_pack_name(name) for name in remote.list(PACKS))
    good = {pack for pack in parsed if pack is not None}
    broken: set[PackId] = set()
    shuffled = [pack for pack in relied_on if pack in good]
    random.shuffle(shuffled)
    room = _VERIFIED_BYTES
    for pack in shuffled:
        read_all = relied_on[pack] <= room
        if read_all:
            room -= relied_on[pack]
        try:
            intact = _is_intact(remote, pack, relied_on[pack], read_all=read_all)
        except OSError:
            # Gone since the listing, or unreadable: either way a load could not have its bytes.
            good.discard(pack)
        else:
            if not intact:
                broken.add(pack)
    return Packs(frozenset(good - broken), frozenset(broken))


def _is_intact(remote: Remote, pack: PackId, size: int, *, read_all: bool) -> bool:
    name = pack_path(pack)
    if remote.stat(name).size != size:
        return False
    if not read_all:
        return True
    ranges = [Range(start, min(_BLOCK, size - start)) for start in range(0, size, _BLOCK)]
    return pack_id_of(digest_of_chunks(remote.read(name, ranges))) == pack
