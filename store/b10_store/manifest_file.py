"""Manifests as files: a JSON header and an LMDB database, sealed.

LMDB's documentation (lmdb.h, "Caveats") forbids databases on remote filesystems, and a database cut
short kills the process with SIGBUS once it is mapped. So a database is built and opened only in a
private local file, and only from bytes whose digest was verified; on the shared folder it is an
opaque, sealed body.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import lmdb
import zstandard

from b10_store import envelope
from b10_store.digest import digest_from_bytes
from b10_store.errors import (
    CorruptError,
    LimitError,
    NoSpaceError,
    StoreError,
    UnsupportedFormatError,
)
from b10_store.frame import FrameTable
from b10_store.layout import (
    FORMAT_VERSION,
    Address,
    PackId,
    SnapshotName,
    pack_id_of,
    parse_snapshot_id,
)
from b10_store.manifest import (
    Entry,
    Identity,
    Lineage,
    Location,
    Manifest,
    Pack,
    Summary,
    check_manifest,
    summarize,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from b10_store.envelope import SigningKey

RAW_LIMIT = 512 << 20
"""Largest database that is unpacked, in bytes."""

_ROW = struct.Struct(">Q")
_PACK = struct.Struct("<32sQ")
_ENTRY = struct.Struct("<32sQIQQqIHHHB")
_EXECUTABLE = 1
_HAS_MTIME = 2
_BYTE_ORDER = "little-endian, 64 bit"
_UNREADABLE_HEADER = (
    *(ValueError, OverflowError, KeyError, TypeError, AttributeError),
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Header:
    """What can be known of a manifest without its body."""

    name: SnapshotName
    lineage: Lineage
    summary: Summary
    raw_length: int


def encode_manifest(manifest: Manifest, scratch: str, key: SigningKey | None = None) -> bytes:
    """The sealed file of a manifest.

    Args:
        manifest: what to write; must be consistent.
        scratch: a local folder for the database while it is built.
        key: seals the file with a MAC, when given.

    Raises:
        CorruptError, LimitError: the manifest is not consistent.
        NoSpaceError: the scratch folder is full.
        StoreError, OSError: it cannot take the database.
    """
    check_manifest(manifest)
    try:
        raw = _build_database(manifest, scratch)
    except lmdb.DiskError as error:
        raise NoSpaceError(f"the work folder {scratch}: {error}") from error
    except lmdb.Error as error:
        raise StoreError(f"the manifest cannot be built in {scratch}: {error}") from error
    body = zstandard.ZstdCompressor(level=3).compress(raw)
    header = {
        "format": FORMAT_VERSION,
        "environment_key": manifest.address.environment_key,
        "namespace": manifest.address.namespace,
        "snapshot": manifest.name.snapshot,
        "parents": list(manifest.lineage.parents),
        "ancestors": list(manifest.lineage.ancestors),
        "environment": [list(pair) for pair in manifest.lineage.environment],
        "summary": asdict(summarize(manifest)),
        "database": _BYTE_ORDER,
        "raw_length": len(raw),
    }
    return envelope.seal(json.dumps(header, separators=(",", ":")).encode(), body, key)


def decode_header(
    data: bytes, name: SnapshotName, keys: tuple[SigningKey, ...] = ()
) -> tuple[envelope.Prefix, Header]:
    """Verify and read the header of a sealed manifest.

    Args:
        data: the file, or at least its prefix and header.
        name: what the file is called; the header must agree, so that none passes for another.
        keys: see `envelope.open_prefix`.

    Raises:
        CorruptError, LimitError: damaged, not of this name, or not sealed with one of the keys.
        UnsupportedFormatError: of another format version.
    """
    prefix = envelope.open_prefix(data, keys)
    header = _parse_header(envelope.open_header(prefix, data))
    if header.name != name:
        raise CorruptError(f"it was written as {header.name}")
    return prefix, header


def decode_manifest(
    data: bytes, name: SnapshotName, scratch: str, keys: tuple[SigningKey, ...] = ()
) -> Manifest:
    """Verify and read a sealed manifest.

    Raises:
        CorruptError, LimitError, UnsupportedFormatError: as `decode_header`, or inconsistent.
        OSError: the scratch folder cannot take the database.
    """
    prefix, header = decode_header(data, name, keys)
    raw = _unpack(envelope.open_body(prefix, data), header.raw_length)
    try:
        packs, entries = _read_database(raw, scratch)
    except (lmdb.Error, struct.error, UnicodeDecodeError, ValueError, IndexError) as error:
        raise CorruptError(f"its database cannot be read: {error}") from error
    manifest = Manifest(name, header.lineage, packs, entries)
    check_manifest(manifest)
    return manifest


def _parse_header(data: bytes) -> Header:
    try:
        fields: dict[str, Any] = json.loads(data)
        if fields["format"] != FORMAT_VERSION or fields["database"] != _BYTE_ORDER:
            raise UnsupportedFormatError(
                f"a manifest of format {fields['format']!r} ({fields['database']!r}); "
                f"this release reads format {FORMAT_VERSION} ({_BYTE_ORDER})"
            )
        return Header(
            name=_parse_name(fields),
            lineage=Lineage(
                parents=tuple(parse_snapshot_id(text) for text in fields["parents"]),
                ancestors=tuple(parse_snapshot_id(text) for text in fields["ancestors"]),
                environment=tuple((str(key), str(value)) for key, value in fields["environment"]),
            ),
            summary=Summary(**{key: int(value) for key, value in fields["summary"].items()}),
            raw_length=int(fields["raw_length"]),
        )
    except _UNREADABLE_HEADER as error:
        raise CorruptError(f"its header cannot be read: {error!r}") from error


def _parse_name(fields: Mapping[str, Any]) -> SnapshotName:
    address = Address(str(fields["environment_key"]), str(fields["namespace"]))
    return SnapshotName(address, parse_snapshot_id(str(fields["snapshot"])))


def _unpack(body: bytes, raw_length: int) -> bytes:
    if not 0 < raw_length <= RAW_LIMIT:
        raise LimitError(f"a database of {raw_length} bytes")
    try:
        if zstandard.get_frame_parameters(body).content_size != raw_length:
            raise CorruptError("its database has another length than its header says")
        return zstandard.ZstdDecompressor().decompress(
            body, max_output_size=raw_length, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise CorruptError(f"its database cannot be unpacked: {error}") from error


def _build_database(manifest: Manifest, scratch: str) -> bytes:
    rows = {pack: row for row, pack in enumerate(sorted(manifest.packs))}
    with tempfile.TemporaryDirectory(prefix="b10-manifest-", dir=scratch) as folder:
        database = lmdb.open(
            os.path.join(folder, "build"),
            map_size=_room_for(manifest),
            subdir=False,
            lock=False,
            sync=False,
            max_dbs=4,
        )
        try:
            _fill_database(database, manifest, rows)
            path = os.path.join(folder, "compact")
            with open(path, "w+b") as file:
                database.copyfd(file.fileno(), compact=True)
                file.seek(0)
                return file.read()
        finally:
            database.close()


def _room_for(manifest: Manifest) -> int:
    """Bytes that the database is sure to fit in; it takes no more than it needs.

    A character takes up to 4 bytes, and pages of which a part stays unused up to twice their rows.
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


def _decode_entry(value: memoryview, packs: list[PackId]) -> Entry:
    (
        digest,
        size,
        row,
        offset,
        saved_ms,
        mtime_ns,
        generation,
        group_length,
        root_length,
        requirement_length,
        flags,
    ) = _ENTRY.unpack_from(value)
    text = bytes(value[_ENTRY.size :])
    if root_length + requirement_length >= len(text):
        raise CorruptError("an entry without a path")
    path_start = root_length + requirement_length
    return Entry(
        identity=Identity(
            text[:root_length].decode(),
            text[path_start:].decode(),
            text[root_length:path_start].decode(),
        ),
        digest=digest_from_bytes(digest),
        size=size,
        executable=bool(flags & _EXECUTABLE),
        mtime_ns=mtime_ns if flags & _HAS_MTIME else None,
        group_length=group_length,
        generation=generation,
        saved_ms=saved_ms,
        location=Location(packs[row], offset),
    )


def _read_database(raw: bytes, scratch: str) -> tuple[dict[PackId, Pack], dict[Identity, Entry]]:
    with tempfile.TemporaryDirectory(prefix="b10-manifest-", dir=scratch) as folder:
        path = os.path.join(folder, "read")
        with open(path, "wb") as file:
            file.write(raw)
        database = lmdb.open(path, readonly=True, lock=False, subdir=False, create=False, max_dbs=4)
        try:
            with database.begin(buffers=True) as transaction:
                return _read_tables(database, transaction)
        finally:
            database.close()


def _read_tables(
    database: lmdb.Environment, transaction: lmdb.Transaction
) -> tuple[dict[PackId, Pack], dict[Identity, Entry]]:
    names = (b"packs", b"frames", b"artifacts")
    packs, frames, artifacts = (database.open_db(name, transaction, create=False) for name in names)
    order: list[PackId] = []
    known: dict[PackId, Pack] = {}
    for (_, value), (_, table) in zip(
        _rows(transaction, packs), _rows(transaction, frames), strict=True
    ):
        raw_id, size = _PACK.unpack(value)
        pack = pack_id_of(digest_from_bytes(raw_id))
        order.append(pack)
        known[pack] = Pack(size, FrameTable.decode(table))
    entries: dict[Identity, Entry] = {}
    for _, value in _rows(transaction, artifacts):
        entry = _decode_entry(value, order)
        entries[entry.identity] = entry
    return known, entries


def _rows(
    transaction: lmdb.Transaction, database: lmdb._Database
) -> Iterator[tuple[memoryview, memoryview]]:
    for key, value in transaction.cursor(db=database).iternext():
        yield memoryview(key), memoryview(value)
