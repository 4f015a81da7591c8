"""What this host remembers of a cache root, beside it: what was loaded, and what was hashed.

`<root>/.b10_transfer/loaded`, `hashed` and `environment` are JSON. They only save work or sharpen a
decision: one that is missing, damaged or from another release counts as empty.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from b10_store.digest import Digest, parse_digest
from b10_store.errors import StoreError
from b10_store.layout import PackId
from b10_store.open_folder import foreign_owner
from b10_store.scan import Fingerprint, read_file
from b10_transfer.local_lock import make_own_folder, own_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from b10_store.scan import Scanned
    from b10_transfer.environment import Environment

_VERSION = 1
_RECORD_LIMIT = 1 << 30
TEMPORARY_SUFFIX = ".tmp"
SETTLED_NS = 2_000_000_000
"""A file changed less than 2 s ago may change again without its times showing it."""

UNUSABLE = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError, StoreError)
"""What reading a record can raise that is damaged, or of another release."""


@dataclass(slots=True)
class Loaded:
    """What loads brought into a cache root.

    Attributes:
        finished_ns: when the last load ended, by the local clock; 0: there was none.
        digests: by path: the digest that this host and the store last had in common.
        distrusted: (digest, pack) that failed verification twice.
    """

    finished_ns: int = 0
    digests: dict[str, Digest] = field(default_factory=dict[str, Digest])
    distrusted: set[tuple[Digest, PackId]] = field(default_factory=set[tuple[Digest, PackId]])


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file that was hashed: its fingerprint, and digest and size of its canonical bytes."""

    fingerprint: Fingerprint
    digest: Digest
    size: int


def read_loaded(folder: str) -> Loaded:
    """What is remembered of the loads into a cache root."""
    content = read_record(folder, "loaded")
    try:
        return Loaded(
            finished_ns=int(content["finished_ns"]),
            digests={path: parse_digest(text) for path, text in content["digests"].items()},
            distrusted={
                (parse_digest(digest), PackId(parse_digest(pack)))
                for digest, pack in content["distrusted"]
            },
        )
    except UNUSABLE:
        return Loaded()


def write_loaded(folder: str, loaded: Loaded) -> None:
    """Remember what was loaded; failing to is of no consequence beyond work done twice."""
    content = {
        "finished_ns": loaded.finished_ns,
        "digests": loaded.digests,
        "distrusted": sorted(loaded.distrusted),
    }
    write_record(folder, "loaded", content)


def read_hashed(folder: str) -> dict[str, Hashed]:
    """The files of a cache root that were hashed, by path."""
    content = read_record(folder, "hashed")
    try:
        return {
            path: Hashed(Fingerprint(*map(int, row[:4])), parse_digest(row[4]), int(row[5]))
            for path, row in content["files"].items()
        }
    except UNUSABLE:
        return {}


def write_hashed(folder: str, hashed: Mapping[str, Hashed]) -> None:
    """Remember hashed files; failing to is of no consequence beyond work done twice."""
    files = {path: [*item.fingerprint, item.digest, item.size] for path, item in hashed.items()}
    write_record(folder, "hashed", {"files": files})


class UsedSince(NamedTuple):
    """Since when a cache root is used on this kind of machine, ns since the epoch; 0 for always.

    Attributes:
        environment_ns: under this environment key. All that is older was made for another.
        host_ns: on a CPU and C library like these. Native code that is older was made for others.
    """

    environment_ns: int
    host_ns: int


def note_environment(folder: str, environment: Environment) -> UsedSince:
    """Note that a cache root is used under an environment.

    A cache root on a volume may move to another kind of machine. What it holds then was made for
    the first kind, and must not be published as made for the second.

    Args:
        folder: the cache root.
        environment: of this host.

    Returns:
        Since when that is so.
    """
    content = read_record(folder, "environment")
    key, requirement = environment.key, environment.requirement
    try:
        since = UsedSince(int(content["since_ns"]), int(content["host_since_ns"]))
        if content["key"] != key:
            since = UsedSince(time.time_ns(), time.time_ns())
        elif content["requirement"] != requirement:
            since = since._replace(host_ns=time.time_ns())
        else:
            return since
    except UNUSABLE:
        since = UsedSince(0, 0)
    noted = {"since_ns": since.environment_ns, "host_since_ns": since.host_ns}
    write_record(folder, "environment", {"key": key, "requirement": requirement, **noted})
    return since


def settled(scanned: Iterable[Scanned]) -> dict[str, Hashed]:
    """What of a scan is worth remembering, by path.

    A file that was written a moment ago is not: a further change within the same tick of the
    filesystem's clock would leave its fingerprint as it is.
    """
    limit = time.time_ns() - SETTLED_NS
    return {
        item.file.identity.path: Hashed(item.file.found.fingerprint, item.digest, item.size)
        for item in scanned
        if item.file.found.fingerprint.ctime_ns < limit
    }


def read_record(folder: str, name: str) -> dict[str, Any]:
    """A record of a cache root; empty when there is none, or none that can be used.

    One that others could have written is not believed: it could have a save publish a path with
    bytes that are not the file's, or keep files from being saved.
    """
    try:
        own = own_folder(folder)
        content: object = json.loads(_read_private(own, name))
    except (OSError, ValueError, RecursionError):
        return {}
    record = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    return record if record.get("version") == _VERSION else {}


def write_record(folder: str, name: str, content: Mapping[str, object]) -> None:
    """Replace a record of a cache root; failing to is of no consequence beyond work done twice."""
    if not os.path.isdir(folder):
        return  # there is nothing to remember of a cache root that does not exist
    try:
        own = make_own_folder(folder)
        if not _is_private(own):
            return
    except OSError:
        return
    temporary = os.path.join(own, f"{name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps({"version": _VERSION, **content}, separators=(",", ":")))
        os.replace(temporary, os.path.join(own, name))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _read_private(own: str, name: str) -> bytes:
    """The bytes of a file of our own folder, where nobody else can have put them there.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: somebody else can have written it.
    """
    location = os.path.join(own, name)
    if not (_is_private(own) and _is_private(location)):
        raise ValueError(f"{location} can be written by others")
    return read_file(location, _RECORD_LIMIT)


def _is_private(location: str) -> bool:
    """Whether something belongs to this user or root, and nobody else may write to it.

    Raises:
        OSError: there is nothing.
    """
    status = os.stat(location, follow_symlinks=False)
    if not hasattr(os, "geteuid"):
        return True  # Windows tells no owners and no modes
    return foreign_owner(status) is None and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
