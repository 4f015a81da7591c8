"""Reading a store to show it: what `list` and `show` tell. Nothing is changed."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store.errors import CorruptError, LimitError, StoreError, UnsupportedFormatError
from b10_store.format.manifest_file import decode_header, decode_pack_sizes
from b10_store.format.marker import check_format
from b10_store.format.names import parse_manifest_name
from b10_store.format.seal import open_prefix
from b10_store.format.sealed_file import read_sealed
from b10_store.manifests.merge import union
from b10_store.manifests.reader import ManifestReader, Problem
from b10_store.remote.folder import FolderRemote
from b10_store.remote.folder_names import MANIFESTS, TEMPORARY_MARK
from b10_store.remote.patient import PatientRemote
from b10_store.remote.protocol import read_bounded
from b10_transfer.errors import CacheError
from b10_transfer.operations.listing import (
    Head,
    KindTotal,
    Row,
    Totals,
    kinds_of,
    rows_of,
    superseded_among,
    total_bytes,
    totals_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store.format.manifest import Lineage
    from b10_store.format.manifest_file import Header
    from b10_store.format.names import Address, PackId, SnapshotName
    from b10_store.manifests.reader import Heads
    from b10_store.remote.protocol import Remote
    from b10_transfer.settings import Settings

_PARALLEL = 16
_PARALLEL_TABLES = 4
"""Fewer: what somebody planted may claim 256 MiB each."""

_HEADER_GUESS = 1 << 16
_SHARING_SECONDS = 3.0
"""How long is spent on finding out who shares what: a listing is useful without."""

_UNUSABLE = (CorruptError, LimitError, UnsupportedFormatError)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that a store holds.

    Attributes:
        rows: see `catalogue.rows_of`.
        pack_bytes: size of all packs that are referenced, each counted once; None: not known.
        problems: files among the manifests that could not be used.
    """

    rows: tuple[Row, ...]
    pack_bytes: int | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class ShownHead:
    """One head of an address.

    Attributes:
        filename: relative to the store.
        saved_at: when it was saved, in seconds since the epoch.
        is_signed: whether it is signed.
        artifacts: how many it lists.
        lineage: its parents, ancestors and environment.
    """

    filename: str
    saved_at: float
    is_signed: bool
    artifacts: int
    lineage: Lineage


@dataclass(frozen=True, slots=True)
class Shown:
    """What is stored for one address, in full.

    Attributes:
        row: as in the listing.
        totals: of all heads, united.
        kinds: likewise, by cache root and kind.
        heads: the newest first.
        superseded: manifests of the address that are still listed and no head.
        problems: its manifests that could not be used.
    """

    row: Row
    totals: Totals
    kinds: tuple[KindTotal, ...]
    heads: tuple[ShownHead, ...]
    superseded: int
    problems: tuple[Problem, ...]


def list_addresses(settings: Settings) -> list[Address]:
    """Every environment key and namespace that has a manifest, by their names alone; sorted.

    Raises:
        OSError: the store cannot be read.
        StoreError: it is of another format version.
    """
    remote = PatientRemote(FolderRemote(settings.store))
    check_format(remote)
    return sorted({name.address for name in ManifestReader(remote, settings.scratch, ()).names()})


def list_stored(settings: Settings, current: Address | None) -> Catalogue:
    """Look at everything in the store, by headers and tables of packs alone.

    Args:
        settings: which store, and which keys.
        current: the address of this machine, where that is known.

    Raises:
        OSError: the store cannot be read.
        StoreError: it is of another format version.
    """
    heads, problems = _Reading(settings).all_heads()
    return Catalogue(tuple(rows_of(heads, current)), total_bytes(heads), tuple(problems))


def show_stored(settings: Settings, address: Address, current: Address | None) -> Shown | None:
    """Look at one address in full.

    Returns:
        None when nothing is stored for it.

    Raises:
        CacheError: none of its manifests can be used.
        OSError: the store cannot be read.
        StoreError: it is of another format version, or the scratch folder cannot be used.
    """
    reading = _Reading(settings)
    found = reading.heads(address)
    if not found.listed:
        return None
    if not found.manifests:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in found.problems)
        raise CacheError(f"no manifest of {address} can be used: {reasons}")
    everything, _ = reading.all_heads()
    rows = {row.address: row for row in rows_of(everything, current)}
    if address not in rows:
        raise CacheError(f"{address} is being changed: try again")
    stored = union(found.manifests)
    newest_first = sorted(found.manifests, key=lambda head: head.name.snapshot, reverse=True)
    return Shown(
        row=rows[address],
        totals=totals_of(stored),
        kinds=tuple(kinds_of(stored)),
        heads=tuple(
            ShownHead(
                head.name.manifest_path,
                int(head.name.snapshot[:13]) / 1000,
                head.signed,
                len(head.entries),
                head.lineage,
            )
            for head in newest_first
        ),
        superseded=len(found.listed) - len(found.manifests) - len(found.problems),
        problems=found.problems,
    )


@dataclass(frozen=True, slots=True)
class _ReadHead:
    """A header, and what else came with it."""

    header: Header
    signed: bool
    used_at: float


class _Reading:
    def __init__(self, settings: Settings) -> None:
        self._remote: Remote = PatientRemote(FolderRemote(settings.store))
        self._scratch = settings.scratch
        self._keys = settings.signing_keys

    def heads(self, address: Address) -> Heads:
        """The heads of one address, verified."""
        check_format(self._remote)
        return ManifestReader(self._remote, self._scratch, self._keys).heads(address)

    def all_heads(self) -> tuple[list[Head], list[Problem]]:
        """The heads of every address, and what was not usable."""
        check_format(self._remote)
        by_address: defaultdict[Address, list[SnapshotName]] = defaultdict(list)
        problems: list[Problem] = []
        for file in sorted(self._remote.list(MANIFESTS)):
            name = parse_manifest_name(file)
            if name is not None:
                by_address[name.address].append(name)
            elif TEMPORARY_MARK not in file:
                problems.append(Problem(f"{MANIFESTS}/{file}", "is no manifest by its name"))
        read: list[_ReadHead] = []
        with ThreadPoolExecutor(_PARALLEL, "b10-headers") as pool:
            for found, wrong in pool.map(self._read_address, by_address.values()):
                read += found
                problems += wrong
        sizes = self._sizes_of([item.header for item in read])
        heads: list[Head] = []
        for item in read:
            known = sizes.get(item.header.name)
            if isinstance(known, Problem):
                problems.append(known)
                known = None
            heads.append(Head(item.header, item.signed, item.used_at, known))
        return heads, problems

    def _read_address(self, names: Sequence[SnapshotName]) -> tuple[list[_ReadHead], list[Problem]]:
        """The heads of one address: normally one file is read."""
        found: list[_ReadHead] = []
        problems: list[Problem] = []
        for name in sorted(names, key=lambda name: name.snapshot, reverse=True):
            if name.snapshot in superseded_among(item.header for item in found):
                continue
            try:
                found.append(self._read_head(name))
            except FileNotFoundError:
                continue  # superseded since the listing
            except (*_UNUSABLE, OSError) as error:
                problems.append(Problem(name.manifest_path, str(error)))
        return found, problems

    def _read_head(self, name: SnapshotName) -> _ReadHead:
        path = name.manifest_path
        data = read_bounded(self._remote, path, _HEADER_GUESS)
        prefix = open_prefix(data, self._keys)
        needed = prefix.size + prefix.header_length
        if len(data) == _HEADER_GUESS < needed:
            data = read_bounded(self._remote, path, needed)
        _, header = decode_header(data, name, self._keys)
        return _ReadHead(header, prefix.signed, self._remote.stat(path).mtime)

    def _sizes_of(
        self, headers: Sequence[Header]
    ) -> dict[SnapshotName, dict[PackId, int] | Problem]:
        """The packs of each manifest, or why a load could not use it, as far as there is time."""
        found: dict[SnapshotName, dict[PackId, int] | Problem] = {}
        pool = ThreadPoolExecutor(_PARALLEL_TABLES, "b10-tables")
        try:
            futures = {header.name: pool.submit(self._read_sizes, header) for header in headers}
            wait(futures.values(), timeout=_SHARING_SECONDS)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for name, future in futures.items():
            if future.done() and not future.cancelled():
                try:
                    found[name] = future.result()
                except _UNUSABLE as error:
                    found[name] = Problem(name.manifest_path, str(error))
                except (StoreError, OSError):
                    continue  # the scratch folder, or a file that is superseded by now
        return found

    def _read_sizes(self, header: Header) -> dict[PackId, int]:
        data = read_sealed(self._remote, header.name.manifest_path, self._keys)
        return decode_pack_sizes(data, header.name, self._scratch, self._keys)
