"""Kinds of damage to the files of a store: values."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Damage(enum.Enum):
    """A kind of damage to a file of a store."""

    UNREADABLE = "cannot be read"
    UNSUPPORTED = "of another format"
    DAMAGED = "damaged"
    REFUSED = "not signed with a known key"
    MISSING = "missing"
    NO_FOLDER = "no folder"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a file of a store.

    Attributes:
        name: the file, relative to the store.
        damage: what is wrong.
        reason: how that shows.
        repaired: what was done about it; "" when nothing was.
    """

    name: str
    damage: Damage
    reason: str
    repaired: str = ""
