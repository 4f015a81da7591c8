"""The user of this process."""

from __future__ import annotations

import os


def own_uid() -> int | None:
    """Return the effective user id; None on a system without user ids, where modes say nothing."""
    return os.geteuid() if hasattr(os, "geteuid") else None
