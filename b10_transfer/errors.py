"""The exceptions of the product. The functions that return a status never let one out."""

from __future__ import annotations


class CacheError(Exception):
    """A cache operation failed; the message says why and how to go on."""


class CacheValidationError(CacheError):
    """A setting or a path is not acceptable; the message names it, its value and what is.

    Attributes:
        setting: the environment variable or the flag that is wrong; None where it is neither.
    """

    def __init__(self, message: str, setting: str | None = None) -> None:
        """Say what is wrong, and with which setting."""
        super().__init__(message)
        self.setting = setting


class CacheOperationInterrupted(CacheError):  # noqa: N818  # the public name, since release 0.1
    """There was too little disk space. Nothing half-made is left behind."""
