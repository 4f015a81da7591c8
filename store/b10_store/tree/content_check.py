"""The seam through which the engine asks whether an artifact's bytes are intact."""

from __future__ import annotations

from typing import Protocol


class ContentCheck(Protocol):
    """Reads the bytes of one artifact as they pass, and judges them at the end.

    The engine does not know the forms of files. The product, which names the artifacts, gives a
    check for each: a save asks it while it hashes a file, a load before it places one.
    """

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes, and keep no reference to them."""
        ...

    def flaw(self) -> str:
        """Return what is wrong, in a few words without the file's name; "" if nothing is."""
        ...
