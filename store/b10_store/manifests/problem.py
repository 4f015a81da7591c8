"""A file of a store that could not be used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A file of a store that could not be used.

    Attributes:
        name: the file, relative to the store.
        reason: why.
        missing: whether the file did not exist.
        unreachable: whether the filesystem did not return its bytes, so that nothing is known.
        unread: whether the budget of the operation was used up before.
    """

    name: str
    reason: str
    missing: bool = False
    unreachable: bool = False
    unread: bool = False
