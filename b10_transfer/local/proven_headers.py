"""Precompiled headers that may be shared: complete ones that are no placeholders.

gcc writes a header under its final name, and the incomplete file of a killed gcc makes every later
compilation fail. A header is known to be good only if it was loaded, or if a kernel was compiled
with it here. The header's text is saved only with it: otherwise a load would put a placeholder
beside the text, and no host would ever make the real header again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from b10_store import Skipped
from b10_transfer.caches.kinds import FULL_HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from b10_store import FoundFile
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.local.record import Loaded

_KERNEL = re.compile(r"(?:.*/)?[a-z0-9]{2}/c[a-z0-9]+\.main\.so", re.DOTALL)
"""Files that Inductor compiles with a precompiled header (torch/_inductor/codecache.py,
CppCodeCache)."""

_KERNEL_SUFFIX = ".main.so"
_SUFFIX = ".gch"


def newest_kernel_ns(found: Iterable[tuple[FoundFile, Loaded]]) -> int:
    """Return when the newest kernel was compiled here, in ns since the epoch; 0: none was.

    Args:
        found: files of cache roots, each with the record of the loads into its root.
    """
    return max(
        (
            item.fingerprint.mtime_ns
            for item, loaded in found
            if item.path.endswith(_KERNEL_SUFFIX)
            and _KERNEL.fullmatch(item.path)
            and not _is_as_loaded(item, loaded)
        ),
        default=0,
    )


def leave_unproven(
    root: CacheRoot, found: Sequence[FoundFile], kernel_ns: int, loaded: Loaded
) -> tuple[list[FoundFile], list[Skipped]]:
    """Leave out the precompiled headers that are placeholders, or may not be whole.

    Args:
        root: a cache root.
        found: its files.
        kernel_ns: what `newest_kernel_ns` returned.
        loaded: the record of the loads into it.

    Returns:
        The other files, and the headers that are left for a later save.
    """
    if root.kind is not FULL_HEADERS:
        return list(found), []
    proven = {
        item.path.removesuffix(_SUFFIX)
        for item in found
        if item.path.endswith(_SUFFIX)
        and item.fingerprint.size
        and (item.fingerprint.mtime_ns < kernel_ns or _is_as_loaded(item, loaded))
    }
    kept: list[FoundFile] = []
    left: list[Skipped] = []
    for item in found:
        text = item.path.removesuffix(_SUFFIX)
        if text in proven or (text == item.path and item.path in loaded.digests):
            kept.append(item)
        elif item.fingerprint.size:
            left.append(Skipped(item.location, "a header that nothing was compiled with yet"))
    return kept, left


def _is_as_loaded(item: FoundFile, loaded: Loaded) -> bool:
    return item.path in loaded.digests and item.fingerprint.ctime_ns <= loaded.finished_ns
