"""The limit for the manifests that one operation reads; it goes on without the rest.

Anybody who can write to a store can plant any number of manifests, of any size. Reading them must
not use up a model server's memory or time.
"""

from __future__ import annotations

import threading

from b10_store.errors import LimitError

FILES = 1000
"""The number of manifests that are read. A load reads the newest, then a few others."""
STRANGE = 10_000
"""The number of files that turn out not to be manifests. They are counted separately, so that
planted files do not keep manifests from being read; recognising one is cheap."""
BYTES = 1 << 30
"""The bytes that are read, and the bytes that they unpack to. The largest manifest takes half."""
ENTRIES = 600_000
"""The number of artifacts, more than the largest manifest has: each takes about 1 KB of memory and
20 us."""


class BudgetError(LimitError):
    """The budget of the operation was used up before a manifest was read."""


class ReadingBudget:
    """Counts what an operation reads. Safe to use from many threads."""

    def __init__(self, files: int = FILES, size: int = BYTES, entries: int = ENTRIES) -> None:
        """Begin with nothing read.

        Args:
            files: how many manifests may be read.
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
        """Count something that will be read.

        Args:
            what: "files", "strange files", "bytes" or "artifacts".
            count: how many.

        Raises:
            BudgetError: too little is left.
        """
        with self._lock:
            if count > self._left[what]:
                raise BudgetError(
                    f"not read: the manifests before it left room for {self._left[what]} more "
                    f"{what} in one operation, and not for {count}"
                )
            self._left[what] -= count
