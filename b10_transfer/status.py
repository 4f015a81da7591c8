"""The result of an operation."""

from __future__ import annotations

from enum import Enum


class OperationStatus(Enum):
    """The result of `load_compile_cache` and `save_compile_cache`.

    Its truth value is whether the cache is as it should be, so that `if not load_compile_cache():`
    asks the right question.

    Attributes:
        SUCCESS: artifacts were loaded (load), or a manifest was published (save).
        ERROR: the cache is off or unreachable, a setting is invalid, space is missing, or nothing
            can be read.
        DOES_NOT_EXIST: nothing is stored for this environment and namespace, or none of it is for
            this host (load only).
        SKIPPED: everything stored for this host is already here, or most of it is and the store has
            lost the rest (load); nothing is here, or nothing new (save).
    """

    SUCCESS = 1
    ERROR = 2
    DOES_NOT_EXIST = 3
    SKIPPED = 4

    def __bool__(self) -> bool:
        """Return True for SUCCESS and SKIPPED."""
        return self in (OperationStatus.SUCCESS, OperationStatus.SKIPPED)
