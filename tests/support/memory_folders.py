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
_ROOM = 256 << 20


@contextlib.contextmanager
def in_memory(otherwise: Path) -> Generator[Path]:
    """A new folder in memory, gone afterwards; `otherwise` where there is little or none."""
    try:
        room = shutil.disk_usage(_MEMORY).free
    except OSError:
        room = 0
    if room < _ROOM or not os.access(_MEMORY, os.W_OK):
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="b10-test-") as folder:
        yield Path(folder)
