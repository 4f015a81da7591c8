"""Whether the compilers of this host used what was loaded last."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from b10_transfer.local.artifact_use import keeps_access_times
from b10_transfer.local.record import read_loaded
from b10_transfer.operations.reports import is_little_use

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b10_transfer.doctor.roots import LocalRoot


class LoadedUse(enum.Enum):
    """The use that compilers made of loaded artifacts."""

    UNKNOWN = "nothing was loaded here, or nothing loaded was opened yet"
    USED = "nothing was compiled since"
    PARTLY_USED = "little was compiled since"
    OF_LITTLE_USE = "much was compiled since"


def loaded_use(roots: Iterable[LocalRoot]) -> LoadedUse:
    """Compare what was loaded with what was compiled since, as the report of a save does.

    Right after a load nothing was compiled either. That counts as use only when a file was opened
    since, or when the filesystem does not show openings.
    """
    records = [(local, read_loaded(local.root.folder)) for local in roots if local.found]
    finished_ns = max((record.finished_ns for _, record in records), default=0)
    reused = compiled = 0
    is_opened = False
    for local, record in records:
        for item in local.found:
            # An empty file is a marker, which its compiler may touch at each use.
            if item.fingerprint.size and item.fingerprint.ctime_ns > finished_ns:
                compiled += 1
            elif item.path in record.digests:
                reused += 1
                is_opened |= item.accessed_ns > item.fingerprint.ctime_ns
    if not finished_ns or not reused:
        return LoadedUse.UNKNOWN
    if compiled:
        is_little = is_little_use(compiled, reused)
        return LoadedUse.OF_LITTLE_USE if is_little else LoadedUse.PARTLY_USED
    shows = is_opened or not any(keeps_access_times(local.root.folder) for local, _ in records)
    return LoadedUse.USED if shows else LoadedUse.UNKNOWN
