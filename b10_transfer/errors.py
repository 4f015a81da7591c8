"""The exceptions of the product. Functions that return a status never raise one."""

from __future__ import annotations


class CacheError(Exception):
    """A cache operation failed; the message says why, and what to do."""


class CacheValidationError(CacheError):
    """A setting or a path is not acceptable; the message names it, its value and what would be.

    Attributes:
        setting: the environment variable or flag that is wrong; None when it is neither.
    """

    def __init__(self, message: str, setting: str | None = None) -> None:
        """Keep the message, and the setting that is wrong."""
        super().__init__(message)
        self.setting = setting


class CacheOperationInterrupted(CacheError):  # noqa: N818  # the public name, since release 0.1
    """Disk space was too short. Nothing half-made is left behind."""
