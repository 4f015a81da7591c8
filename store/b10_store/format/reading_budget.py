"""The most that one operation reads of all manifests, before it goes on without the rest.

Whoever can write to a store can plant manifests in it: any number, of any size. Reading them must
cost neither the memory nor the patience of a model server.
"""

from __future__ import annotations

import threading

from b10_store.errors import LimitError

FILES = 1000
"""Manifests that are begun with. A load reads the newest first, then what that leaves: a few."""
STRANGE = 10_000
"""Files that turn out to be nobody's manifests. They are counted apart, so that planting some does
not keep the manifests from being read; a look at one costs as little as a file can."""
BYTES = 1 << 30
"""Bytes that are read, and that they are unpacked to. The largest manifest takes half of them."""
ENTRIES = 600_000
"""Artifacts, more than the largest manifest has: each takes about 1 KB of memory and 20 us."""


class BudgetError(LimitError):
    """The budget of the operation was used up before a manifest was read."""


class ReadingBudget:
    """Counts what an operation reads. Safe to use from many threads."""

    def __init__(self, files: int = FILES, size: int = BYTES, entries: int = ENTRIES) -> None:
        """Nothing was read yet.

        Args:
            files: how many manifests may be begun with.
            size: how many bytes may be read and unpacked.
            entries: how many artifacts may be listed.
        """
        self._left = {
            "files": files,
            "strange files": STRANGE,
            "bytes": size,
            "artifacts": entries,
        }
        self._lock = threading.Lock()

    def take(self, what: str, count: int) -> None:
        """Count what is about to be read.

        Args:
            what: "files", "strange files", "bytes" or "artifacts".
            count: of them.

        Raises:
            BudgetError: there is not so much left.
        """
        with self._lock:
            if count > self._left[what]:
                raise BudgetError(
                    f"not read: the manifests before it left room for {self._left[what]} more "
                    f"{what} in one operation, and not for {count}"
                )
            self._left[what] -= count
