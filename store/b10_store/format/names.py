"""Names, versions and time constants of a store: the one table of them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import NamedTuple, NewType

from b10_store.digest import Digest, digest_of
from b10_store.errors import CorruptError, UnsupportedFormatError
from b10_store.remote.folder_names import MANIFESTS, PACKS, SESSIONS, TEMPORARY_MARK

FORMAT_VERSION = 1
FORMAT_FILE = "FORMAT"

HEARTBEAT_SECONDS = 15.0
"""How often a running save touches its token."""

WAITING_DEAD_SECONDS = 60.0
"""A save does not wait for a session that was silent for longer than this."""

UNMARKED_DEAD_SECONDS = 5.0
"""Nor for a session with an empty token that was silent for longer than this: its process died
while it created the token."""

WAIT_LIMIT_SECONDS = 60.0
"""The longest that a save waits for other sessions, and the age from which nobody waits for one."""

SUPERSEDE_AGE_SECONDS = 3600.0
"""The age of a manifest from which those that it supersedes may be moved to trash."""

STAGE_DISTANCE_SECONDS = 600.0
"""The time between two stages of a garbage collection: a rename that is this old shows in every
listing. Twice this passes before the first of them, because the token of a session that began
before the rename showed must show, too."""

STALE_SESSION_SECONDS = 1800.0
"""A session silent for longer than this is fenced by gc."""

OLDEST_SESSION_SECONDS = 86400.0
"""A session that gc has been waiting for this long is fenced, silent or not."""

VISIT_INTERVAL_SECONDS = 86400.0
"""All saves of a store together make a visit of the garbage collection at most this often."""

VERIFY_AGE_SECONDS = 86400.0
"""The age from which gc verifies a pack: earlier, its writer would read its own memory."""

TRASH_SECONDS = 86400.0
"""Files that gc moved to trash stay there at least this long."""

UNREFERENCED_SECONDS = 86400.0
"""A pack that no manifest references is left alone until it is this old."""

LEFTOVER_SECONDS = 86400.0
"""A temporary file or a fenced token this old belongs to a dead process."""

QUARANTINE_SECONDS = 14 * 86400.0
"""Files that a check put into quarantine stay there this long."""

TOUCH_INTERVAL_SECONDS = 86400.0
"""A load refreshes a manifest's time of last load at most this often."""

FENCED_ATTEMPTS = 3
"""How many times a save starts over after it was fenced."""

FRAME_RAW_LIMIT = 1 << 20
"""The most raw bytes in one frame."""

PACK_CLOSE_SIZE = 32 << 20
"""A pack takes no further blob once it holds this many compressed bytes."""

_WRONG_CLOCK_MILLISECONDS = 86_400_000

SnapshotId = NewType("SnapshotId", str)
"""`<time of the store's filesystem in ms, 13 digits>-<128 random bits, hex>`; sorts by time."""

PackId = NewType("PackId", str)
"""BLAKE3 of a pack file, as 64 hex digits."""

_ENVIRONMENT_KEY = re.compile(r"[0-9a-f]{32}")
_NAMESPACE = re.compile(r"[a-z0-9_-]{1,64}")
_SNAPSHOT = re.compile(r"([0-9]{13})-[0-9a-f]{32}")
_LISTED = re.compile(r"([0-9a-f]{32})(?:\.([a-z0-9_-]{1,64}))?~([0-9]{13}-[0-9a-f]{32})")
_PACK = re.compile(r"([0-9a-f]{64})\.pack")
_TAKEN = re.compile(r"~[0-9a-f]{4,32}\Z")
_RANDOM = re.compile(r"[0-9a-f]{16}(?:-[a-z0-9-]{1,32})?")
# Each name that a store gives to a file, beside those of packs and manifests; a file that becomes a
# pack is named by its bytes in the end.
_WRITTEN = frozenset(
    {FORMAT_FILE, "new", "probe", "visited", "nobody", "filled", "witnessed", "fenced"}
)
_FORMAT = re.compile(r"b10-transfer store, format ([0-9]{1,9}), check ([0-9a-f]{16})\n?")


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """The address that a manifest is published under.

    Attributes:
        environment_key: 32 hex digits.
        namespace: a label of the user, or "" for none.
    """

    environment_key: str
    namespace: str = ""

    def __post_init__(self) -> None:
        """Refuse values that could not be part of a file name.

        Raises:
            ValueError: the key or the namespace has another form.
        """
        if _ENVIRONMENT_KEY.fullmatch(self.environment_key) is None:
            raise ValueError(f"environment key {self.environment_key!r}: 32 hex digits expected")
        if self.namespace and _NAMESPACE.fullmatch(self.namespace) is None:
            raise ValueError(
                f"namespace {self.namespace!r}: 1 to 64 of the characters a-z 0-9 _ - expected"
            )

    def __str__(self) -> str:
        """Format it as in file names: `<key>` or `<key>.<namespace>`."""
        return (
            f"{self.environment_key}.{self.namespace}" if self.namespace else self.environment_key
        )


class SnapshotName(NamedTuple):
    """One snapshot of an address: the common stem of a session's and a manifest's file name."""

    address: Address
    snapshot: SnapshotId

    def __str__(self) -> str:
        """The stem, `<address>~<snapshot id>`."""
        return f"{self.address}~{self.snapshot}"

    @property
    def begun_at(self) -> float:
        """When its save began, in seconds since the epoch, by the store's clock."""
        return snapshot_milliseconds(self.snapshot) / 1000

    @property
    def session_path(self) -> str:
        """The token's name in the store."""
        return f"{SESSIONS}/{self}.session"

    @property
    def manifest_path(self) -> str:
        """The manifest's name in the store."""
        return f"{MANIFESTS}/{self}.manifest"


def is_namespace(text: str) -> bool:
    """Return whether `text` can be a namespace."""
    return _NAMESPACE.fullmatch(text) is not None


def new_snapshot_id(now: float, after: SnapshotId | None = None) -> SnapshotId:
    """Return a new snapshot id.

    Args:
        now: seconds since the epoch by the clock of the store's filesystem.
        after: a snapshot that this one may carry on. The new id is later even if the clock has not
            ticked since, unless the other is a day ahead, so that its clock was wrong.
    """
    milliseconds = max(0, int(now * 1000))
    if after is not None:
        ahead = snapshot_milliseconds(after) + 1
        if milliseconds < ahead < milliseconds + _WRONG_CLOCK_MILLISECONDS:
            milliseconds = ahead
    return SnapshotId(f"{milliseconds:013d}-{os.urandom(16).hex()}")


def is_snapshot_id(text: str) -> bool:
    """Return whether `text` is a snapshot id; folders in trash are named by one, too."""
    return _SNAPSHOT.fullmatch(text) is not None


def parse_snapshot_id(text: str) -> SnapshotId:
    """Check that `text` is a snapshot id.

    Raises:
        CorruptError: it is not.
    """
    if not is_snapshot_id(text):
        raise CorruptError(f"not a snapshot id: {text[:80]!r}")
    return SnapshotId(text)


def snapshot_milliseconds(snapshot: SnapshotId) -> int:
    """Return when a snapshot began, in ms since the epoch, by the store's clock."""
    return int(snapshot[:13])


def age(then: float, now: float) -> float:
    """Return how long ago a file was touched, in seconds.

    A time in the future counts as equally far in the past: anybody who can write to a store can set
    any time, and a file from years ahead must not count as fresh for years.
    """
    return abs(now - then)


def published_at(snapshot: SnapshotId, changed: float) -> float:
    """Return when a manifest was published, or a later time, in seconds since the epoch.

    Its id tells when its save began, which may have stalled since. On most filesystems the time of
    its last change tells when it was renamed, or touched by a load.
    """
    return max(snapshot_milliseconds(snapshot) / 1000, changed)


def parse_manifest_name(name: str) -> SnapshotName | None:
    """Return the snapshot of a file name in manifests/; None for any other file."""
    return _parse_listed(name, ".manifest")


def parse_session_name(name: str) -> SnapshotName | None:
    """Return the snapshot of a file name in sessions/; None for any other file."""
    return _parse_listed(name, ".session")


def _parse_listed(name: str, suffix: str) -> SnapshotName | None:
    match = _LISTED.fullmatch(name.removesuffix(suffix)) if name.endswith(suffix) else None
    if match is None:
        return None
    return SnapshotName(Address(match[1], match[2] or ""), SnapshotId(match[3]))


def is_leftover(name: str) -> bool:
    """Return whether a name is one that processes give to files they remove again."""
    own, _, rest = name.partition(TEMPORARY_MARK)
    return _RANDOM.fullmatch(rest) is not None and (
        own in _WRITTEN or parse_manifest_name(own) is not None or parse_pack_name(own) is not None
    )


def quarantined_name(name: str) -> str:
    """Return the name that a file in quarantine had before, without a mark for duplicates."""
    return _TAKEN.sub("", name)


def is_quarantined(name: str) -> bool:
    """Return whether a check gave a file in quarantine its name."""
    before = quarantined_name(name)
    return parse_pack_name(before) is not None or parse_manifest_name(before) is not None


def pack_path(pack: PackId) -> str:
    """Return the pack's name in the store."""
    return f"{PACKS}/{pack}.pack"


def parse_pack_name(name: str) -> PackId | None:
    """Return the pack of a file name in packs/; None for any other file."""
    match = _PACK.fullmatch(name)
    return None if match is None else PackId(match[1])


def pack_id_of(digest: Digest) -> PackId:
    """Return a pack's id: the digest of its file."""
    return PackId(digest)


def format_line(version: int = FORMAT_VERSION) -> bytes:
    """Return the content of the FORMAT file: the version, and a check that shows damage."""
    return f"b10-transfer store, format {version}, check {_format_check(version)}\n".encode()


def check_format_line(data: bytes) -> bool:
    """Return whether the FORMAT file is intact and has the version of this release.

    Returns:
        False when the file is damaged: cut short, or with a few wrong bytes.

    Raises:
        UnsupportedFormatError: it has another version, or is not a FORMAT file at all.
    """
    match = _FORMAT.fullmatch(data.decode("ascii", "replace"))
    intact = match is not None and match[2] == _format_check(int(match[1]))
    if match is not None and intact and int(match[1]) == FORMAT_VERSION:
        return True
    if not intact and _resembles(data, format_line()):
        return False
    found = (
        f"the store has format {match[1]}"
        if match is not None and intact
        else f"{FORMAT_FILE} in the store reads {data[:60].decode('ascii', 'replace').strip()!r}"
    )
    raise UnsupportedFormatError(f"{found}, this release reads format {FORMAT_VERSION}")


def _resembles(data: bytes, line: bytes) -> bool:
    """Return whether `data` is our line but damaged: cut short, zeroed, or with few wrong bytes."""
    if not data.strip(b"\0") or line.startswith(data):
        return True
    same = sum(a == b for a, b in zip(data, line, strict=False))
    return same >= len(line) * 3 // 4 and abs(len(data) - len(line)) <= len(line) // 4


def _format_check(version: int) -> str:
    return digest_of(f"b10-transfer store, format {version}".encode())[:16]
