"""The body of a manifest: packs and entries in an LMDB database.

LMDB's documentation (lmdb.h, "Caveats") forbids databases on remote filesystems, and a database cut
short kills the process with SIGBUS once it is mapped. So a database is built and opened only in a
private local file, and only from bytes whose digest was verified; on the shared folder it is an
opaque, sealed body.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import struct
import tempfile
from typing import IO, TYPE_CHECKING

import lmdb

from b10_store.collector import paused_collector
from b10_store.digest import digest_from_bytes
from b10_store.errors import OUT_OF_SPACE, CorruptError, LimitError, NoSpaceError, StoreError
from b10_store.format.frame import FRAME_LIMIT, FRAME_ROW_SIZE, FrameTable
from b10_store.format.lmdb_pages import check_pages
from b10_store.format.manifest import (
    ENTRY_LIMIT,
    Entry,
    Identity,
    Location,
    Manifest,
    Pack,
)
from b10_store.format.names import FORMAT_VERSION, PackId, pack_id_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from b10_store.format.reading_budget import ReadingBudget

_ROW = struct.Struct(">Q")
_PACK = struct.Struct("<32sQ")
_ENTRY = struct.Struct("<32sQIQQqIHHHB")
_EXECUTABLE = 1
_HAS_MTIME = 2
_LITTLE_ROOM = 1 << 20


def build_database(manifest: Manifest, scratch: str) -> bytes:
    """The compact database of a manifest's packs and entries.

    Args:
        manifest: what to write.
        scratch: a local folder.

    Raises:
        NoSpaceError: the scratch folder is full.
        StoreError: it cannot take the database.
    """
    rows = {pack: row for row, pack in enumerate(sorted(manifest.packs))}
    with (
        _scratch_errors(scratch, 2 * _room_for(manifest)),
        _private_file(scratch) as (_, build),
        _private_file(scratch) as (compact, _),
    ):
        database = lmdb.open(
            build, map_size=_room_for(manifest), subdir=False, lock=False, sync=False, max_dbs=4
        )
        try:
            _fill_database(database, manifest, rows)
            database.copyfd(compact.fileno(), compact=True)
        finally:
            database.close()
        compact.seek(0)
        return compact.read()


def read_database(
    raw: bytes, scratch: str, budget: ReadingBudget | None = None
) -> tuple[dict[PackId, Pack], dict[Identity, Entry]]:
    """Packs and entries of a database whose bytes were verified.

    Args:
        raw: the database.
        scratch: a local folder.
        budget: of the operation; by default there is none.

    Raises:
        BudgetError: it holds more than the budget allows.
        CorruptError: it is not the database of a manifest.
        LimitError: it has more entries or frames than are accepted.
        NoSpaceError: the scratch folder is full.
        StoreError: it cannot take the database.
    """
    with _opened(raw, scratch) as (database, transaction), paused_collector():
        return _read_tables(database, transaction, budget)


def read_pack_sizes(raw: bytes, scratch: str) -> dict[PackId, int]:
    """The size of each pack in a database whose bytes were verified, without reading its entries.

    Raises:
        CorruptError, LimitError, NoSpaceError, StoreError: see `read_database`.
    """
    with _opened(raw, scratch) as (database, transaction):
        packs = database.open_db(b"packs", transaction, create=False)
        return dict(_decode_pack(value) for _, value in _rows(transaction, packs))


@contextlib.contextmanager
def _opened(raw: bytes, scratch: str) -> Generator[tuple[lmdb.Environment, lmdb.Transaction]]:
    """Open a database from a private file; what is wrong with it is raised as CorruptError."""
    check_pages(raw, max(ENTRY_LIMIT, FRAME_LIMIT))
    with _scratch_errors(scratch, len(raw)), _private_file(scratch) as (file, path):
        file.write(raw)
        file.flush()
        try:
            database = lmdb.open(
                path, readonly=True, lock=False, subdir=False, create=False, max_dbs=4
            )
            try:
                with database.begin(buffers=True) as transaction:
                    yield database, transaction
            finally:
                database.close()
        except (lmdb.Error, struct.error, UnicodeDecodeError, ValueError, IndexError) as error:
            raise CorruptError(f"its database cannot be read: {error}") from error


@contextlib.contextmanager
def _private_file(scratch: str) -> Generator[tuple[IO[bytes], str]]:
    """An empty file of ours alone and a path to open it by.

    Where the system can, the file has no name, so that a killed process leaves nothing behind.
    """
    if os.path.isdir("/proc/self/fd"):
        with tempfile.TemporaryFile(dir=scratch) as file:
            yield file, f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.TemporaryDirectory(prefix="b10-manifest-", dir=scratch) as folder:
            path = os.path.join(folder, "database")
            with open(path, "w+b") as file:
                yield file, path


@contextlib.contextmanager
def _scratch_errors(scratch: str, needed: int) -> Generator[None]:
    try:
        yield
    except (OSError, lmdb.Error) as error:
        full = isinstance(error, lmdb.DiskError) or (
            isinstance(error, OSError) and error.errno in OUT_OF_SPACE
        )
        with contextlib.suppress(OSError):
            full = full or shutil.disk_usage(scratch).free < _LITTLE_ROOM
        if full:
            raise NoSpaceError("the work folder is full", scratch, needed) from error
        raise StoreError(f"the work folder {scratch} cannot be used: {error}") from error


def _room_for(manifest: Manifest) -> int:
    """Return bytes that the database is sure to fit in; it takes no more than it needs.

    A character takes up to 4 bytes, and pages that are partly unused up to twice their rows.
    """
    artifacts = sum(4 * sum(map(len, identity)) + _ENTRY.size + 64 for identity in manifest.entries)
    packs = sum(8 * len(pack.frames.sizes) + 4096 for pack in manifest.packs.values())
    return (4 << 20) + 2 * (artifacts + packs)


def _fill_database(
    database: lmdb.Environment, manifest: Manifest, rows: Mapping[PackId, int]
) -> None:
    meta, packs, frames, artifacts = (
        database.open_db(name) for name in (b"meta", b"packs", b"frames", b"artifacts")
    )
    with database.begin(write=True) as transaction:
        transaction.put(b"format", str(FORMAT_VERSION).encode(), db=meta)
        for pack, row in rows.items():
            known = manifest.packs[pack]
            key = _ROW.pack(row)
            transaction.put(key, _PACK.pack(bytes.fromhex(pack), known.size), db=packs, append=True)
            transaction.put(key, known.frames.encode(), db=frames, append=True)
        for row, identity in enumerate(sorted(manifest.entries)):
            value = _encode_entry(manifest.entries[identity], rows)
            transaction.put(_ROW.pack(row), value, db=artifacts, append=True)


def _encode_entry(entry: Entry, rows: Mapping[PackId, int]) -> bytes:
    root, requirement, path = (
        text.encode()
        for text in (entry.identity.root, entry.identity.requirement, entry.identity.path)
    )
    flags = (_EXECUTABLE if entry.executable else 0) | (0 if entry.mtime_ns is None else _HAS_MTIME)
    fixed = _ENTRY.pack(
        bytes.fromhex(entry.digest),
        entry.size,
        rows[entry.location.pack],
        entry.location.offset,
        entry.saved_ms,
        entry.mtime_ns or 0,
        entry.generation,
        entry.group_length,
        len(root),
        len(requirement),
        flags,
    )
    return b"".join((fixed, root, requirement, path))


def _decode_pack(value: memoryview) -> tuple[PackId, int]:
    raw_id, size = _PACK.unpack(value)
    return pack_id_of(digest_from_bytes(raw_id)), size


def _decode_entries(values: Iterable[bytes], packs: Sequence[PackId]) -> Iterator[Entry]:
    """Decode rows of artifacts: one loop, as a manifest has many thousands of them.

    Raises:
        CorruptError, IndexError, UnicodeDecodeError, struct.error: a row is not as it should be.
    """
    start, unpack = _ENTRY.size, _ENTRY.unpack_from
    # Few roots and requirements stand in many rows, and share their strings.
    known: dict[tuple[bytes, int], tuple[str, str]] = {}
    for value in values:
        digest, size, row, offset, saved_ms, mtime_ns, generation, group, root, needs, flags = (
            unpack(value)
        )
        path = start + root + needs
        if path >= len(value):
            raise CorruptError("an entry without a path")
        names = known.get(key := (value[start:path], root))
        if names is None:
            names = known[key] = (key[0][:root].decode(), key[0][root:].decode())
        yield Entry(
            Identity(names[0], value[path:].decode(), names[1]),
            digest_from_bytes(digest),
            size,
            bool(flags & _EXECUTABLE),
            mtime_ns if flags & _HAS_MTIME else None,
            group,
            generation,
            saved_ms,
            Location(packs[row], offset),
        )


def _read_tables(
    database: lmdb.Environment, transaction: lmdb.Transaction, budget: ReadingBudget | None
) -> tuple[dict[PackId, Pack], dict[Identity, Entry]]:
    names = (b"packs", b"frames", b"artifacts")
    packs, frames, artifacts = (database.open_db(name, transaction, create=False) for name in names)
    order: list[PackId] = []
    known: dict[PackId, Pack] = {}
    frame_count = 0
    for (_, value), (_, table) in zip(
        _rows(transaction, packs), _rows(transaction, frames), strict=True
    ):
        pack, size = _decode_pack(value)
        # Counted before they are made: small files can hold very many.
        frame_count += len(table) // FRAME_ROW_SIZE
        if max(frame_count, len(order) + 1) > FRAME_LIMIT:
            raise LimitError(f"more than {FRAME_LIMIT} packs or frames of packs")
        order.append(pack)
        known[pack] = Pack(size, FrameTable.decode(table))
    count = transaction.stat(artifacts)["entries"]
    if budget is not None:
        budget.take("artifacts", count)
    values = transaction.cursor(db=artifacts).iternext(keys=False, values=True)
    rows = _decode_entries(map(bytes, itertools.islice(values, count)), order)
    entries = {entry.identity: entry for entry in rows}
    if next(values, None) is not None:
        raise CorruptError("it holds more artifacts than it says")
    return known, entries


def _rows(
    transaction: lmdb.Transaction, database: lmdb._Database
) -> Iterator[tuple[memoryview, memoryview]]:
    for key, value in transaction.cursor(db=database).iternext():
        yield memoryview(key), memoryview(value)
