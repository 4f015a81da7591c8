"""Refusals of the system: no memory, no threads, no descriptors, an interpreter that shuts down."""

from __future__ import annotations

import errno
import os
import sys

from b10_transfer.paths import is_below

_BY_NUMBER = {
    errno.EMFILE: "too many files are open in this process: raise `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine: raise fs.file-max",
    errno.ENOMEM: "there is too little memory for this process: raise its limit (`ulimit -v`)",
}
_NO_MEMORY = _BY_NUMBER[errno.ENOMEM]
_NO_THREAD = (
    "cannot start a thread: the limit is reached; raise `ulimit -u`, or the container's limit of "
    "processes or memory"
)
_AT_THE_END = "the interpreter is shutting down: call it earlier"

# The texts of CPython and the dynamic loader; such errors have no number.
_BY_TEXT = (
    ("shutdown", _AT_THE_END),
    ("shutting down", _AT_THE_END),
    ("start new thread", _NO_THREAD),
    ("create new thread", _NO_THREAD),
    ("failed to map segment", _NO_MEMORY),
    ("cannot allocate memory", _NO_MEMORY),
    ("Cannot allocate memory", _NO_MEMORY),
)


_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def describe(error: OSError, store: str) -> str:
    """Describe an error of the filesystem about the store or a local file, with the way out.

    Args:
        error: the error; files of the store are named by their path in it.
        store: the folder of the store.
    """
    if error.errno == errno.ENOTDIR and not os.path.isdir(store):
        return f"the store {store} is not a folder: set B10FS_CACHE_DIR to one"
    named = str(error.filename or "")
    reason = error.strerror or str(error)
    if os.path.isabs(named) and not is_below(named, store):
        return f"{named}: {reason}"
    place = os.path.relpath(named, store) if os.path.isabs(named) else named
    what = f"{place} in the store {store}" if place not in {"", "."} else f"the store {store}"
    if error.errno in _NOT_ALLOWED:
        return (
            f"this user may not use {what}: {reason}; allow it (chmod, chown), or run as another "
            "user"
        )
    return f"{what}: {reason}"


def refusal(error: BaseException) -> str | None:
    """Return what the system refused, with the way out; None for any other error."""
    if isinstance(error, MemoryError):
        return _NO_MEMORY
    if isinstance(error, OSError):
        return _BY_NUMBER.get(error.errno or 0)
    if sys.is_finalizing():
        return _AT_THE_END
    if isinstance(error, (ImportError, RuntimeError)):
        text = str(error)
        return next((reason for part, reason in _BY_TEXT if part in text), None)
    return None
