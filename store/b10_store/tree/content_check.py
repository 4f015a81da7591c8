"""The seam by which the engine asks whether an artifact's bytes are whole."""

from __future__ import annotations

from typing import Protocol


class ContentCheck(Protocol):
    """Looks at the bytes of one artifact as they pass, and judges them at the end.

    The engine knows no form of a file. Whoever names the artifacts knows it, and gives a check for
    each: a save asks it while it hashes a file, a load before it puts one in place.
    """

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes; they are not to be kept as they are."""
        ...

    def flaw(self) -> str:
        """Return what is wrong, in a few words without the file's name; "" for nothing."""
        ...
