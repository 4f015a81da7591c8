"""Stores with files in them that no save wrote: every digest in them is right, the rest may lie."""

from __future__ import annotations

import dataclasses
import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import zstandard

from b10_store.digest import digest_of
from b10_store.format.frame import FrameTable
from b10_store.format.manifest import summarize
from b10_store.format.names import SnapshotId, SnapshotName, snapshot_milliseconds
from b10_store.format.pack_footer import Piece, encode_footer
from b10_store.format.seal import seal
from b10_store.manifests.reader import ManifestReader
from b10_store.remote.folder import FolderRemote
from tests.support.databases import build_database
from tests.support.sites import Host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from b10_store.format.manifest import Manifest
    from tests.support.trees import Artifacts

_ENTRY = struct.Struct("<32sQIQQqIHHHB")
_PACK = struct.Struct("<32sQ")
_LATER = 60_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load of a forged store must come to, beside what the good manifest holds.

    Attributes:
        refused: the forgery counts as a problem, or what is in it as missing.
        extra: what of it is loaded all the same, being harmless.
        any_of: what of it may be loaded or not.
        displacing: whether good artifacts may be missing. Who can write to a store can also delete
            what is in it; only a signing key is of help there.
        megabytes: most memory that the load may take more than it had before.
        again: the statuses that a second load may have, when what is good is here.
    """

    refused: bool = True
    extra: Artifacts = field(default_factory=dict["str", Any])
    any_of: tuple[str, ...] = ()
    displacing: bool = False
    megabytes: int = 100
    again: tuple[str, ...] = ("SKIPPED",)


class Case(Protocol):
    """Puts something hostile into a store."""

    def __call__(self, forge: Forge) -> Outcome:
        """Returns what a load must come to."""
        ...


@dataclass(frozen=True, slots=True)
class ForgedPack:
    """A pack as a manifest knows it: the rows about it, which need not be true."""

    row: bytes
    table: bytes


class Forge:
    """Writes into the store of a host that saved."""

    def __init__(self, store: Path, scratch: Path) -> None:
        """Read the good manifest, the only one there is."""
        self.store = store
        self.scratch = scratch
        reader = ManifestReader(FolderRemote(str(store)), str(scratch), ())
        (name,) = reader.names()
        self.good: Manifest = reader.read(name)

    def host(self, name: str) -> Host:
        """A host of this store."""
        return Host(self.store, self.scratch / name)

    def name(self, later: int = _LATER, salt: int = 0) -> SnapshotName:
        """A name of the good manifest's address, this many milliseconds later."""
        time = snapshot_milliseconds(self.good.name.snapshot) + later
        return SnapshotName(self.good.address, SnapshotId(f"{time:013d}-{salt:032x}"))

    def header(self, name: SnapshotName) -> dict[str, Any]:
        """The header of a manifest that says nothing unusual and knows no other."""
        return {
            "format": 1,
            "environment_key": name.address.environment_key,
            "namespace": name.address.namespace,
            "snapshot": name.snapshot,
            "parents": [],
            "ancestors": [],
            "environment": [],
            "recorded": [],
            "summary": dataclasses.asdict(summarize(self.good)),
            "database": "little-endian, 64 bit",
            "raw_length": 0,
        }

    def plant(
        self,
        raw: bytes,
        header: Mapping[str, object] | None = None,
        *,
        later: int = _LATER,
        salt: int = 0,
    ) -> SnapshotName:
        """Publish a database, in a manifest with some fields of its header changed."""
        name = self.name(later, salt)
        fields = {**self.header(name), "raw_length": len(raw), **(header or {})}
        self.plant_sealed(name, json.dumps(fields).encode(), zstandard.compress(raw))
        return name

    def plant_sealed(self, name: SnapshotName, header: bytes, body: bytes) -> None:
        """Publish a header and a body under a right seal."""
        self.write(name.manifest_path, seal(header, body))

    def plant_rows(self, entries: Sequence[bytes], *packs: ForgedPack) -> None:
        """Publish entries that lie in some packs."""
        self.plant(build_database(tables_of(entries, *packs)))

    def plant_pack(
        self,
        frames: Sequence[tuple[bytes, int]],
        blobs: Sequence[Piece] = (),
        *,
        table: Sequence[tuple[int, int]] | None = None,
    ) -> ForgedPack:
        """Write a pack of some stored frames.

        Args:
            frames: stored bytes of each, and the raw size that the tables say it has.
            blobs: what the footer says is in it.
            table: what manifest and footer say of the frames, where that is not the truth.
        """
        sizes = table or [(len(stored), raw) for stored, raw in frames]
        data = b"".join(stored for stored, _ in frames)
        data += encode_footer(FrameTable(tuple(sizes)), blobs)
        self.write(f"packs/{digest_of(data)}.pack", data)
        return ForgedPack(
            _PACK.pack(bytes.fromhex(digest_of(data)), len(data)), encode_table(sizes)
        )

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the store."""
        (self.store / name).write_bytes(data)


def absent_pack(sizes: Sequence[tuple[int, int]], number: int = 1) -> ForgedPack:
    """A pack that is nowhere, and what a manifest may say of it."""
    return ForgedPack(_PACK.pack(number.to_bytes(32, "big"), 1 << 20), encode_table(sizes))


def encode_table(sizes: Sequence[tuple[int, int]]) -> bytes:
    """A frame table."""
    return b"".join(struct.pack("<II", stored, raw) for stored, raw in sizes)


def tables_of(entries: Sequence[bytes], *packs: ForgedPack) -> dict[str, Mapping[bytes, bytes]]:
    """The tables of a manifest's database."""
    return {
        "packs": {row_key(number): pack.row for number, pack in enumerate(packs)},
        "frames": {row_key(number): pack.table for number, pack in enumerate(packs)},
        "artifacts": {row_key(number): value for number, value in enumerate(entries)},
    }


def row_key(number: int) -> bytes:
    """The key of a row."""
    return struct.pack(">Q", number)


def entry_row(
    path: str | bytes,
    content: bytes = b"",
    *,
    root: str = "inductor",
    requirement: str = "",
    digest: str = "",
    size: int | None = None,
    pack: int = 0,
    offset: int = 0,
    saved_ms: int = 0,
    mtime_ns: int = 0,
    generation: int = 0,
    group_length: int = 0,
    flags: int = 0,
) -> bytes:
    """An entry, of which digest and size are those of `content` unless they are given."""
    root_bytes, requirement_bytes = root.encode(), requirement.encode()
    return (
        _ENTRY.pack(
            bytes.fromhex(digest or digest_of(content)),
            len(content) if size is None else size,
            pack,
            offset,
            saved_ms,
            mtime_ns,
            generation,
            group_length,
            len(root_bytes),
            len(requirement_bytes),
            flags,
        )
        + root_bytes
        + requirement_bytes
        + (path.encode() if isinstance(path, str) else path)
    )
