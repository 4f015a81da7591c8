"""A load and a save in this process, reported as values that fit in JSON."""

from __future__ import annotations

import time
from dataclasses import dataclass

import b10_transfer


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `load` reported, and the seconds that the call took."""

    status: str
    loaded: int
    bytes_loaded: int
    wall_seconds: float


@dataclass(frozen=True, slots=True)
class Saved:
    """What `save` reported, and the seconds that the call took."""

    status: str
    added: int
    uploaded_bytes: int
    stored_bytes: int
    recompiled: int | None
    wall_seconds: float


def load() -> Loaded:
    """Load with the settings of this process's environment.

    Raises:
        CacheError: As `b10_transfer.load` does.
    """
    start = time.perf_counter()
    report = b10_transfer.load()
    seconds = time.perf_counter() - start
    return Loaded(report.status.name, report.loaded, report.bytes_loaded, seconds)


def save() -> Saved:
    """Save with the settings of this process's environment.

    Raises:
        CacheError: As `b10_transfer.save` does.
    """
    start = time.perf_counter()
    report = b10_transfer.save()
    return Saved(
        status=report.status.name,
        added=report.added,
        uploaded_bytes=report.uploaded_bytes,
        stored_bytes=report.stored_bytes,
        recompiled=report.recompiled,
        wall_seconds=time.perf_counter() - start,
    )
