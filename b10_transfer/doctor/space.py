"""Findings about the space that loads and saves need, on each filesystem."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_transfer.doctor.findings import problem
from b10_transfer.doctor.mount_probe import space
from b10_transfer.machine.checks import existing_folder
from b10_transfer.units import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from b10_store import Header
    from b10_transfer.doctor.findings import Finding
    from b10_transfer.doctor.roots import LocalRoot
    from b10_transfer.settings import Settings

_SUBJECT = "space"
_NAMED = 4
_LITTLE = 1 << 20
"""The least space that scratch needs, in bytes, whatever is stored."""

_COMPRESSED = 0.3
"""The compressed size of a tree, as a part of its size: an upper bound of all measured trees."""


@dataclass(slots=True)
class _Volume:
    """A filesystem, and the space that a load or a save needs on it, in bytes."""

    folder: str
    facts: Mapping[str, object]
    uses: list[str] = field(default_factory=list[str])
    need: int = 0
    need_files: int = 0

    @property
    def free(self) -> int:
        return int(str(self.facts["free"]))


def local_space_findings(
    locals_: Iterable[LocalRoot], settings: Settings, own: Header | None
) -> Iterator[Finding]:
    """Report too little space for the cache roots and the work folder.

    Args:
        locals_: the cache roots. Since nobody knows how the stored artifacts are spread over them,
            all are expected in each.
        settings: of this host.
        own: the newest manifest of this host's environment and namespace.
    """
    locals_ = list(locals_)
    here = sum(len(item.found) for item in locals_)
    here_bytes = sum(found.fingerprint.size for item in locals_ for found in item.found)
    volumes: dict[int, _Volume] = {}
    work = _add(volumes, settings.scratch, "work folder")
    if work is not None:
        work.need += max(_LITTLE, own.raw_length if own is not None else 0)
    rooted = [_add(volumes, item.root.folder, item.root.name) for item in locals_]
    for volume in {id(volume): volume for volume in rooted if volume is not None}.values():
        if own is not None:
            volume.need += max(0, own.summary.raw_bytes - here_bytes)
            volume.need_files += max(0, own.summary.artifacts - here)
    for volume in volumes.values():
        yield from _volume_findings(volume)


def store_space_findings(
    store: str, facts: Mapping[str, object], locals_: Iterable[LocalRoot], own: Header | None
) -> Iterator[Finding]:
    """The store.

    Args:
        store: its folder.
        facts: as `mount_probe.space` found them.
        locals_: the cache roots.
        own: the newest manifest of this host's environment and namespace.
    """
    if "free" not in facts:
        return
    local = sum(found.fingerprint.size for item in locals_ for found in item.found)
    stored = own.summary.raw_bytes if own is not None else 0
    volume = _Volume(store, facts, ["store"])
    volume.need = max(1 << 20, int(_COMPRESSED * max(0, local - stored)))
    yield from _volume_findings(volume)


def _add(volumes: dict[int, _Volume], folder: str, use: str) -> _Volume | None:
    """Note a use of the filesystem of a folder; return None when that cannot be examined."""
    there = existing_folder(folder)
    facts = space(there)
    if not facts:
        return None
    volume = volumes.setdefault(os.stat(there).st_dev, _Volume(there, facts))
    volume.uses.append(use)
    return volume


def _volume_findings(volume: _Volume) -> Iterator[Finding]:
    size = int(str(volume.facts["size"]))
    details: dict[str, object] = {
        "folder": volume.folder,
        "uses": volume.uses,
        "free": volume.free,
        "size": size,
        "free_files": volume.facts["free_files"],
        "needed": volume.need,
    }
    files = volume.facts["free_files"]
    is_store = volume.uses == ["store"]
    if volume.free < volume.need:
        yield problem(
            "space.little",
            _SUBJECT,
            f"{volume.folder} ({_uses(volume)}): {size_text(volume.free)} free, about "
            f"{size_text(volume.need)} needed",
            "run `b10-transfer gc` and set B10_STORE_MAX_SIZE_MB, or enlarge the filesystem"
            if is_store
            else "free some space, enlarge it, or put the cache roots and LOCAL_WORK_DIR elsewhere",
            **details,
        )
    elif isinstance(files, int) and files < volume.need_files:
        yield problem(
            "space.little",
            _SUBJECT,
            f"{volume.folder} ({_uses(volume)}): there is room for {files} more files, and about "
            f"{volume.need_files} are needed",
            "enlarge it, or put the cache roots elsewhere",
            **details,
        )


def _uses(volume: _Volume) -> str:
    further = len(volume.uses) - _NAMED
    return ", ".join(volume.uses[:_NAMED]) + f" and {further} more" * (further > 0)
