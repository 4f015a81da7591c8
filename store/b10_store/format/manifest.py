"""The content of one snapshot of an environment: pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from b10_store.errors import CorruptError, LimitError
from b10_store.format.frame import FRAME_LIMIT
from b10_store.paths import check_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from b10_store.digest import Digest
    from b10_store.format.frame import FrameTable
    from b10_store.format.names import Address, PackId, SnapshotId, SnapshotName

GENERATION_LIMIT = (1 << 32) - 1
"""Largest generation that the format holds."""

ENTRY_LIMIT = 500_000
"""Most artifacts of one manifest: some 300 MB of memory in whoever reads it."""


REQUIREMENT_LIMIT = 4096
"""Most bytes of a requirement: whoever reads it looks for each library that it names."""


class Identity(NamedTuple):
    """Which artifact of an environment an entry is about.

    Attributes:
        root: name of the cache root.
        path: below the root, with forward slashes.
        requirement: what a host must have to run it; "" for nothing beyond the environment key.
    """

    root: str
    path: str
    requirement: str = ""


class Location(NamedTuple):
    """Where a blob lies: the pack, and the offset in the pack's raw stream."""

    pack: PackId
    offset: int


class Group(NamedTuple):
    """A folder whose files are variants of one compiled thing, each named by its content."""

    root: str
    folder: str
    requirement: str


class Entry(NamedTuple):
    """One artifact of a manifest: a tuple, since a load makes one for each of many thousands.

    Attributes:
        identity: which artifact it is.
        digest: of its (canonical) bytes.
        size: of its (canonical) bytes.
        executable: whether its file has the execute bits.
        mtime_ns: modification time to be restored, for the few caches that depend on it, else None.
        group_length: how many characters of the path name its variant group's folder; 0: no group.
        generation: how often this artifact was superseded. Of two manifests that do not know
            each other, the entry with the higher generation wins: it descends from the other one.
        saved_ms: when these bytes were first saved, or last found in use by a save, ms since the
            epoch by the store's filesystem.
        location: where the bytes are.
    """

    identity: Identity
    digest: Digest
    size: int
    executable: bool
    mtime_ns: int | None
    group_length: int
    generation: int
    saved_ms: int
    location: Location

    @property
    def group(self) -> Group | None:
        """The variant group that the artifact is a member of."""
        root, path, requirement = self.identity
        return Group(root, path[: self.group_length], requirement) if self.group_length else None


class Pack(NamedTuple):
    """A pack as a manifest knows it.

    Attributes:
        size: bytes of the whole pack file.
        frames: its frame table.
    """

    size: int
    frames: FrameTable


@dataclass(frozen=True, slots=True)
class Lineage:
    """How a manifest came about.

    Attributes:
        parents: the heads that it carries on.
        ancestors: everything else that those had superseded and that was still listed.
        environment: (name, value) of the environment's fields, for people to read.
        recorded: (name, value) of what else may explain a miss on another machine.
    """

    parents: tuple[SnapshotId, ...]
    ancestors: tuple[SnapshotId, ...]
    environment: tuple[tuple[str, str], ...]
    recorded: tuple[tuple[str, str], ...] = ()

    @property
    def supersedes(self) -> frozenset[SnapshotId]:
        """Every snapshot that a reader of this one need not read."""
        return frozenset(self.parents) | frozenset(self.ancestors)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The complete, immutable list of an environment's artifacts at one save.

    Attributes:
        name: what it is published as.
        lineage: the manifests that it supersedes, and where it was made.
        packs: every pack that an entry lies in.
        entries: the artifacts.
        signed: whether its file was sealed with a secret key.
        signed_before: whether that was an older key, not the first of this host's.
    """

    name: SnapshotName
    lineage: Lineage
    packs: Mapping[PackId, Pack]
    entries: Mapping[Identity, Entry]
    signed: bool = False
    signed_before: bool = False

    @property
    def address(self) -> Address:
        """Environment key and namespace."""
        return self.name.address


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers about a manifest's body, kept in its header.

    Attributes:
        artifacts: number of entries.
        raw_bytes: sum of their sizes.
        stored_bytes: compressed bytes in packs that they account for, each blob counted once.
        packs: number of packs referenced.
    """

    artifacts: int
    raw_bytes: int
    stored_bytes: int
    packs: int


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest that is not consistent in itself.

    Raises:
        CorruptError: an entry points outside its pack.
        LimitError: a path is not acceptable, a requirement too long, or there are too many entries
            or frames.
    """
    entries, packs = len(manifest.entries), len(manifest.packs)
    frames = sum(len(pack.frames.sizes) for pack in manifest.packs.values())
    if entries > ENTRY_LIMIT or max(frames, packs) > FRAME_LIMIT:
        raise LimitError(f"{entries} artifacts, {packs} packs, {frames} frames of packs")
    for identity, entry in manifest.entries.items():
        check_path(identity.path)
        if identity.requirement and len(identity.requirement.encode()) > REQUIREMENT_LIMIT:
            raise LimitError(f"{identity.path!r} requires {identity.requirement[:80]!r} and so on")
        pack = manifest.packs.get(entry.location.pack)
        if pack is None:
            raise CorruptError(f"{identity.path!r} lies in a pack that the manifest does not list")
        pack.frames.check_range(entry.location.offset, entry.size)
        if entry.group_length and (
            entry.group_length >= len(identity.path) or identity.path[entry.group_length] != "/"
        ):
            raise CorruptError(f"{identity.path!r} has no group of length {entry.group_length}")


def stored_bytes(entries: Iterable[Entry], packs: Mapping[PackId, Pack]) -> int:
    """Compressed bytes that the entries account for; a blob that several share counts once."""
    blobs = {(entry.location, entry.size) for entry in entries}
    return round(
        sum(
            packs[location.pack].frames.stored_share(location.offset, size)
            for location, size in blobs
        )
    )


def summarize(manifest: Manifest) -> Summary:
    """The summary of a manifest's body."""
    entries = manifest.entries.values()
    return Summary(
        artifacts=len(entries),
        raw_bytes=sum(entry.size for entry in entries),
        stored_bytes=stored_bytes(entries, manifest.packs),
        packs=len(manifest.packs),
    )


def referenced_packs(entries: Iterable[Entry], packs: Mapping[PackId, Pack]) -> dict[PackId, Pack]:
    """Those of `packs` in which an entry lies."""
    wanted = {entry.location.pack for entry in entries}
    return {pack: packs[pack] for pack in packs if pack in wanted}
