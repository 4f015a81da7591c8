"""Find which packs of a store can be relied on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from b10_store.digest import digest_of_chunks
from b10_store.format.names import pack_id_of, pack_path, parse_pack_name
from b10_store.remote.folder_names import PACKS, TRASH
from b10_store.remote.protocol import Range
from b10_store.remote.second_look import wrong_twice

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from b10_store.format.names import PackId
    from b10_store.remote.protocol import Remote

_BLOCK = 4 << 20
_PARALLEL = 16
_OTHER_LENGTH = "it has another length than its manifest says"


class Packs(NamedTuple):
    """The packs of a store, as far as a saver can tell.

    Attributes:
        good: the packs in packs/ that were not found twice to be damaged or to have a wrong length.
        verified: those of them whose bytes were all read and are right.
    """

    good: frozenset[PackId]
    verified: frozenset[PackId]


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
    """List the packs, compare the lengths of those that are relied on, and verify the suspects.

    Args:
        remote: the store.
        relied_on: the packs that are relied on, with their sizes according to manifests.
        suspects: packs whose bytes a load could not read or verify; nothing else is read.

    Raises:
        OSError: the store cannot be listed.
    """
    present = present_packs(remote)
    bad = {
        pack
        for pack, size in relied_on.items()
        if pack in present
        and wrong_twice(partial(_is_wrong, remote, pack, size, read_all=pack in suspects))
    }
    good = present - bad
    return Packs(good, good.intersection(suspects, relied_on))


def _is_wrong(remote: Remote, pack: PackId, size: int, *, read_all: bool) -> bool:
    name = pack_path(pack)
    try:
        if remote.stat(name).size != size:
            return True
        return read_all and not is_intact(remote, name, pack, size)
    except OSError:
        # It is gone since the listing, or unreadable: either way a load could not read its bytes.
        return True


def is_intact(
    remote: Remote,
    name: str,
    pack: PackId,
    size: int,
    may_go_on: Callable[[], bool] = lambda: True,
) -> bool:
    """Return whether the first `size` bytes of a file are those that a pack is named by.

    Args:
        remote: the store.
        name: the file's name.
        pack: the pack that it should be.
        size: the pack's size, in bytes.
        may_go_on: asked after each block; when it returns False, so does this.

    Raises:
        OSError: it cannot be read.
    """
    ranges = [Range(start, min(_BLOCK, size - start)) for start in range(0, size, _BLOCK)]
    blocks = takewhile(lambda _: may_go_on(), remote.read(name, ranges))
    return pack_id_of(digest_of_chunks(blocks)) == pack


def pack_faults(remote: Remote, packs: Mapping[PackId, int]) -> dict[PackId, OSError | str]:
    """Return why a load could not read packs, if two looks through fresh opens agree.

    Args:
        remote: the store.
        packs: their sizes in bytes, according to manifests.

    Returns:
        The error, or the wrong length, of each such pack; a pack that a load finds in trash has
        none.
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
    """Return the packs that gc moved to trash, where loads read them, too."""
    folders = [name[:-1] for name in remote.list(TRASH) if name.endswith("/")]
    names = [name for folder in folders for name in remote.list(f"{TRASH}/{folder}")]
    return {pack for name in names if (pack := parse_pack_name(name)) is not None}


def _pack_fault(remote: Remote, pack: PackId, told: int) -> OSError | str | None:
    def look() -> OSError | str | None:
        try:
            size = remote.stat(pack_path(pack)).size
            next(remote.read(pack_path(pack), [Range(0, 1)]))
        except OSError as error:
            return error
        return None if size == told else _OTHER_LENGTH

    return wrong_twice(look)
