"""Find the filesystem that a folder is on."""

from __future__ import annotations

import re
from typing import NamedTuple

from b10_transfer.paths import is_below

_ESCAPED = re.compile(r"\\([0-7]{3})")

LOCAL_TYPES = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "overlay", "tmpfs"),
        *("ramfs", "rootfs", "squashfs", "fuse.fuse-overlayfs", "aufs", "vfat", "exfat", "ntfs3"),
    }
)
"""Filesystems of one host: others do not see what is written there, unless the host exports it."""

_OBJECT_STORES = re.compile(
    r"(?:^|[./])(?:s3fs|goofys|mountpoint-s3|geesefs|gcsfuse|blobfuse2?|rclone|ossfs|cosfs)\b"
)


class Filesystem(NamedTuple):
    """A mounted filesystem.

    Attributes:
        kind: its type: "nfs4", "fuse.gcsfuse", "overlay".
        source: what is mounted: a device, or a server and its folder.
        folder: where it is mounted.
    """

    kind: str
    source: str
    folder: str

    @property
    def is_local(self) -> bool:
        """Whether only this host sees what is written to it."""
        return self.kind in LOCAL_TYPES

    @property
    def is_object_store(self) -> bool:
        """Whether it shows an object store as a folder, where a rename copies."""
        return any(_OBJECT_STORES.search(text) is not None for text in (self.kind, self.source))

    def __str__(self) -> str:
        """Describe it for people."""
        return f"{self.kind} ({self.source} at {self.folder})"


def filesystem_of(path: str, table: str = "/proc/self/mountinfo") -> Filesystem | None:
    """Return the filesystem of a path from the kernel's table of mounts, without touching it.

    Args:
        path: an absolute path without links.
        table: the file that proc_pid_mountinfo(5) describes.

    Returns:
        None when there is no such table.
    """
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    found: Filesystem | None = None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        before, after = fields.split(" "), rest.split(" ")
        if len(before) < 5 or len(after) < 2:
            continue
        folder = _unescape(before[4])
        # Of two mounts at one place, the later hides the earlier.
        if is_below(path, folder) and (found is None or len(folder) >= len(found.folder)):
            found = Filesystem(after[0], _unescape(after[1]), folder)
    return found


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
