"""The signing secret of this process: kept here, and out of all that it starts.

Environment variables are inherited by compilers, their workers and servers, and everybody with this
user's rights reads them in /proc. So the secret is taken out of them when it is first read, and
what is left in its place makes a process that would have needed it fail, instead of going on
without a signature.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import TYPE_CHECKING

from b10_transfer.errors import CacheValidationError
from b10_transfer.keys import KEY, KEY_FILE, is_public, parse_keys

if TYPE_CHECKING:
    from b10_store import Key

TAKEN = "(taken by the process that it was given to)"

_PR_SET_DUMPABLE = 4  # linux/prctl.h

_held: list[tuple[Key, ...] | str] = []
"""The keys, or why they are none; empty until a secret was taken."""


def keys_of(text: str) -> tuple[Key, ...]:
    """The keys in the value of B10_CACHE_SIGNING_KEY; this process' own secret is taken.

    Raises:
        CacheValidationError: they are not acceptable, or another process has taken them.
    """
    if text != TAKEN:
        if os.environ.get(KEY) != text or is_public(text):
            return parse_keys(KEY, text)
        _take(text)
    if not _held:
        raise CacheValidationError(
            f"{KEY} was given to the process that started this one, which keeps it to itself: set "
            f"{KEY_FILE} instead, which reaches both"
        )
    held = _held[-1]
    if isinstance(held, str):
        raise CacheValidationError(held)
    return held


def take_secret() -> None:
    """Take the secret out of this process' environment variables, acceptable or not."""
    text = os.environ.get(KEY)
    if text is not None:
        with contextlib.suppress(CacheValidationError):
            keys_of(text)


def guard_memory(*, on: bool = True) -> None:
    """Let no other process of this user read this one's memory, nor the system write it to a file.

    For processes of our own: a program around us may want to be looked at.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, int(not on), 0, 0, 0)


def _take(text: str) -> None:
    try:
        found: tuple[Key, ...] | str = parse_keys(KEY, text)
    except CacheValidationError as error:
        found = str(error)
    _held[:] = [found]
    _overwrite()
    os.environ[KEY] = TAKEN


def _overwrite() -> None:
    """Overwrite the secret where /proc shows what this process was started with.

    A process forked from this one would show it, too.
    """
    with contextlib.suppress(OSError, AttributeError):
        getenv = ctypes.CDLL(None).getenv
        getenv.restype, getenv.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)
        place = getenv(KEY.encode())
        if place:
            ctypes.memset(place, ord("-"), len(ctypes.string_at(place)))
