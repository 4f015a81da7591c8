"""A file of a store that could not be used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A file of a store that could not be used.

    Attributes:
        name: the file, relative to the store.
        reason: why.
        missing: there was no such file.
        unreachable: the filesystem did not give its bytes; nothing is known of them.
        unread: the budget of the operation was used up before.
    """

    name: str
    reason: str
    missing: bool = False
    unreachable: bool = False
    unread: bool = False
