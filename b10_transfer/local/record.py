"""The record of this host in a cache root: what was loaded, and what was hashed.

`<root>/.b10_transfer/loaded`, `hashed` and `environment` are JSON. They only save work or improve a
decision: a record that is missing, damaged or from another release counts as empty. What is known
of many thousands of files is one string of paths and one of rows: read and written at once, where
JSON takes as long for a row as for the string.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from b10_store import (
    RECORD_FOLDER,
    Digest,
    Fingerprint,
    PackId,
    StoreError,
    digest_from_bytes,
    foreign_owner,
    make_folder,
    open_folder,
    parse_digest,
    read_file,
)
from b10_transfer.foreign_json import parse_object
from b10_transfer.local.lock import open_own_folder
from b10_transfer.own_user import own_uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from b10_store import OpenFolder

_VERSION = 1
_RECORD_LIMIT = 1 << 30
TEMPORARY_SUFFIX = ".tmp"
_AHEAD_NS = 5 * 60 * 10**9
"""How far the clock of a file server may be ahead of this one."""
FORMS = 1
"""Raised when `file_forms` recognises more broken files, so that all are checked again."""

_HASHED = struct.Struct("<QqqQQ32s")
"""A row: the fingerprint, the size of the canonical bytes, and their digest."""
_DIGEST = struct.Struct("32s")

UNUSABLE = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
    StoreError,
    struct.error,
)
"""The errors of reading a record that is damaged or from another release."""


@dataclass(slots=True)
class Loaded:
    """The artifacts that were loaded into a cache root.

    Attributes:
        finished_ns: when the last load ended, by the filesystem's clock; 0: there was none.
        digests: by path: the digest that this host and the store last had in common.
        distrusted: (digest, pack) that could not be read, or failed verification, twice.
        broken: by path: the digest of stored bytes that were not placed because they, or a part of
            their bundle, are broken.
    """

    finished_ns: int = 0
    digests: dict[str, Digest] = field(default_factory=dict[str, Digest])
    distrusted: set[tuple[Digest, PackId]] = field(default_factory=set[tuple[Digest, PackId]])
    broken: dict[str, Digest] = field(default_factory=dict[str, Digest])


class Hashed(NamedTuple):
    """A file that was hashed.

    Attributes:
        fingerprint: of the file.
        digest: of its canonical bytes.
        size: of its canonical bytes.
        needs: see `native_needs.needs_of`.
    """

    fingerprint: Fingerprint
    digest: Digest
    size: int
    needs: str = ""


def read_loaded(folder: str) -> Loaded:
    """Return the record of the loads into a cache root."""
    content = read_record(folder, "loaded")
    try:
        finished_ns = int(content["finished_ns"])
        return Loaded(
            # If it was noted while a clock was ahead, everything compiled would count as loaded.
            finished_ns=finished_ns if finished_ns < time.time_ns() + _AHEAD_NS else 0,
            digests=dict(
                zip(
                    _split(content["paths"]),
                    [
                        digest_from_bytes(row)
                        for (row,) in _DIGEST.iter_unpack(_from_base64(content["digests"]))
                    ],
                    strict=True,
                )
            ),
            distrusted={
                (parse_digest(digest), PackId(parse_digest(pack)))
                for digest, pack in content["distrusted"]
            },
            broken={p: parse_digest(text) for p, text in content.get("broken", {}).items()},
        )
    except UNUSABLE:
        return Loaded()


def write_loaded(folder: str, loaded: Loaded) -> None:
    """Record what was loaded; a failure only means that work is done twice."""
    content = {
        "finished_ns": loaded.finished_ns,
        "paths": _join(loaded.digests),
        "digests": _to_base64(map(bytes.fromhex, loaded.digests.values())),
        "distrusted": sorted(loaded.distrusted),
        "broken": loaded.broken,
    }
    write_record(folder, "loaded", content)


def filesystem_now_ns(folder: str) -> int:
    """Return the time by the clock that stamps a cache root's files, in ns since the epoch.

    It may be another host's, and the clock here may be set to another time at any moment.
    """
    try:
        with make_folder(folder) as root, open_own_folder(root) as own:
            probe = own.at(f"clock.{os.urandom(8).hex()}{TEMPORARY_SUFFIX}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            handle = os.open(probe, flags, 0o600, dir_fd=own.handle)
            try:
                return os.fstat(handle).st_ctime_ns
            finally:
                os.close(handle)
                os.unlink(probe, dir_fd=own.handle)
    except OSError:
        return time.time_ns()


def read_hashed(folder: str) -> dict[str, Hashed]:
    """Return the files of a cache root that were hashed, by path."""
    content = read_record(folder, "hashed")
    try:
        if content["forms"] != FORMS:
            return {}
        needs: dict[str, str] = content["needs"]
        rows = _HASHED.iter_unpack(_from_base64(content["rows"]))
        return {
            path: Hashed(
                Fingerprint(*row[:4]), digest_from_bytes(row[5]), row[4], str(needs.get(path, ""))
            )
            for path, row in zip(_split(content["paths"]), rows, strict=True)
        }
    except UNUSABLE:
        return {}


def write_hashed(folder: str, hashed: Mapping[str, Hashed]) -> None:
    """Record hashed files; a failure only means that work is done twice."""
    try:
        rows = [_pack(item) for item in hashed.values()]
    except struct.error:
        # A file may have times that no clock shows.
        hashed = {path: item for path, item in hashed.items() if _can_pack(item)}
        rows = [_pack(item) for item in hashed.values()]
    needs = {path: item.needs for path, item in hashed.items() if item.needs}
    content = {"forms": FORMS, "needs": needs, "paths": _join(hashed), "rows": _to_base64(rows)}
    write_record(folder, "hashed", content)


def _pack(item: Hashed) -> bytes:
    return _HASHED.pack(*item.fingerprint, item.size, bytes.fromhex(item.digest))


def _can_pack(item: Hashed) -> bool:
    try:
        _pack(item)
    except struct.error:
        return False
    return True


def _join(paths: Iterable[str]) -> str:
    return "\0".join(paths)


def _split(text: str) -> list[str]:
    return text.split("\0") if text != "" else []


def _to_base64(rows: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(rows)).decode()


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def read_record(folder: str, name: str) -> dict[str, Any]:
    """Return a record of a cache root; empty when there is none, or it cannot be used.

    A record that others could have written is not believed: it could make a save publish a path
    with other bytes than the file's, or keep files from being saved.
    """
    try:
        record = parse_object(_read_private(folder, name))
    except (OSError, ValueError):
        return {}
    return record if record.get("version") == _VERSION else {}


def write_record(folder: str, name: str, content: Mapping[str, object]) -> None:
    """Replace a record of a cache root; a failure only means that work is done twice."""
    data = json.dumps({"version": _VERSION, **content}, separators=(",", ":"))
    # There is nothing to record for a cache root that does not exist.
    with contextlib.suppress(OSError), open_folder(folder) as root, open_own_folder(root) as own:
        if _is_private(own.status):
            _replace(own, name, data)


def _replace(own: OpenFolder, name: str, data: str) -> None:
    temporary = f"{name}.{os.urandom(8).hex()}{TEMPORARY_SUFFIX}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        handle = os.open(own.at(temporary), flags, 0o600, dir_fd=own.handle)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(data)
        os.replace(own.at(temporary), own.at(name), src_dir_fd=own.handle, dst_dir_fd=own.handle)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(own.at(temporary), dir_fd=own.handle)


def _read_private(folder: str, name: str) -> bytes:
    """Return the bytes of a file in our own folder, if nobody else can have written them.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: somebody else can have written it.
    """
    with open_folder(folder) as root, root.enter_child(RECORD_FOLDER) as own:
        if not (_is_private(own.status) and _is_private(own.stat(name))):
            raise ValueError(f"{own.locate(name)} can be written by others")
        return read_file(own.at(name), _RECORD_LIMIT, own.handle)


def _is_private(status: os.stat_result) -> bool:
    """Return whether a file belongs to this user or root, and nobody else may write to it."""
    if own_uid() is None:
        return True  # Windows has no owners or modes
    return foreign_owner(status) is None and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
