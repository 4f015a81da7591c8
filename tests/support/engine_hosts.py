"""Hosts that save and load with the engine alone, through any `Remote`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from b10_store.format.manifest import Identity
from b10_store.manifests.merge import merge
from b10_store.save.request import SaveOutcome, SaveRequest
from b10_store.store import Store
from b10_store.tree.placement import LocalNames, RestoreTarget
from b10_store.tree.scan import LocalFile, hash_files
from b10_store.tree.walk import walk
from tests.support.cache_trees import write_tree
from tests.support.staged import files_of, make_root, unwatched
from tests.support.values import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from b10_store.digest import Digest
    from b10_store.format.keys import SigningKey
    from b10_store.format.names import Address, PackId
    from b10_store.load import LoadOutcome
    from b10_store.manifests.merge import MergedView
    from b10_store.manifests.reader import Heads
    from b10_store.remote.protocol import Remote
    from b10_store.tree.scan import Scanned

ENVIRONMENT = (("torch", "2.9.0"), ("gpu", "H200"))


@dataclass
class EngineHost:
    """One host: a cache root, a work folder, and what it remembers.

    Attributes:
        remote: the store.
        folder: everything local.
        address: what it saves and loads.
        key: seals its manifests, and those of others must be sealed with it.
        loaded: what it and the store last had in common.
        distrusted: blobs that a load could not have, and the pack of each.
        group: the folder whose files are variants of one thing; "" for none.
    """

    remote: Remote
    folder: Path
    address: Address = ADDRESS
    key: SigningKey | None = None
    loaded: dict[Identity, Digest] = field(default_factory=dict[Identity, "Digest"])
    distrusted: set[tuple[Digest, PackId]] = field(default_factory=set["tuple[Digest, PackId]"])
    group: str = ""

    def __post_init__(self) -> None:
        """Make the folders."""
        self.root = make_root(self.folder / "root")
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir()

    def store(self) -> Store:
        """The store, for one operation."""
        keys = () if self.key is None else (self.key,)
        return Store(self.remote, str(self.scratch), keys)

    def write(self, tree: Mapping[str, bytes]) -> EngineHost:
        """Put files into the cache root, as a compiler would."""
        write_tree(self.root, tree)
        return self

    def tree(self) -> dict[str, bytes]:
        """The files in the cache root."""
        return files_of(self.root)

    def heads(self) -> Heads:
        """The heads as it reads them now."""
        return self.store().heads(self.address)

    def stored(self) -> MergedView:
        """What it would load."""
        return merge(self.heads().manifests)

    def artifacts(self) -> list[Scanned]:
        """What is here, hashed."""
        found = walk(str(self.root), lambda path: path != ".b10_transfer")
        files = [
            LocalFile(
                Identity("inductor", item.path),
                item,
                group_length=len(self.group) if item.path.startswith(f"{self.group}/") else 0,
            )
            for item in found
        ]
        return hash_files(files, {}, workers=2)[0]

    def request(self, **changes: Any) -> SaveRequest:
        """What a save of it asks for."""
        request = SaveRequest(
            address=self.address,
            environment=ENVIRONMENT,
            artifacts=self.artifacts(),
            size_limit=1 << 30,
            slots=50,
            workers=2,
            scratch=str(self.scratch),
            loaded=dict(self.loaded),
            distrusted=frozenset(self.distrusted),
        )
        return dataclasses.replace(request, **changes)

    def save(self, **changes: Any) -> SaveOutcome:
        """Save, and remember what is stored as it is here."""
        request = self.request(**changes)
        outcome = self.store().save(request)
        self.distrusted = {item for item in self.distrusted if item[1] not in outcome.sound_packs}
        self._remember({item.identity: item.digest for item in request.artifacts})
        return outcome

    def load(self) -> LoadOutcome:
        """Bring what is not here yet."""
        store = self.store()
        heads = store.heads(self.address)
        stored = merge(heads.manifests)
        names = LocalNames(str(self.root))
        placements = [
            RestoreTarget(item, str(self.root))
            for item in stored.entries.values()
            if not names.has(item.identity.path)
        ]
        outcome = store.load(self.address, placements, stored.packs, watch=unwatched, workers=2)
        store.note_use(heads)
        self.distrusted |= set(outcome.damaged.items())
        for placement, _ in outcome.placed.placed:
            self.loaded[placement.entry.identity] = placement.entry.digest
        return outcome

    def _remember(self, here: Mapping[Identity, Digest]) -> None:
        for identity, item in self.stored().entries.items():
            if here.get(identity) == item.digest:
                self.loaded[identity] = item.digest


class Hosts:
    """As many hosts around one store as a test asks for."""

    def __init__(self, folder: Path, remote: Remote) -> None:
        """None yet."""
        self._folder, self._remote = folder, remote
        self._count = 0

    def new(
        self,
        remote: Remote | None = None,
        *,
        address: Address = ADDRESS,
        key: SigningKey | None = None,
    ) -> EngineHost:
        """Another host; it may see the store through a remote of its own."""
        self._count += 1
        return EngineHost(remote or self._remote, self._folder / f"host{self._count}", address, key)
