"""Folders in memory, for tests that write much and to which it is all the same where."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_MEMORY = "/dev/shm"  # noqa: S108  # a folder of our own is made in it


def place_in_memory(room: int) -> str:
    """A folder in memory with so many bytes of room, where programs can be run; "" for none."""
    try:
        is_fit = shutil.disk_usage(_MEMORY).free >= room and os.access(_MEMORY, os.W_OK)
        return _MEMORY if is_fit and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC else ""
    except (OSError, AttributeError):
        return ""


@contextlib.contextmanager
def in_memory(otherwise: Path) -> Generator[Path]:
    """A new folder in memory, gone afterwards; `otherwise` where there is little or none."""
    place = place_in_memory(256 << 20)
    if not place:
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=place, prefix="b10-test-") as folder:
        yield Path(folder)
