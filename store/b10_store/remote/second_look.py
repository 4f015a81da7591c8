"""A second look at what seems wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Finding = TypeVar("_Finding")


def wrong_twice(look: Callable[[], _Finding]) -> _Finding:
    """Return what a look finds wrong, if a second look finds something wrong too.

    The first finding may be the fault of the client's cache, and not of the file: only a second
    look, through a fresh open, convicts.

    Args:
        look: opens the file afresh; its finding is false where nothing is wrong.
    """
    return look() and look()
