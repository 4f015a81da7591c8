"""Which packs of a store a saver may rely on."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from b10_store.digest import digest_of_chunks
from b10_store.format.names import pack_id_of, pack_path, parse_pack_name
from b10_store.remote.folder_names import PACKS
from b10_store.remote.protocol import Range

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from b10_store.format.names import PackId
    from b10_store.remote.protocol import Remote

VERIFIED_BYTES = 16 << 20
"""About this much of the packs relied on is read and verified: all of a small store."""
_LARGEST_VERIFIED = 256 << 20
_BLOCK = 4 << 20


class Packs(NamedTuple):
    """The packs of a store, as far as a saver can tell.

    Attributes:
        good: in packs/, readable, and not known to be damaged.
        verified: those of them whose every byte was read and is right.
        suspects: in packs/, but not what their id says, or unreadable, twice.
    """

    good: frozenset[PackId]
    verified: frozenset[PackId]
    suspects: frozenset[PackId]


def present_packs(remote: Remote) -> frozenset[PackId]:
    """List the packs that are in packs/.

    Raises:
        OSError: they cannot be listed.
    """
    parsed = (parse_pack_name(name) for name in remote.list(PACKS))
    return frozenset(pack for pack in parsed if pack is not None)


def look_at_packs(
    remote: Remote, relied_on: Mapping[PackId, int], suspects: Collection[PackId] = ()
) -> Packs:
    """List the packs, and look closer at those that are relied on.

    Their length is compared, and the bytes of some: of all, in a small store; in a large one of a
    few taken at random, so that the savers together look at every pack now and then.

    Args:
        remote: the store.
        relied_on: their sizes, as manifests say.
        suspects: packs to be verified in any case.

    Raises:
        OSError: the store cannot be listed.
    """
    present = present_packs(remote)
    chosen = _choose(relied_on, suspects)
    verified: set[PackId] = set()
    bad: set[PackId] = set()
    for pack, size in relied_on.items():
        if pack not in present:
            continue
        # One wrong answer may be the client's cache: only a second, fresh look convicts.
        if not any(_is_intact(remote, pack, size, read_all=pack in chosen) for _ in range(2)):
            bad.add(pack)
        elif pack in chosen:
            verified.add(pack)
    return Packs(present - bad, frozenset(verified), frozenset(bad))


def _choose(relied_on: Mapping[PackId, int], suspects: Collection[PackId]) -> set[PackId]:
    """Packs to be read whole; one beyond what is left of the budget with a fitting probability."""
    chosen = {pack for pack in suspects if pack in relied_on}
    shuffled = [pack for pack in relied_on if pack not in chosen]
    chance = random.SystemRandom()
    chance.shuffle(shuffled)
    room = VERIFIED_BYTES
    for pack in shuffled:
        size = relied_on[pack]
        if size <= room or (size <= _LARGEST_VERIFIED and chance.random() * size < room):
            chosen.add(pack)
            room = max(0, room - size)
    return chosen


def _is_intact(remote: Remote, pack: PackId, size: int, *, read_all: bool) -> bool:
    name = pack_path(pack)
    try:
        if remote.stat(name).size != size:
            return False
        if not read_all:
            return True
        ranges = [Range(start, min(_BLOCK, size - start)) for start in range(0, size, _BLOCK)]
        return pack_id_of(digest_of_chunks(remote.read(name, ranges))) == pack
    except OSError:
        # Gone since the listing, or unreadable: either way a load could not have its bytes.
        return False
