"""The content of the cache roots of this machine, in numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_transfer.caches.artifacts import find_files
from b10_transfer.caches.kinds import ROOT_KINDS
from b10_transfer.local.record import Loaded, read_loaded
from b10_transfer.units import count_text, date_text, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.settings import Settings


@dataclass(frozen=True, slots=True)
class RootSize:
    """A cache root and its content, in numbers.

    Attributes:
        name: the root's name.
        folder: its folder.
        exists: whether the folder exists.
        files: how many files in it are artifacts, or would be if they were intact.
        bytes: their total size.
        chosen_by: the variable that names the folder; "" for the default folder.
        loaded: how many of them were loaded.
        loaded_at: when the last load ended, in seconds since the epoch; None without one.
    """

    name: str
    folder: str
    exists: bool
    files: int
    bytes: int
    chosen_by: str
    loaded: int
    loaded_at: float | None

    def __str__(self) -> str:
        """Describe it for people, without the name."""
        chosen = f" ({self.chosen_by})" * bool(self.chosen_by)
        if not self.exists:
            return f"does not exist yet: {self.folder}{chosen}"
        text = f"{count_text(self.files, 'file')}, {size_text(self.bytes)} in {self.folder}{chosen}"
        if self.loaded_at is not None:
            text += f"; last load {date_text(self.loaded_at)}, {self.loaded} files were loaded"
        return text


def measure(root: CacheRoot, settings: Settings) -> RootSize:
    """Measure the present content of a cache root."""
    found = find_files(root)
    record = read_loaded(root.folder) if found else Loaded()
    return RootSize(
        name=root.name,
        folder=root.folder,
        exists=os.path.isdir(root.folder),
        files=len(found),
        bytes=sum(item.fingerprint.size for item in found),
        chosen_by=_chosen_by(root, settings),
        loaded=len(record.digests) if record.finished_ns else 0,
        loaded_at=record.finished_ns / 1e9 if record.finished_ns else None,
    )


def _chosen_by(root: CacheRoot, settings: Settings) -> str:
    """Return the variable that names the folder; "" for the default folder."""
    if settings.roots.get(root.name):
        return "B10_CACHE_ROOTS"
    kind = next((kind for kind in ROOT_KINDS if kind.name == root.name), None)
    if kind is None:
        return ""
    variables = settings.variables
    for name in variables:
        if _may_place(name, variables, root.folder):
            rest = {key: variables[key] for key in variables if key != name}
            try:
                elsewhere = kind.resolve(rest)
            except OSError:
                # Without this variable there is no folder for temporary files.
                return name
            if elsewhere != root.folder:
                return name
    return ""


def _may_place(name: str, variables: Mapping[str, str], folder: str) -> bool:
    value = variables[name].partition(":")[0].rstrip("/")
    return bool(value) and (folder.startswith(value) or value.startswith("~") or "USER" in name)
