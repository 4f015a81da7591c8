"""Check free space for the files of a load before it writes them, and while it does."""

from __future__ import annotations

import os
import shutil
import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store import NoSpaceError
from b10_transfer.units import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

_BLOCK = 4096
_WATCH_BYTES = 16 << 20


class LocalSpace:
    """The space that a load needs on each filesystem that it writes to."""

    def __init__(self, needs: Iterable[tuple[str, int]]) -> None:
        """Add up what is needed.

        Args:
            needs: for each file, an existing folder and the bytes to be written there.
        """
        self._left: defaultdict[int, int] = defaultdict(int)
        self._unwatched: defaultdict[int, int] = defaultdict(int)
        self._folders: dict[int, str] = {}
        self._devices: dict[str, int] = {}
        self._refusal: NoSpaceError | None = None
        self._lock = threading.Lock()
        blocks: defaultdict[str, int] = defaultdict(int)
        for folder, size in needs:
            blocks[folder] += -(-size // _BLOCK)
        for folder, count in blocks.items():
            device = self._device(folder)
            self._left[device] += count * _BLOCK
            self._folders[device] = folder

    def require(self) -> None:
        """Check that everything fits.

        Raises:
            NoSpaceError: the message names the folder, the needed and the free bytes.
        """
        for device, needed in self._left.items():
            self._check(self._folders[device], needed)

    def watch(self, folder: str, size: int) -> None:
        """Note that `size` bytes will be written; check now and then that the rest still fits.

        Others write to the same disk, so a load stops before it fills it up.

        Raises:
            NoSpaceError: as `require`.
        """
        device = self._device(folder)
        with self._lock:
            if self._refusal is not None:
                # Threads that still work must write nothing more.
                raise self._refusal
            needed = max(self._left[device], size)
            self._left[device] = max(0, self._left[device] - size)
            self._unwatched[device] += size
            if self._unwatched[device] >= _WATCH_BYTES:
                self._unwatched[device] = 0
                self._check(folder, needed)

    def _check(self, folder: str, needed: int) -> None:
        free = shutil.disk_usage(folder).free
        if free < needed:
            self._refusal = NoSpaceError(
                f"{size_text(needed)} are needed and {size_text(free)} are free",
                folder,
                tells_space=True,
            )
            raise self._refusal

    def _device(self, folder: str) -> int:
        device = self._devices.get(folder)
        if device is None:
            device = self._devices[folder] = os.stat(folder).st_dev
        return device
