"""Which packs of a store can be relied on."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from b10_store.digest import digest_of_chunks
from b10_store.format.names import pack_id_of, pack_path, parse_pack_name
from b10_store.remote.folder_names import PACKS, TRASH
from b10_store.remote.protocol import Range

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from b10_store.format.names import PackId
    from b10_store.remote.protocol import Remote

VERIFIED_BYTES = 16 << 20
"""About this much of the packs relied on is read and verified: all of a small store."""
_LARGEST_VERIFIED = 256 << 20
_BLOCK = 4 << 20
_PARALLEL = 16
_OTHER_LENGTH = "it has another length than its manifest says"


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

    Their lengths are compared, and some are read: all of them in a small store, a few random ones
    in a large store, so that the savers together look at every pack now and then.

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


def pack_faults(remote: Remote, packs: Mapping[PackId, int]) -> dict[PackId, OSError | str]:
    """Why a load could not read the bytes of packs, as two looks through fresh opens agree.

    Args:
        remote: the store.
        packs: their sizes in bytes, as manifests say.

    Returns:
        An error, or what is wrong with the length; nothing for a pack that a load finds in trash.
    """
    if not packs:
        return {}
    with ThreadPoolExecutor(min(_PARALLEL, len(packs)), "b10-packs") as pool:
        faults = pool.map(partial(_pack_fault, remote), packs, packs.values())
        found = {pack: fault for pack, fault in zip(packs, faults, strict=True) if fault}
    if any(isinstance(fault, FileNotFoundError) for fault in found.values()):
        for pack in _packs_in_trash(remote) & found.keys():
            del found[pack]
    return found


def _packs_in_trash(remote: Remote) -> set[PackId]:
    """The packs that gc moved there: a load reads them there, too."""
    folders = [name[:-1] for name in remote.list(TRASH) if name.endswith("/")]
    names = [name for folder in folders for name in remote.list(f"{TRASH}/{folder}")]
    return {pack for name in names if (pack := parse_pack_name(name)) is not None}


def _pack_fault(remote: Remote, pack: PackId, told: int) -> OSError | str | None:
    fault: OSError | str | None = None
    for _ in range(2):
        try:
            size = remote.stat(pack_path(pack)).size
            next(remote.read(pack_path(pack), [Range(0, 1)]))
        except OSError as error:
            fault = error
        else:
            if size == told:
                return None
            fault = _OTHER_LENGTH
    return fault
