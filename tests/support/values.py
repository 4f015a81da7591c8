"""Values of the engine for tests that need no bytes behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.digest import digest_of
from b10_store.format.frame import FrameTable
from b10_store.format.manifest import Entry, Identity, Lineage, Location, Manifest, Pack
from b10_store.format.names import Address, PackId, SnapshotId, SnapshotName
from b10_store.tree.scan import Fingerprint, FoundFile, LocalFile, Scanned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from b10_store.digest import Digest

ADDRESS = Address("0123456789abcdef" * 2)
OTHER_ADDRESS = Address("f" * 32, "model")
RAW_SIZE = 1000
"""Raw bytes of a pack, and of each artifact in it, unless a test says otherwise."""
STORED_SIZE = 100


def digest(content: str) -> Digest:
    """The digest of a text."""
    return digest_of(content.encode())


def pack_id(number: int) -> PackId:
    """An id of a pack that does not exist."""
    return PackId(f"{number:064x}")


def pack(stored: int = STORED_SIZE, raw: int = RAW_SIZE, *, frames: int = 1) -> Pack:
    """A pack of equal frames."""
    return Pack(stored * frames + 200, FrameTable(((stored, raw),) * frames))


def snapshot(milliseconds: int, salt: int = 0) -> SnapshotId:
    """A snapshot id of that time."""
    return SnapshotId(f"{milliseconds:013d}-{salt:032x}")


def entry(
    path: str,
    content: str = "",
    *,
    root: str = "inductor",
    requirement: str = "",
    pack: int = 1,
    offset: int = 0,
    size: int = RAW_SIZE,
    generation: int = 0,
    saved_ms: int = 0,
    group: str = "",
) -> Entry:
    """An entry, in pack 1 by default; its content is its path unless it is given.

    Args:
        path: below the root; with `group`, below that folder.
        group: the folder of its variant group.
        others: see `Entry`.
    """
    full = f"{group}/{path}" if group else path
    return Entry(
        identity=Identity(root, full, requirement),
        digest=digest(content or full),
        size=size,
        executable=False,
        mtime_ns=None,
        group_length=len(group),
        generation=generation,
        saved_ms=saved_ms,
        location=Location(pack_id(pack), offset),
    )


def candidate(
    path: str,
    content: str = "",
    *,
    requirement: str = "",
    size: int = RAW_SIZE,
    group: str = "",
    bundle: str = "",
) -> Scanned:
    """What is here of the entry that `entry` makes of the same arguments."""
    full = f"{group}/{path}" if group else path
    found = FoundFile(full, "/nowhere", Fingerprint(size, 0, 0, 0), executable=False)
    identity = Identity("inductor", full, requirement)
    file = LocalFile(identity, found, group_length=len(group), bundle=bundle)
    return Scanned(file, digest(content or full), size)


def manifest(
    milliseconds: int,
    entries: Iterable[Entry] = (),
    *,
    packs: Mapping[int, Pack] | None = None,
    parents: Iterable[SnapshotId] = (),
    ancestors: Iterable[SnapshotId] = (),
    address: Address = ADDRESS,
    salt: int = 0,
) -> Manifest:
    """A manifest; the packs that its entries name are of the default size unless they are given."""
    known = {pack_id(number): value for number, value in (packs or {}).items()}
    listed = list(entries)
    for item in listed:
        known.setdefault(item.location.pack, pack())
    return Manifest(
        SnapshotName(address, snapshot(milliseconds, salt)),
        Lineage(tuple(parents), tuple(ancestors), (("torch", "2.9.0"),)),
        known,
        {item.identity: item for item in listed},
    )
