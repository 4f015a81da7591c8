"""Roots of Inductor and Triton in which every name counts as their compiler's.

Most tests are about something else than names, and use short ones. Those marked `layouts` are not
among them; what is marked so, and its processes, know the real names only.
"""

from __future__ import annotations

from pathlib import Path

from b10_transfer.caches.kinds import INDUCTOR, TRITON, RootKind
from b10_transfer.caches.layouts import EVERYTHING, Layout

AT_START = Path(__file__).with_name("at_start")
"""To be in PYTHONPATH of a process that takes any name."""

_REAL = {kind.name: (kind, kind.layout) for kind in (INDUCTOR, TRITON)}


def allow_any_name(*kinds: RootKind) -> None:
    """Take any name from now on, in roots of these kinds; by default in all."""
    for kind in kinds or [kind for kind, _ in _REAL.values()]:
        _give(kind, EVERYTHING)


def allow_real_names() -> None:
    """Go back to the names of the compilers."""
    for kind, layout in _REAL.values():
        _give(kind, layout)


def is_any_name_allowed() -> bool:
    """Whether any name is taken in this process."""
    return INDUCTOR.layout is EVERYTHING


def _give(kind: RootKind, layout: Layout) -> None:
    # Frozen, and imported by name in many places.
    object.__setattr__(kind, "layout", layout)
