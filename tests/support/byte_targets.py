"""What is fuzzed with any bytes: each reader of the engine, behind the digests that guard it.

To be started as a program, where atheris is installed: `python -m tests.support.byte_targets NAME`,
and then libFuzzer's own arguments.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from b10_store.digest import digest_of
from b10_store.errors import CorruptError, LimitError, UnsupportedFormatError
from b10_store.format.frame import compress_frame, decompress_frame
from b10_store.format.manifest_file import decode_header, encode_manifest
from b10_store.format.manifest_table import build_database, read_database
from b10_store.format.names import SnapshotName
from b10_store.format.pack_footer import Piece, encode_footer, read_footer
from b10_store.format.seal import open_body, open_header, open_prefix, seal
from b10_store.paths import check_path
from tests.support.forged_pages import Pages
from tests.support.hostile_databases import sound
from tests.support.packed import memory_store
from tests.support.values import ADDRESS, entry, manifest, pack, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REFUSED = (CorruptError, LimitError, UnsupportedFormatError)
_NAME = SnapshotName(ADDRESS, snapshot(1))
_VALUE = manifest(1, [entry(f"{at}/x") for at in range(60)], packs={1: pack(), 2: pack(frames=600)})


@dataclass(frozen=True, slots=True)
class Target:
    """Something that takes any bytes, and bytes to begin with."""

    take: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def _take_database(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        read_database(data, scratch)


def _take_header(data: bytes) -> None:
    decode_header(seal(data, b""), _NAME)


def _take_envelope(data: bytes) -> None:
    """The fields, under a seal that fits."""
    fields = data[:88]
    sealed = fields + bytes.fromhex(digest_of(fields)) + data[88:]
    prefix = open_prefix(sealed)
    open_header(prefix, sealed)
    open_body(prefix, sealed)


def _take_footer(data: bytes) -> None:
    """The two tables and their counts, under a digest that fits."""
    length = 8 + len(data) + 44
    tail = bytes.fromhex(digest_of(data)) + length.to_bytes(4, "little") + b"B10PACK1"
    remote = memory_store()
    remote.create("packs", "x.pack", [bytes(8) + data + tail])
    read_footer(remote, "packs/x.pack")


def _take_frame(data: bytes) -> None:
    raw = decompress_frame(data[4:], int.from_bytes(data[:3], "little"))
    assert len(raw) == int.from_bytes(data[:3], "little")


def _take_path(data: bytes) -> None:
    path = data.decode("utf-8", "surrogateescape")
    check_path(path)
    assert not {"", ".", ".."}.intersection(path.split("/"))
    assert "\0" not in path


def _database_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        return [build_database(_VALUE, scratch), sound(Pages())]


def _header_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        data = encode_manifest(_VALUE, scratch)
    return [open_header(open_prefix(data), data)]


def _envelope_seeds() -> list[bytes]:
    sealed = seal(b"header", b"body")
    return [sealed[:88] + sealed[120:]]


def _footer_seeds() -> list[bytes]:
    footer = encode_footer(pack(frames=3).frames, [Piece(digest_of(b"x"), 0, 1)])
    return [footer[8:-44]]


def _frame_seeds() -> list[bytes]:
    return [size.to_bytes(4, "little") + compress_frame(bytes(size)) for size in (1, 70_000)]


TARGETS: Mapping[str, Target] = {
    "database": Target(_take_database, _database_seeds),
    "header": Target(_take_header, _header_seeds),
    "envelope": Target(_take_envelope, _envelope_seeds),
    "footer": Target(_take_footer, _footer_seeds),
    "frame": Target(_take_frame, _frame_seeds),
    "path": Target(
        _take_path, lambda: [b"ab/x.py", b"../x", b".b10_transfer/x", "é/\U0001f600".encode()]
    ),
}


def main() -> None:
    """Fuzz one of them."""
    # It has no types, and no wheels for some Pythons.
    atheris: Any = importlib.import_module("atheris")
    target = TARGETS[sys.argv[1]]

    def take(data: bytes) -> None:
        try:
            target.take(data)
        except _REFUSED:
            return

    names = ("seal", "frame", "manifest_file", "lmdb_pages", "pack_footer")
    for module in (*(f"format.{name}" for name in names), "paths"):
        loaded = importlib.import_module(f"b10_store.{module}")
        for value in vars(loaded).values():
            if callable(value) and getattr(value, "__module__", "") == loaded.__name__:
                _instrument(atheris, value)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], take)
    atheris.Fuzz()


def _instrument(atheris: Any, value: Any) -> None:
    """Count the branches of a function, or of the methods of a class."""
    functions = vars(value).values() if isinstance(value, type) else [value]
    for function in functions:
        if hasattr(function, "__code__"):
            atheris.instrument_func(function)


if __name__ == "__main__":
    main()
