"""A second look at a file that seems wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from b10_store.errors import CorruptError

if TYPE_CHECKING:
    from collections.abc import Callable

_Finding = TypeVar("_Finding")
_Content = TypeVar("_Content")


def wrong_twice(look: Callable[[], _Finding]) -> _Finding:
    """Return what a look finds wrong, if a second look finds something wrong, too.

    The first finding may be the fault of the client's cache instead of the file: only a second
    look, through a fresh open, proves it.

    Args:
        look: opens the file again; its result is false when nothing is wrong.
    """
    return look() and look()


def decoded_file(read: Callable[[], bytes], decode: Callable[[bytes], _Content]) -> _Content:
    """Read and decode a file; if it seems damaged, once more.

    A client's cache may know the file as shorter than it is.

    Args:
        read: opens the file afresh and returns its bytes.
        decode: raises CorruptError for bytes that are not what they should be.
    """
    data = read()
    try:
        return decode(data)
    except CorruptError:
        again = read()
        if again == data:
            raise
        return decode(again)
