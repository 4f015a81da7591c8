"""Move blobs out of packs that will be removed, by a save that changes nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from b10_store.errors import StoreError
from b10_store.format.keys import signer_of
from b10_store.format.manifest import Manifest, referenced_packs
from b10_store.format.manifest_file import encode_manifest
from b10_store.format.names import (
    FRAME_RAW_LIMIT,
    LEFTOVER_SECONDS,
    snapshot_milliseconds,
)
from b10_store.manifests.lineage import lineage_like_newest
from b10_store.manifests.merge import merge, with_good_packs
from b10_store.manifests.reader import ManifestReader
from b10_store.packs.blobs import read_blobs
from b10_store.packs.health import present_packs
from b10_store.packs.writer import write_packs
from b10_store.save.plan import SavePlan, finish_entries
from b10_store.save.session import open_session

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Sequence

    from b10_store.digest import Digest
    from b10_store.format.keys import Key
    from b10_store.format.manifest import Entry
    from b10_store.format.names import Address, PackId
    from b10_store.manifests.merge import MergedView
    from b10_store.manifests.reader import Heads
    from b10_store.remote.protocol import Remote
    from b10_store.save.session import Session

_WORKERS = 2
_NO_LIMIT = 1 << 62
_SPOOL_PREFIX = "b10-rewrite-"


class Moved(NamedTuple):
    """The result for the blobs that an address has in some packs.

    Attributes:
        blobs: how many are in new packs now.
        lost: how many could not be read, or do not match their digest.
        stored_bytes: the size of the new packs.
    """

    blobs: int = 0
    lost: int = 0
    stored_bytes: int = 0


def rewrite_packs(
    remote: Remote,
    scratch: str,
    keys: tuple[Key, ...],
    address: Address,
    packs: Collection[PackId],
) -> int:
    """Repack packs that are mostly unused: see `move_blobs`.

    Returns:
        The size of the new packs, in bytes; 0 when nothing was published.

    Raises:
        OSError, StoreError: nothing was published.
    """
    moved = move_blobs(remote, scratch, keys, address, packs)
    if moved.lost and not moved.blobs:
        raise StoreError(f"none of {moved.lost} artifacts could be read")
    return moved.stored_bytes


def move_blobs(
    remote: Remote,
    scratch: str,
    keys: tuple[Key, ...],
    address: Address,
    packs: Collection[PackId],
) -> Moved:
    """Move the blobs that an address has in some packs to new ones, and publish that.

    Nothing else changes, and unreadable blobs stay where they are.

    Args:
        remote: the store.
        scratch: a local folder with space for the moved blobs.
        keys: of this host; the first seals the manifest.
        address: whose entries to move.
        packs: the packs to leave.

    Raises:
        OSError, StoreError: nothing was published.
    """
    reader = ManifestReader(remote, scratch, keys)
    newest = max(
        (name.snapshot for name in reader.names() if name.address == address), default=None
    )
    session = open_session(remote, address, newest)
    try:
        heads = reader.heads(address)
        _remove_abandoned(scratch)
        with tempfile.TemporaryDirectory(prefix=_SPOOL_PREFIX, dir=scratch) as folder:
            moved = _publish_moved(remote, session, heads, keys, packs, folder)
    except BaseException:
        session.abandon()
        raise
    if not moved.blobs:
        session.abandon()
    return moved


def _remove_abandoned(scratch: str) -> None:
    """Remove the folders of repacks that were killed long ago."""
    with contextlib.suppress(OSError):
        for item in os.scandir(scratch):
            if not item.name.startswith(_SPOOL_PREFIX) or item.is_symlink():
                continue
            with contextlib.suppress(OSError):
                if time.time() - item.stat().st_mtime > LEFTOVER_SECONDS:
                    shutil.rmtree(item.path, ignore_errors=True)


def _publish_moved(
    remote: Remote,
    session: Session,
    heads: Heads,
    keys: tuple[Key, ...],
    packs: Collection[PackId],
    folder: str,
) -> Moved:
    signer = signer_of(keys)
    parents = tuple(head for head in heads.manifests if keys or not head.signed)
    if heads.problems:
        raise StoreError(f"{heads.problems[0].name}: {heads.problems[0].reason}")
    if not parents:
        return Moved()
    stored = with_good_packs(merge(parents), parents, present_packs(remote))
    moving = {
        entry.digest: entry for entry in stored.entries.values() if entry.location.pack in packs
    }
    uploads = _fetch(remote, stored, list(moving.values()), folder)
    lost = len(moving) - len(uploads)
    if not uploads:
        return Moved(lost=lost)
    written = write_packs(remote, uploads, workers=_WORKERS, limit=_NO_LIMIT)
    plan = SavePlan(stored.entries, (), {upload.digest: upload.size for upload in uploads})
    saved_ms = snapshot_milliseconds(session.name.snapshot)
    entries = finish_entries(plan, (), written.locations, saved_ms)
    known = {**stored.packs, **written.packs}
    manifest = Manifest(
        session.name,
        lineage_like_newest(heads, parents, keys),
        referenced_packs(entries.values(), known),
        entries,
    )
    session.publish([encode_manifest(manifest, folder, signer)])
    return Moved(len(uploads), lost, written.stored_bytes)


@dataclass(frozen=True, slots=True)
class _Spooled:
    """A blob in a local file; an `Upload` of `packs.writer`."""

    digest: Digest
    size: int
    location: str

    def read(self) -> Iterator[bytes]:
        with open(self.location, "rb") as file:
            while block := file.read(FRAME_RAW_LIMIT):
                yield block


def _fetch(
    remote: Remote, stored: MergedView, entries: Sequence[Entry], folder: str
) -> list[_Spooled]:
    spool = _Spool(folder)
    fetched = read_blobs(remote, stored.packs, entries, spool, workers=_WORKERS)
    # Keep the order of the old pack, in which similar blobs are neighbours.
    ordered = sorted(entries, key=lambda entry: entry.location)
    return [
        _Spooled(entry.digest, entry.size, spool.location(entry.digest))
        for entry in ordered
        if entry.digest in fetched
    ]


class _Spool:
    """A `Sink` that writes blobs to files of a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def location(self, digest: Digest) -> str:
        return os.path.join(self._folder, digest)

    def put(self, blobs: Sequence[tuple[Digest, bytes]]) -> None:
        for digest, data in blobs:
            location = self.location(digest)
            with _naming(location), open(location, "wb") as file:
                file.write(data)

    def stream(self, digest: Digest) -> _SpoolStream:
        return _SpoolStream(self.location(digest))


class _SpoolStream:
    """A `BlobStream` into a file."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._file = open(location, "wb")  # noqa: SIM115  # closed by commit or discard

    def write(self, data: bytes | memoryview) -> None:
        with _naming(self._location):
            self._file.write(data)

    def commit(self) -> None:
        with _naming(self._location):
            self._file.close()

    def discard(self) -> None:
        # A blob that could not be written is tried again; the folder is removed in any case.
        with contextlib.suppress(OSError):
            self._file.close()


@contextlib.contextmanager
def _naming(location: str) -> Generator[None]:
    """Add the file's name to errors of a write: it is this host that has too little space."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, location) from error
