"""Manifests as files: a JSON header and the database of packs and entries, sealed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import zstandard

from b10_store.errors import CorruptError, LimitError, UnsupportedFormatError
from b10_store.format.manifest import Lineage, Manifest, Summary, check_manifest, summarize
from b10_store.format.manifest_table import build_database, read_database, read_pack_sizes
from b10_store.format.names import FORMAT_VERSION, Address, SnapshotName, parse_snapshot_id
from b10_store.format.seal import Prefix, open_body, open_header, open_prefix, seal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_store.format.keys import Key
    from b10_store.format.names import PackId
    from b10_store.format.reading_budget import ReadingBudget

RAW_LIMIT = 256 << 20
"""Largest database that is unpacked, in bytes."""

_BYTE_ORDER = "little-endian, 64 bit"


@dataclass(frozen=True, slots=True)
class Header:
    """The part of a manifest that is known without its body.

    Attributes:
        name: the manifest's name.
        lineage: its parents, ancestors and environment.
        summary: how much it lists.
        raw_length: the size of its database, in bytes.
        signed: whether it is sealed with a secret key.
    """

    name: SnapshotName
    lineage: Lineage
    summary: Summary
    raw_length: int
    signed: bool = False


def encode_manifest(
    manifest: Manifest, scratch: str, key: Key | None = None, summary: Summary | None = None
) -> bytes:
    """The sealed file of a manifest.

    Args:
        manifest: what to write; must be consistent.
        scratch: a local folder for the database while it is built.
        key: vouches for the file, when given.
        summary: of the manifest, where it is known already.

    Raises:
        CorruptError, LimitError: the manifest is not consistent.
        NoSpaceError: the scratch folder is full.
        StoreError: it cannot take the database.
    """
    check_manifest(manifest)
    raw = build_database(manifest, scratch)
    body = zstandard.ZstdCompressor(level=3).compress(raw)
    header = {
        "format": FORMAT_VERSION,
        "environment_key": manifest.address.environment_key,
        "namespace": manifest.address.namespace,
        "snapshot": manifest.name.snapshot,
        "parents": list(manifest.lineage.parents),
        "ancestors": list(manifest.lineage.ancestors),
        "environment": [list(pair) for pair in manifest.lineage.environment],
        "recorded": [list(pair) for pair in manifest.lineage.recorded],
        "summary": asdict(summary or summarize(manifest)),
        "database": _BYTE_ORDER,
        "raw_length": len(raw),
    }
    return seal(json.dumps(header, separators=(",", ":")).encode(), body, key)


def decode_header(
    data: bytes, name: SnapshotName, keys: tuple[Key, ...] = ()
) -> tuple[Prefix, Header]:
    """Verify and read the header of a sealed manifest.

    Args:
        data: the file, or at least its prefix and header.
        name: what the file is called; the header must agree, so that none passes for another.
        keys: see `seal.open_prefix`.

    Raises:
        CorruptError, LimitError: damaged, not of this name, or not sealed with one of the keys.
        UnsupportedFormatError: of another format version.
    """
    prefix = open_prefix(data, keys)
    header = _parse_header(open_header(prefix, data), signed=prefix.signed)
    if header.name != name:
        raise CorruptError(f"it was written as {header.name}")
    return prefix, header


def decode_manifest(
    data: bytes,
    name: SnapshotName,
    scratch: str,
    keys: tuple[Key, ...] = (),
    budget: ReadingBudget | None = None,
) -> Manifest:
    """Verify and read a sealed manifest.

    Args:
        data: the file.
        name: see `decode_header`.
        scratch: a local folder for the database.
        keys: see `decode_header`.
        budget: of the operation; by default there is none.

    Raises:
        BudgetError: it holds more than the budget allows.
        CorruptError, LimitError, UnsupportedFormatError: as `decode_header`, or inconsistent.
        NoSpaceError, StoreError: the scratch folder cannot take the database.
    """
    prefix, header = decode_header(data, name, keys)
    body = open_body(prefix, data)
    # Before it is counted: what is refused in any case uses none of the budget, nor adds to it.
    _check_raw_length(header.raw_length)
    if budget is not None:
        budget.take("bytes", header.raw_length)
    packs, entries = read_database(_unpack(body, header.raw_length), scratch, budget)
    manifest = Manifest(
        name,
        header.lineage,
        packs,
        entries,
        signed=prefix.signed,
        signed_before=prefix.by_older_key,
    )
    check_manifest(manifest)
    return manifest


def decode_pack_sizes(
    data: bytes, name: SnapshotName, scratch: str, keys: tuple[Key, ...] = ()
) -> dict[PackId, int]:
    """The size of each pack that a sealed manifest references: far quicker than all of it.

    Raises:
        CorruptError, LimitError, UnsupportedFormatError, NoSpaceError, StoreError: as
            `decode_manifest`.
    """
    prefix, header = decode_header(data, name, keys)
    raw = _unpack(open_body(prefix, data), header.raw_length)
    return read_pack_sizes(raw, scratch)


def _parse_header(data: bytes, *, signed: bool) -> Header:
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
                environment=_parse_pairs(fields["environment"]),
                recorded=_parse_pairs(fields["recorded"]),
            ),
            summary=Summary(**{key: int(value) for key, value in fields["summary"].items()}),
            raw_length=int(fields["raw_length"]),
            signed=signed,
        )
    except (
        ValueError,
        OverflowError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise CorruptError(f"its header cannot be read: {error!r}") from error


def _parse_pairs(pairs: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    texts = tuple((str(key), str(value)) for key, value in pairs)
    for key, value in texts:
        # JSON can hold halves of characters, which no terminal and no file takes.
        (key + value).encode()
    return texts


def _parse_name(fields: Mapping[str, Any]) -> SnapshotName:
    address = Address(str(fields["environment_key"]), str(fields["namespace"]))
    return SnapshotName(address, parse_snapshot_id(str(fields["snapshot"])))


def _check_raw_length(raw_length: int) -> None:
    if not 0 < raw_length <= RAW_LIMIT:
        raise LimitError(f"a database of {raw_length} bytes")


def _unpack(body: bytes, raw_length: int) -> bytes:
    _check_raw_length(raw_length)
    try:
        if zstandard.get_frame_parameters(body).content_size != raw_length:
            raise CorruptError("its database has another length than its header says")
        return zstandard.ZstdDecompressor().decompress(
            body, max_output_size=raw_length, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise CorruptError(f"its database cannot be unpacked: {error}") from error
