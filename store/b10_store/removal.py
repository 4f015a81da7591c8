"""Taking one address out of a store, and putting it back while it is still in trash."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store.errors import CorruptError, LimitError, StoreError, UnsupportedFormatError
from b10_store.layout import (
    PACKS,
    TRASH,
    new_snapshot_id,
    pack_path,
    parse_manifest_name,
    parse_pack_name,
)
from b10_store.manifest_file import decode_manifest
from b10_store.remote import read_bounded
from b10_store.trash import read_trash

if TYPE_CHECKING:
    from b10_store.heads import ManifestReader
    from b10_store.layout import Address, PackId, SnapshotName
    from b10_store.remote import Remote

_MANIFEST_LIMIT = 1 << 30


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back from trash.

    Attributes:
        manifests: how many.
        packs: how many.
        missing: packs that these manifests reference and that are gone: their artifacts are misses.
    """

    manifests: int = 0
    packs: int = 0
    missing: int = 0


def remove(remote: Remote, reader: ManifestReader, address: Address) -> int:
    """Move every manifest of an address to trash; its packs follow when nothing references them.

    A save that is running may publish what it had read before.

    Returns:
        How many manifests were moved.

    Raises:
        OSError: not all of them could be moved.
    """
    folder = f"{TRASH}/{new_snapshot_id(remote.now())}"
    moved = 0
    # The oldest first: what is left over when this is stopped supersedes what is gone.
    for name in reader.names():
        if name.address == address:
            with contextlib.suppress(FileNotFoundError):
                remote.rename(name.manifest_path, f"{folder}/{name}.manifest")
                moved += 1
    return moved


def trashed_manifests(remote: Remote) -> list[SnapshotName]:
    """The manifests in trash.

    Raises:
        OSError: trash cannot be listed.
    """
    return sorted(_Trashed(remote).manifests)


def restore(remote: Remote, scratch: str, address: Address) -> Restored:
    """Put the manifests of an address back that are still in trash, and the packs they reference.

    Raises:
        OSError: the store cannot be read or written.
        StoreError: the scratch folder cannot be used.
    """
    trashed = _Trashed(remote)
    packs = manifests = missing = 0
    for name, location in sorted(trashed.manifests.items()):
        if name.address != address:
            continue
        for pack in _referenced(remote, scratch, name, location) - trashed.listed_packs():
            # Before the manifest: a collection at work must not delete what that names.
            if trashed.bring_back(pack):
                packs += 1
            else:
                missing += 1
        with contextlib.suppress(FileNotFoundError):
            remote.rename(location, name.manifest_path)
            manifests += 1
    return Restored(manifests, packs, missing)


class _Trashed:
    """Where things are in trash."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.manifests: dict[SnapshotName, str] = {}
        self._packs: dict[PackId, str] = {}
        for folder in read_trash(remote):
            for file in folder.files:
                manifest, pack = parse_manifest_name(file), parse_pack_name(file)
                if manifest is not None:
                    self.manifests[manifest] = f"{folder.path}/{file}"
                elif pack is not None:
                    self._packs[pack] = f"{folder.path}/{file}"

    def listed_packs(self) -> frozenset[PackId]:
        """The packs that are where they belong."""
        parsed = (parse_pack_name(name) for name in self._remote.list(PACKS))
        return frozenset(pack for pack in parsed if pack is not None)

    def bring_back(self, pack: PackId) -> bool:
        """Put a pack back; False when it is not in trash any more."""
        location = self._packs.get(pack)
        if location is None:
            return False
        try:
            self._remote.rename(location, pack_path(pack))
        except FileNotFoundError:
            return False
        return True


def _referenced(
    remote: Remote, scratch: str, name: SnapshotName, location: str
) -> frozenset[PackId]:
    try:
        data = read_bounded(remote, location, _MANIFEST_LIMIT)
        return frozenset(decode_manifest(data, name, scratch).packs)
    except (CorruptError, LimitError, UnsupportedFormatError) as error:
        raise StoreError(f"{location} cannot be put back: {error}") from error
