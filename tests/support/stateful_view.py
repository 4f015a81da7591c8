"""What a store offers at one moment, found out without changing anything in it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store.digest import digest_of
from b10_store.errors import StoreError
from b10_store.format.manifest_file import decode_manifest
from b10_store.format.names import SnapshotName, pack_id_of, parse_manifest_name, parse_pack_name
from b10_store.gc.trash import read_trash
from b10_store.manifests.merge import merge, superseded_by
from b10_store.remote.folder_names import PACKS
from tests.support.packed import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from b10_store.digest import Digest
    from b10_store.format.keys import SigningKey
    from b10_store.format.manifest import Entry, Manifest
    from b10_store.format.names import Address, PackId
    from b10_store.remote.protocol import Remote


@dataclass(frozen=True, slots=True)
class Offered:
    """An artifact that a load would be given.

    Attributes:
        digest: of its bytes.
        group: the folder of its variant group; "" for none.
        in_packs: whether a save relies on it; a load looks in trash too.
        used_ms: when a save last found it in use, or when it was saved.
    """

    digest: Digest
    group: str
    in_packs: bool
    used_ms: int = 0


Offers = dict[str, Offered]
"""What one address offers, by path."""


@dataclass(frozen=True, slots=True)
class View:
    """A store at one moment.

    Attributes:
        offers: of each address that has a manifest.
        manifests: every manifest, readable or not.
        unreadable: those that are damaged.
        damaged: packs that are not what they are named by, and that a manifest references.
        doubts: each blob that lies in a damaged pack, as a manifest says, and the pack.
        missing: packs that a load relies on and that are not in packs/; what only a superseded
            manifest references may be collected.
        used: packs that a manifest references.
        files: names of all packs and manifests, wherever they lie.
        heads: how many manifests of each address no other one supersedes.
    """

    offers: dict[Address, Offers] = field(default_factory=dict["Address", Offers])
    manifests: frozenset[SnapshotName] = frozenset()
    unreadable: frozenset[SnapshotName] = frozenset()
    damaged: frozenset[PackId] = frozenset()
    doubts: frozenset[tuple[Digest, PackId]] = frozenset()
    missing: frozenset[PackId] = frozenset()
    used: frozenset[PackId] = frozenset()
    files: frozenset[str] = frozenset()
    heads: dict[Address, int] = field(default_factory=dict["Address", int])

    @property
    def doubtful(self) -> frozenset[Digest]:
        """Digests that lie in a damaged pack, as a manifest says."""
        return frozenset(digest for digest, _ in self.doubts)

    @property
    def suspicions(self) -> frozenset[tuple[Digest, PackId]]:
        """One blob of each damaged pack: a load that needed no other tells of that one."""
        return frozenset({pack: (digest, pack) for digest, pack in sorted(self.doubts)}.values())


class Decoder:
    """Takes the place of `decode_manifest`: the same bytes are decoded once."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: dict[tuple[bytes, SnapshotName], Manifest] = {}

    def __call__(
        self,
        data: bytes,
        name: SnapshotName,
        scratch: str,
        keys: tuple[SigningKey, ...] = (),
        budget: object = None,
    ) -> Manifest:
        """See `decode_manifest`; what is read here is small."""
        del budget
        assert not keys
        if (data, name) not in self._known:
            self._known[data, name] = decode_manifest(data, name, scratch)
        return self._known[data, name]


class Observer:
    """Looks at one store again and again, and remembers what it has read."""

    def __init__(self, remote: Remote, scratch: str, decode: Decoder) -> None:
        """Look at a store through a remote that hides nothing."""
        self._remote = remote
        self._decode = decode
        self._scratch = scratch
        self._decoded: dict[tuple[SnapshotName, bytes], Manifest | None] = {}
        self._intact: dict[tuple[PackId, bytes], bool] = {}

    def look(self) -> View:
        """See what is there now."""
        names = [parse_manifest_name(item) for item in self._remote.list("manifests")]
        read = {name: self._read(name) for name in names if name is not None}
        readable = [manifest for manifest in read.values() if manifest is not None]
        packs = _Packs(self)
        by_address: defaultdict[Address, list[Manifest]] = defaultdict(list)
        for manifest in readable:
            by_address[manifest.name.address].append(manifest)
        heads = {address: _heads(found) for address, found in by_address.items()}
        referenced = {pack for manifest in readable for pack in manifest.packs}
        relied_on = {pack for found in heads.values() for head in found for pack in head.packs}
        damaged = frozenset(pack for pack in referenced if packs.is_damaged(pack))
        return View(
            offers={address: packs.offered(found) for address, found in heads.items()},
            manifests=frozenset(read),
            unreadable=frozenset(name for name, manifest in read.items() if manifest is None),
            damaged=damaged,
            doubts=_doubts(readable, damaged),
            missing=frozenset(relied_on - packs.present),
            used=frozenset(referenced),
            files=frozenset({f"{name}.manifest" for name in read} | packs.files),
            heads={address: len(found) for address, found in heads.items()},
        )

    def is_intact(self, name: str, pack: PackId) -> bool:
        """Whether a file is what a pack is named by."""
        known = pack, whole_file(self._remote, name)
        if known not in self._intact:
            self._intact[known] = pack_id_of(digest_of(known[1])) == pack
        return self._intact[known]

    @property
    def remote(self) -> Remote:
        """The store."""
        return self._remote

    def _read(self, name: SnapshotName) -> Manifest | None:
        known = name, whole_file(self._remote, name.manifest_path)
        if known not in self._decoded:
            try:
                self._decoded[known] = self._decode(known[1], name, self._scratch)
            except StoreError:
                self._decoded[known] = None
        return self._decoded[known]


class _Packs:
    """The packs of a store at one moment."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        parsed = (parse_pack_name(name) for name in observer.remote.list(PACKS))
        self.present = {pack for pack in parsed if pack is not None}
        self._trashed: defaultdict[PackId, list[str]] = defaultdict(list)
        self.files = {f"{pack}.pack" for pack in self.present}
        for folder in read_trash(observer.remote):
            self.files |= folder.files
            for file in folder.files:
                pack = parse_pack_name(file)
                if pack is not None:
                    self._trashed[pack].append(f"{folder.path}/{file}")

    def offered(self, heads: Sequence[Manifest]) -> Offers:
        """What can be had of some heads; a blob counts wherever one of them has it."""
        places: defaultdict[Digest, set[PackId]] = defaultdict(set)
        for head in heads:
            for entry in head.entries.values():
                places[entry.digest].add(entry.location.pack)
        found: Offers = {}
        for identity, entry in merge(heads).entries.items():
            if any(self._can_be_read(pack) for pack in places[entry.digest]):
                in_packs = self._is_relied_on(entry)
                found[identity.path] = Offered(
                    entry.digest, identity.path[: entry.group_length], in_packs, entry.saved_ms
                )
        return found

    def is_damaged(self, pack: PackId) -> bool:
        """Whether what is in packs/ is not the pack."""
        return pack in self.present and not self._observer.is_intact(f"packs/{pack}.pack", pack)

    def _is_relied_on(self, entry: Entry) -> bool:
        pack = entry.location.pack
        return pack in self.present and not self.is_damaged(pack)

    def _can_be_read(self, pack: PackId) -> bool:
        if pack in self.present:
            return not self.is_damaged(pack)
        return any(self._observer.is_intact(name, pack) for name in self._trashed[pack])


def _heads(manifests: Iterable[Manifest]) -> list[Manifest]:
    found = list(manifests)
    gone = superseded_by(found)
    return [item for item in found if item.name.snapshot not in gone]


def _doubts(
    manifests: Iterable[Manifest], damaged: frozenset[PackId]
) -> frozenset[tuple[Digest, PackId]]:
    return frozenset(
        (entry.digest, entry.location.pack)
        for manifest in manifests
        for entry in manifest.entries.values()
        if entry.location.pack in damaged
    )
