"""The content of the store for `doctor`: its environments, and who signed what.

Manifests are read one after another for a limited time, the most telling ones first.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store import CorruptError, Damage, Seal, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b10_store import Address, Header, Problem, SnapshotName, Store


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest, as far as its first bytes describe it.

    Attributes:
        name: its name.
        header: None when it cannot be read.
        seal: None when it cannot be told.
        error: why it cannot be read.
    """

    name: SnapshotName
    header: Header | None
    seal: Seal | None
    error: Exception | None = None


@dataclass(slots=True)
class Stored:
    """The content of a store, as far as it was read.

    Attributes:
        manifests: the manifests that were read, or could not be.
        listed: how many there are.
        has_key: whether this host has a signing key.
    """

    manifests: list[StoredManifest] = field(default_factory=list[StoredManifest])
    listed: int = 0
    has_key: bool = False

    @property
    def refused(self) -> list[StoredManifest]:
        """The manifests that this host does not believe."""
        wrong = {Seal.PLAIN, Seal.FOREIGN} if self.has_key else set[Seal]()
        return [item for item in self.manifests if item.seal in wrong]

    @property
    def damaged(self) -> list[StoredManifest]:
        """The manifests that cannot be read."""
        return [item for item in self.manifests if item.header is None]

    def note_problems(self, problems: Iterable[Problem]) -> None:
        """Add the problems that were found when manifests were read in full."""
        wrong = {item.name: item for item in problems if item.damage is not Damage.MISSING}
        for place, item in enumerate(self.manifests):
            found = wrong.get(item.name.manifest_path)
            if found is not None and item.header is not None and item not in self.refused:
                error = CorruptError(found.reason) if found.was_read else OSError(found.reason)
                self.manifests[place] = StoredManifest(item.name, None, item.seal, error)

    def newest(self) -> list[Header]:
        """Return the newest usable manifest of each address."""
        refused = {item.name for item in self.refused}
        found: dict[Address, Header] = {}
        for item in sorted(self.manifests, key=lambda item: item.name.snapshot):
            if item.header is not None and item.name not in refused:
                found[item.name.address] = item.header
        return list(found.values())


def read_stored(store: Store, own: Address, seconds: float) -> Stored:
    """Read the first bytes of the manifests of a store.

    Args:
        store: with the keys of this host.
        own: the address whose manifests are read first.
        seconds: after this long no further manifest is begun.

    Raises:
        OSError: the manifests cannot be listed.
    """
    deadline = time.monotonic() + seconds
    names = _by_interest(store.names(), own)
    stored = Stored(listed=len(names), has_key=store.has_keys)
    for name in names:
        if time.monotonic() > deadline:
            break
        try:
            header, seal = store.judge_header(name)
            stored.manifests.append(StoredManifest(name, header, seal))
        except FileNotFoundError:
            # It was superseded meanwhile.
            stored.listed -= 1
        except (OSError, StoreError) as error:
            stored.manifests.append(StoredManifest(name, None, None, error))
    return stored


def _by_interest(names: Iterable[SnapshotName], own: Address) -> list[SnapshotName]:
    """Sort: this host's own, the newest of each address, the rest; the newest first in each."""
    newest_first = sorted(names, key=lambda name: name.snapshot, reverse=True)
    firsts = {name.address: name for name in reversed(newest_first)}
    return sorted(
        newest_first, key=lambda name: (name.address != own, firsts[name.address] != name)
    )
