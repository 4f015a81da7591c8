"""Read a store for `list` and `show`. Nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store import Problem, merge
from b10_transfer.errors import CacheError
from b10_transfer.operations.context import open_store
from b10_transfer.operations.listing import (
    Head,
    KindTotal,
    Listed,
    Totals,
    kinds_of,
    rows_of,
    total_bytes,
    totals_of,
)

if TYPE_CHECKING:
    from b10_store import Address, Lineage, Store
    from b10_transfer.settings import Settings

_SHARING_SECONDS = 3.0
"""The time limit, in seconds, for finding out who shares packs: a listing is useful without it."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that a store holds.

    Attributes:
        rows: see `listing.rows_of`.
        pack_bytes: the size of all referenced packs, each counted once; None: not known.
        problems: the manifest files that could not be used.
    """

    rows: tuple[Listed, ...]
    pack_bytes: int | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class ShownHead:
    """One head of an address.

    Attributes:
        filename: relative to the store.
        saved_at: when it was saved, in seconds since the epoch.
        is_signed: whether it is signed.
        artifacts: how many artifacts it lists.
        lineage: its parents, ancestors and environment.
    """

    filename: str
    saved_at: float
    is_signed: bool
    artifacts: int
    lineage: Lineage


@dataclass(frozen=True, slots=True)
class Details:
    """Everything that is stored for one address.

    Attributes:
        row: its row in the listing.
        totals: the totals of all heads, merged.
        kinds: the same totals by cache root and kind.
        heads: the newest first.
        superseded: manifests of the address that are still listed but no heads.
        problems: the manifests of the address that could not be used.
    """

    row: Listed
    totals: Totals
    kinds: tuple[KindTotal, ...]
    heads: tuple[ShownHead, ...]
    superseded: int
    problems: tuple[Problem, ...]


def list_addresses(settings: Settings) -> list[Address]:
    """Return every address that has a manifest, sorted; only names are read.

    Raises:
        OSError: the store cannot be read.
        StoreError: it is of another format version.
    """
    return open_store(settings).addresses()


def list_stored(settings: Settings, current: Address | None) -> Catalogue:
    """Describe everything in the store; only headers and lists of packs are read.

    Args:
        settings: which store, and which keys.
        current: the address of this machine; None when it is not known.

    Raises:
        OSError: the store cannot be read.
        StoreError: it is of another format version.
    """
    heads, problems = _all_heads(open_store(settings))
    return Catalogue(tuple(rows_of(heads, current)), total_bytes(heads), tuple(problems))


def show_stored(settings: Settings, address: Address, current: Address | None) -> Details | None:
    """Describe one address in full.

    Returns:
        None when nothing is stored for it.

    Raises:
        CacheError: none of its manifests can be used.
        OSError: the store cannot be read.
        StoreError: it is of another format version, or the scratch folder cannot be used.
    """
    store = open_store(settings)
    found = store.heads(address)
    if not found.listed:
        return None
    if not found.manifests:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in found.problems)
        raise CacheError(f"no manifest of {address} can be used: {reasons}")
    everything, _ = _all_heads(store)
    rows = {row.address: row for row in rows_of(everything, current)}
    if address not in rows:
        raise CacheError(f"{address} is being changed: try again")
    stored = merge(found.manifests)
    newest_first = sorted(found.manifests, key=lambda head: head.name.snapshot, reverse=True)
    return Details(
        row=rows[address],
        totals=totals_of(stored),
        kinds=tuple(kinds_of(stored)),
        heads=tuple(
            ShownHead(
                head.name.manifest_path,
                head.name.begun_at,
                head.signed,
                len(head.entries),
                head.lineage,
            )
            for head in newest_first
        ),
        superseded=len(found.listed) - len(found.manifests) - len(found.problems),
        problems=found.problems,
    )


def _all_heads(store: Store) -> tuple[list[Head], list[Problem]]:
    """Return the heads of every address, and the problems with others."""
    listing = store.list_heads()
    problems = list(listing.problems)
    names = [item.header.name for item in listing.heads]
    sizes = store.pack_sizes(names, _SHARING_SECONDS)
    heads: list[Head] = []
    for item in listing.heads:
        known = sizes.get(item.header.name)
        if isinstance(known, Problem):
            problems.append(known)
            known = None
        heads.append(Head(item.header, item.used_at, known))
    return heads, problems
