"""How much is in a cache root of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_transfer.caches.artifacts import find_files
from b10_transfer.units import count_text, size_text

if TYPE_CHECKING:
    from b10_transfer.caches.roots import CacheRoot


@dataclass(frozen=True, slots=True)
class RootSize:
    """A cache root, and how much is in it.

    Attributes:
        name: of the root.
        folder: where it is.
        exists: whether there is such a folder.
        files: how many files in it are artifacts, or would be if they were whole.
        bytes: their size.
    """

    name: str
    folder: str
    exists: bool
    files: int
    bytes: int

    def __str__(self) -> str:
        """For people, without the name."""
        if not self.exists:
            return f"not there yet: {self.folder}"
        return f"{count_text(self.files, 'file')}, {size_text(self.bytes)} in {self.folder}"


def measure(root: CacheRoot) -> RootSize:
    """Look how much is in a cache root now."""
    found = find_files(root)
    return RootSize(
        name=root.name,
        folder=root.folder,
        exists=os.path.isdir(root.folder),
        files=len(found),
        bytes=sum(item.fingerprint.size for item in found),
    )
