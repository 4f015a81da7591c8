"""Open the cache roots that a load puts files into."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from b10_store import OUT_OF_SPACE, NoSpaceError, OpenRoot, make_folder
from b10_transfer.caches.artifacts import bounds_of
from b10_transfer.caches.exposure import exposure, others_can_write
from b10_transfer.caches.unusable_roots import describe_failure
from b10_transfer.local.lock import Patience, lock_root
from b10_transfer.local.root_origin import note_machine
from b10_transfer.local.sweep import has_leftovers, sweep
from b10_transfer.operations.context import exposure_line, strict_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b10_store import OpenFolder
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.operations.context import Context

_LOCK_SECONDS = 10.0
"""The total time, in seconds, that a load waits for other loads of this host; after it the load
works beside them, which is safe too."""


def open_roots(
    held: contextlib.ExitStack, context: Context, folders: Iterable[str], problems: list[str]
) -> dict[str, OpenRoot]:
    """Open, lock and sweep cache roots; return the usable ones.

    The checks are made on the open folder, and everything is placed into it: a folder that is put
    in its place meanwhile gets nothing. The order is always the same, so that two loads never wait
    for each other.
    """
    roots = {root.folder: root for root in context.roots}
    usable: dict[str, OpenRoot] = {}
    patience = Patience(_LOCK_SECONDS)
    for folder in sorted(folders):
        root = roots[folder]
        try:
            with _open_root(root) as looked_at:
                if not _may_use(root, looked_at, problems):
                    continue
            if held.enter_context(patience.lock(folder)):
                sweep(folder)
            # A clear may have removed the root while this process waited for its lock.
            opened = held.enter_context(_open_root(root))
            if not _may_use(root, opened, problems):
                continue
            note_machine(folder, context.environment)
        except OSError as error:
            if error.errno in OUT_OF_SPACE:
                raise NoSpaceError(error.strerror or str(error), folder) from error
            problems.append(describe_failure(root, error))
        else:
            usable[folder] = OpenRoot(opened, bounds_of(root))
    return usable


def _open_root(root: CacheRoot) -> OpenFolder:
    return make_folder(root.folder, 0o700 if root.is_strict else 0o777)


def _may_use(root: CacheRoot, opened: OpenFolder, problems: list[str]) -> bool:
    """Check an open cache root again, since it may not be the folder that was seen before."""
    exposed = exposure(root, opened.status)
    weakness = others_can_write(opened.status)
    if root.is_strict and weakness:
        problems.append(strict_line(exposed or f"the cache root {root.folder} {weakness}"))
        return False
    if exposed and exposure_line(exposed) not in problems:
        problems.append(exposure_line(exposed))
    return True


def sweep_idle(folders: Iterable[str]) -> None:
    """Sweep the cache roots that a load does not write to, unless another process uses them."""
    for folder in folders:
        if has_leftovers(folder):
            with contextlib.suppress(OSError), lock_root(folder, timeout=0) as held:
                if held:
                    sweep(folder)
