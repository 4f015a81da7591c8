"""The errors of a store, by what the caller can do about them."""

from __future__ import annotations

import errno


class StoreError(Exception):
    """Base of all errors of the engine; the message says what failed, and what to do."""


class UnsupportedFormatError(StoreError):
    """The store, or a file of it, has a format version that this release does not read."""


class CorruptError(StoreError):
    """Bytes do not have the digest, length or structure that they should."""


class LimitError(StoreError):
    """A declared size, count or path is beyond what is accepted."""


UNUSABLE = (CorruptError, LimitError, UnsupportedFormatError)
"""The errors of a file whose bytes are of no use to this release."""


class SizeLimitError(StoreError):
    """The local tree alone is larger than one manifest may reference.

    Attributes:
        needed: about how many compressed bytes it takes.
    """

    def __init__(self, what: str, needed: int, limit: int) -> None:
        """Compose the message, in the unit of the limit's setting.

        Args:
            what: the part of the tree that is too large.
            needed: see the class.
            limit: the limit, in bytes.
        """
        super().__init__(
            f"{what} takes {needed / (1 << 20):.1f} MB compressed, over the limit of "
            f"{limit / (1 << 20):.1f} MB (of 2**20 bytes)"
        )
        self.needed = needed


class FencedError(StoreError):
    """The session's token was moved away while the save was running; its plan is void."""


class NoSpaceError(StoreError):
    """A filesystem has too little space for what will be written to it.

    Attributes:
        folder: a folder on that filesystem; "" for the store.
        needed: the bytes that are needed at most; 0 when that is not known.
        tells_space: whether the message says how much is needed and how much is free.
    """

    def __init__(
        self, reason: str, folder: str = "", needed: int = 0, *, tells_space: bool = False
    ) -> None:
        """Keep the reason and the place.

        Args:
            reason: what failed.
            folder: see the class.
            needed: see the class.
            tells_space: see the class.
        """
        super().__init__(f"{folder}: {reason}" if folder else reason)
        self.folder = folder
        self.needed = needed
        self.tells_space = tells_space


OUT_OF_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The errors of a filesystem that is full."""


class MissingLibraryError(StoreError):
    """The package `cryptography`, which signatures need, is not installed."""


class WeakKeyError(StoreError):
    """Anybody can make signatures that a public key verifies."""


class CannotSignError(StoreError):
    """This host can verify signatures, but has no key to sign with."""
