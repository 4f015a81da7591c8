"""What a save makes of the files of a cache root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from b10_store.tree.scan import INCOMPLETE
from b10_transfer.caches.artifacts import find_files
from b10_transfer.caches.native_needs import HostLibraries
from b10_transfer.local.scan import scan_tree
from b10_transfer.machine.environment import Environment

if TYPE_CHECKING:
    from b10_transfer.caches.roots import CacheRoot


def artifacts_in(root: CacheRoot) -> tuple[list[str], list[str]]:
    """Paths of the artifacts, and names of what was skipped for a reason of its own."""
    found = find_files(root)
    scan = scan_tree([(root, found)], Environment((), (), ""), HostLibraries({}), workers=1)
    told = [item.file.found.location for item in scan.artifacts]
    told += [item.location for item in scan.skipped]
    assert sorted(told) == sorted(item.location for item in found), "each file once"
    return [item.file.identity.path for item in scan.artifacts], [
        os.path.basename(item.location) for item in scan.skipped if item.reason != INCOMPLETE
    ]
