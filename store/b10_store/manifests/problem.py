"""A file of a store that cannot be used, and what is wrong with it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from b10_store.errors import UnsupportedFormatError
from b10_store.format.reading_budget import BudgetError
from b10_store.remote.protocol import is_no_file


class Damage(enum.Enum):
    """What is wrong with a file of a store."""

    UNREAD = "not read"
    UNREADABLE = "cannot be read"
    UNSUPPORTED = "of another format"
    DAMAGED = "damaged"
    REFUSED = "not signed with a known key"
    MISSING = "missing"
    NO_FOLDER = "no folder"


_READ = frozenset({Damage.UNSUPPORTED, Damage.DAMAGED, Damage.REFUSED})


@dataclass(frozen=True, slots=True)
class Problem:
    """A file of a store that cannot be used.

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

    @property
    def was_read(self) -> bool:
        """Whether its bytes are known, and of no use to this host."""
        return self.damage in _READ


def problem_of(name: str, error: Exception) -> Problem:
    """Return what an error says of the file that it was raised for."""
    return Problem(name, _damage_of(error), str(error))


def _damage_of(error: Exception) -> Damage:
    if isinstance(error, BudgetError):
        return Damage.UNREAD
    if isinstance(error, UnsupportedFormatError):
        return Damage.UNSUPPORTED
    if isinstance(error, FileNotFoundError):
        return Damage.MISSING
    if isinstance(error, OSError) and not is_no_file(error):
        return Damage.UNREADABLE
    return Damage.DAMAGED
