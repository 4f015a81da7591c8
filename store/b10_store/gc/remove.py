"""Remove one address from a store, and restore it while it is still in trash."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from b10_store.errors import UNUSABLE
from b10_store.format.manifest_file import decode_manifest
from b10_store.format.names import new_snapshot_id, pack_path, parse_manifest_name, parse_pack_name
from b10_store.format.sealed_file import read_sealed
from b10_store.gc.trash import read_trash
from b10_store.manifests.merge import superseded_by
from b10_store.remote.folder_names import PACKS, TRASH
from b10_store.remote.patient import is_passing
from b10_store.remote.second_look import decoded_file

if TYPE_CHECKING:
    from b10_store.format.manifest import Manifest
    from b10_store.format.names import Address, PackId, SnapshotId, SnapshotName
    from b10_store.manifests.reader import ManifestReader
    from b10_store.remote.protocol import Remote

_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore.

    Attributes:
        manifests: how many.
        packs: how many.
        missing: packs of these manifests that are gone; their artifacts are misses.
        unusable: manifests that are damaged and stay in trash.
    """

    manifests: int = 0
    packs: int = 0
    missing: int = 0
    unusable: tuple[str, ...] = ()


def remove(remote: Remote, reader: ManifestReader, address: Address) -> int:
    """Move every manifest of an address to trash; its packs follow when nothing references them.

    A running save may publish again what it read before.

    Returns:
        How many manifests were moved.

    Raises:
        OSError: not all of them could be moved.
    """
    folder = f"{TRASH}/{new_snapshot_id(remote.now())}"
    moved: set[SnapshotName] = set()
    doubtful: set[SnapshotName] = set()
    for _ in range(_LOOKS):
        left = [name for name in reader.names() if name.address == address and name not in moved]
        moved |= doubtful.difference(left)
        if not left:
            return len(moved)
        # The oldest goes first: if this is stopped, the rest supersedes what is gone.
        for name in left:
            is_moved = _move_away(remote, name, folder)
            if is_moved:
                moved.add(name)
            elif is_moved is None:
                doubtful.add(name)
                break
    left = [name for name in reader.names() if name.address == address and name not in moved]
    if left:
        raise OSError(errno.EAGAIN, "listed, but not found when it was to be moved", str(left[0]))
    return len(moved)


def _move_away(remote: Remote, name: SnapshotName, folder: str) -> bool | None:
    """Return whether a manifest was moved to a trash folder; None if another look must tell."""
    try:
        remote.rename(name.manifest_path, f"{folder}/{name}.manifest")
    except FileNotFoundError:
        # Somebody else moved it, or the client does not see the trash folder yet.
        return False
    except OSError as error:
        if not is_passing(error):
            raise
        return None
    return True


def trashed_manifests(remote: Remote) -> list[SnapshotName]:
    """The manifests in trash.

    Raises:
        OSError: trash cannot be listed.
    """
    return sorted(_Trashed(remote).manifests)


def restore(remote: Remote, scratch: str, address: Address) -> Restored:
    """Restore the manifests of an address that are still in trash, and the packs they reference.

    Manifests that another of them supersedes stay in trash.

    Raises:
        OSError: the store cannot be read or written.
        StoreError: the scratch folder cannot be used.
    """
    return _Undo(remote, scratch, address).run()


class _Undo:
    def __init__(self, remote: Remote, scratch: str, address: Address) -> None:
        self._remote = remote
        self._scratch = scratch
        self._address = address
        self._manifests: set[SnapshotName] = set()
        self._packs: set[PackId] = set()
        self._missing: set[PackId] = set()
        self._unusable: set[SnapshotName] = set()
        self._superseded: frozenset[SnapshotId] = frozenset()

    def run(self) -> Restored:
        for look in range(_LOOKS):
            # A collection that adopts a trash folder renames it, with everything in it.
            if self._bring_back(_Trashed(self._remote), is_last=look == _LOOKS - 1):
                break
        return Restored(
            len(self._manifests),
            len(self._packs),
            len(self._missing),
            tuple(str(name) for name in sorted(self._unusable)),
        )

    def _bring_back(self, trashed: _Trashed, *, is_last: bool) -> bool:
        """Restore the files that are where they were listed; return whether these were all."""
        found = self._read_all(trashed)
        self._superseded |= superseded_by(found.values())
        there = trashed.listed_packs()
        everything = len(found) + len(self._unusable) == len(trashed.of(self._address))
        for name, manifest in found.items():
            if name.snapshot in self._superseded:
                continue
            # Packs come before the manifest: a running collection must not delete what it names.
            lacking = {
                pack
                for pack in manifest.packs
                if pack not in there and not self._bring(trashed, pack)
            }
            if lacking and not is_last:
                everything = False
                continue
            if self._publish(trashed.manifests[name], name):
                self._missing |= lacking
            else:
                everything = False
        return everything

    def _read_all(self, trashed: _Trashed) -> dict[SnapshotName, Manifest]:
        """Return the manifests of the address, oldest first."""
        found: dict[SnapshotName, Manifest] = {}
        for name in trashed.of(self._address):
            try:
                found[name] = self._read(trashed.manifests[name], name)
            except FileNotFoundError:
                continue
            except UNUSABLE:
                self._unusable.add(name)
        return found

    def _read(self, location: str, name: SnapshotName) -> Manifest:
        return decoded_file(
            partial(read_sealed, self._remote, location),
            partial(decode_manifest, name=name, scratch=self._scratch),
        )

    def _bring(self, trashed: _Trashed, pack: PackId) -> bool:
        if pack in self._packs:
            return True
        if trashed.bring_back(pack):
            self._packs.add(pack)
            return True
        return False

    def _publish(self, location: str, name: SnapshotName) -> bool:
        try:
            self._remote.rename(location, name.manifest_path)
        except FileNotFoundError:
            return False
        self._manifests.add(name)
        with contextlib.suppress(OSError):
            # Count it as loaded now: otherwise an expired one would expire again at the next visit.
            self._remote.touch(name.manifest_path)
        return True


class _Trashed:
    """The places of files in trash."""

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

    def of(self, address: Address) -> list[SnapshotName]:
        """Return the manifests of an address, oldest first."""
        return sorted(name for name in self.manifests if name.address == address)

    def listed_packs(self) -> frozenset[PackId]:
        """Return the packs that are in packs/."""
        parsed = (parse_pack_name(name) for name in self._remote.list(PACKS))
        return frozenset(pack for pack in parsed if pack is not None)

    def bring_back(self, pack: PackId) -> bool:
        """Put a pack back; return False when it is no longer in trash."""
        location = self._packs.get(pack)
        if location is None:
            return False
        try:
            self._remote.rename(location, pack_path(pack))
        except FileNotFoundError:
            return False
        return True
