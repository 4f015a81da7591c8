"""A second look at a file that seems wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Finding = TypeVar("_Finding")


def wrong_twice(look: Callable[[], _Finding]) -> _Finding:
    """Return what a look finds wrong, if a second look finds something wrong, too.

    The first finding may be the fault of the client's cache instead of the file: only a second
    look, through a fresh open, proves it.

    Args:
        look: opens the file again; its result is false when nothing is wrong.
    """
    return look() and look()
