"""The content of a store, as rows for people and programs: pure values."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store import TOUCH_INTERVAL_SECONDS, stored_bytes
from b10_transfer.caches.artifacts import artifact_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store import Address, Entry, Header, MergedView, Pack, PackId


@dataclass(frozen=True, slots=True)
class Head:
    """A manifest that no other one supersedes, as far as a listing reads it.

    Attributes:
        header: the manifest's header.
        used_at: when its file was last changed or touched, in seconds since the epoch.
        packs: the size of each pack that it references, in bytes; None when it was not read.
    """

    header: Header
    used_at: float
    packs: Mapping[PackId, int] | None

    @property
    def saved_at(self) -> float:
        """When its save began, in seconds since the epoch, by the store's clock."""
        return self.header.name.begun_at


@dataclass(frozen=True, slots=True)
class Listed:
    """The row of one environment key and namespace.

    Attributes:
        address: the environment key and the namespace.
        is_this_environment: whether a load on this machine could use it.
        is_current: whether a load on this machine uses it: the namespace is the current one, too.
        filename: of the newest manifest, relative to the store.
        saved_at: when that manifest was saved, in seconds since the epoch.
        last_used_at: when it was last loaded, to the day, or else saved; decides about expiry.
        last_load_at: when it was last loaded; None when no load is noted. Loads within a day of the
            save are not noted.
        heads: how many manifests a load merges; the numbers below are those of the newest.
        artifacts: how many.
        raw_bytes: their size.
        stored_bytes: the compressed bytes in packs that they account for.
        shared_bytes: how many of these lie in packs that others reference, too; None: not known.
        exclusive_bytes: the size of the packs that nobody else references; None: not known.
        is_signed: whether the newest manifest is signed.
        environment: (name, value) of the environment's fields.
    """

    address: Address
    is_this_environment: bool
    is_current: bool
    filename: str
    saved_at: float
    last_used_at: float
    last_load_at: float | None
    heads: int
    artifacts: int
    raw_bytes: int
    stored_bytes: int
    shared_bytes: int | None
    exclusive_bytes: int | None
    is_signed: bool
    environment: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True)
class KindTotal:
    """The artifacts of one cache root and kind.

    Attributes:
        root: the name of the cache root.
        kind: see `b10_transfer.caches.artifacts.artifact_kind`.
        artifacts: how many.
        raw_bytes: their size.
        stored_bytes: compressed bytes that they account for.
    """

    root: str
    kind: str
    artifacts: int
    raw_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The content of one address, as a load would find it.

    Attributes:
        artifacts: how many.
        blobs: how many distinct blobs.
        raw_bytes: the size of the artifacts.
        blob_bytes: the size of the blobs, each counted once.
        stored_bytes: their compressed size.
        packs: how many packs they lie in.
        pack_bytes: the size of these packs, with what others have in them.
    """

    artifacts: int
    blobs: int
    raw_bytes: int
    blob_bytes: int
    stored_bytes: int
    packs: int
    pack_bytes: int


def rows_of(heads: Iterable[Head], current: Address | None) -> list[Listed]:
    """Return a row for each address; the last saved comes first.

    Args:
        heads: of all addresses, at least one of each.
        current: the address of this machine, where that is known.
    """
    by_address: defaultdict[Address, list[Head]] = defaultdict(list)
    for head in heads:
        by_address[head.header.name.address].append(head)
    referrers = _referrers(by_address)
    rows = [_row(group, referrers, current) for group in by_address.values()]
    return sorted(rows, key=lambda row: (-row.saved_at, row.address))


def total_bytes(heads: Iterable[Head]) -> int | None:
    """Return the size of all referenced packs; None when not all of them are known."""
    packs: dict[PackId, int] = {}
    for head in heads:
        if head.packs is None:
            return None
        packs.update(head.packs)
    return sum(packs.values())


def kinds_of(stored: MergedView) -> list[KindTotal]:
    """Return the artifacts by cache root and kind; most bytes in the store come first."""
    groups: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in stored.entries.values():
        groups[entry.identity.root, artifact_kind(entry.identity.path)].append(entry)
    found = [
        KindTotal(root, kind, len(entries), _raw(entries), stored_bytes(entries, stored.packs))
        for (root, kind), entries in groups.items()
    ]
    return sorted(found, key=lambda item: (-item.stored_bytes, -item.raw_bytes, item.root))


def totals_of(stored: MergedView) -> Totals:
    """Return the totals of an address."""
    entries = list(stored.entries.values())
    blobs = {entry.digest: entry.size for entry in entries}
    used: dict[PackId, Pack] = {
        entry.location.pack: stored.packs[entry.location.pack] for entry in entries
    }
    return Totals(
        artifacts=len(entries),
        blobs=len(blobs),
        raw_bytes=_raw(entries),
        blob_bytes=sum(blobs.values()),
        stored_bytes=stored_bytes(entries, stored.packs),
        packs=len(used),
        pack_bytes=sum(pack.size for pack in used.values()),
    )


def _raw(entries: Iterable[Entry]) -> int:
    return sum(entry.size for entry in entries)


def _referrers(
    by_address: Mapping[Address, Sequence[Head]],
) -> Mapping[PackId, set[Address]] | None:
    """Return who references each pack; None when that is not known for all."""
    referrers: defaultdict[PackId, set[Address]] = defaultdict(set)
    for address, group in by_address.items():
        for head in group:
            if head.packs is None:
                return None
            for pack in head.packs:
                referrers[pack].add(address)
    return referrers


def _row(
    group: Sequence[Head],
    referrers: Mapping[PackId, set[Address]] | None,
    current: Address | None,
) -> Listed:
    newest = max(group, key=lambda head: head.header.name.snapshot)
    name, summary = newest.header.name, newest.header.summary
    used_at = max(head.used_at for head in group)
    last_load = max(
        (load for head in group if (load := _noted_load(head)) is not None), default=None
    )
    exclusive, shared = _shares(group, summary.stored_bytes, referrers)
    environment_key = name.address.environment_key
    return Listed(
        address=name.address,
        is_this_environment=current is not None and environment_key == current.environment_key,
        is_current=name.address == current,
        filename=name.manifest_path,
        saved_at=newest.saved_at,
        last_used_at=used_at,
        last_load_at=last_load,
        heads=len(group),
        artifacts=summary.artifacts,
        raw_bytes=summary.raw_bytes,
        stored_bytes=summary.stored_bytes,
        shared_bytes=shared,
        exclusive_bytes=exclusive,
        is_signed=newest.header.signed,
        environment=dict(newest.header.lineage.environment),
    )


def _noted_load(head: Head) -> float | None:
    """Return when the last load was noted. Only loads touch a manifest, a day after its change."""
    return head.used_at if head.used_at - head.saved_at >= TOUCH_INTERVAL_SECONDS else None


def _shares(
    group: Sequence[Head], stored: int, referrers: Mapping[PackId, set[Address]] | None
) -> tuple[int | None, int | None]:
    """Return the bytes in exclusive packs, and how many of `stored` lie in shared ones."""
    if referrers is None:
        return None, None
    packs = {pack: size for head in group for pack, size in (head.packs or {}).items()}
    own = sum(size for pack, size in packs.items() if len(referrers[pack]) == 1)
    # Without shared packs nothing is shared, even if some bytes of the exclusive packs are unused.
    others = sum(packs.values()) - own
    return own, min(others, max(0, stored - own))
