"""Tests in which a process becomes another user."""

from __future__ import annotations

import os
import stat
from importlib.util import find_spec
from pathlib import Path

import pytest


def _others_may_read_torch() -> bool:
    """Another user who cannot see torch is in another environment, and shares nothing."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return True
    file = Path(found.origin)
    folders_open = all(folder.stat().st_mode & stat.S_IXOTH for folder in file.parents)
    return folders_open and bool(file.stat().st_mode & stat.S_IROTH)


def _reason_to_skip() -> str:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root can become another user"
    return "" if _others_may_read_torch() else "other users cannot read this environment's torch"


needs_another_user = pytest.mark.skipif(
    bool(_reason_to_skip()), reason=_reason_to_skip() or "can be run"
)
