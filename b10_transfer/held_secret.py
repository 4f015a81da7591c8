"""The signing secret of this process: kept here, and hidden from processes that it starts.

Compilers, their workers and servers inherit environment variables, and every process of this user
can read them in /proc. So the secret is removed from them when it is first read. A mark stays in
its place, so that a process that would need the secret fails instead of going on without a
signature.
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
"""The keys, or why they are not acceptable; empty until a secret was taken."""


def keys_of(text: str) -> tuple[Key, ...]:
    """Return the keys in B10_CACHE_SIGNING_KEY, and take this process' secret out of it.

    Raises:
        CacheValidationError: they are not acceptable, or another process has taken them.
    """
    if text != TAKEN:
        if os.environ.get(KEY) != text or is_public(text):
            return parse_keys(KEY, text)
        _take(text)
    if not _held:
        raise CacheValidationError(
            f"{KEY} was given to the process that started this one, and it does not pass it on: "
            f"set {KEY_FILE} instead, which both can read"
        )
    held = _held[-1]
    if isinstance(held, str):
        raise CacheValidationError(held)
    return held


def take_secret() -> None:
    """Remove the secret from this process' environment variables, acceptable or not."""
    text = os.environ.get(KEY)
    if text is not None:
        with contextlib.suppress(CacheValidationError):
            keys_of(text)


def guard_memory(*, on: bool = True) -> None:
    """Keep other processes of this user from reading this memory, and the system from dumping it.

    Only for our own processes: a program that imports the package may want to be debugged.
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
    """Overwrite the secret in the variables that /proc shows for this process.

    A process that is forked from this one would show it, too.
    """
    with contextlib.suppress(OSError, AttributeError):
        getenv = ctypes.CDLL(None).getenv
        getenv.restype, getenv.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)
        place = getenv(KEY.encode())
        if place:
            ctypes.memset(place, ord("-"), len(ctypes.string_at(place)))
