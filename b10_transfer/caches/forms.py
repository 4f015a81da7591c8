"""Forms of paths: regular expressions that are compiled when they are first used."""

from __future__ import annotations

import re


class Form:
    """A regular expression for paths, in which a dot stands for any character.

    There are dozens, and compiling them all takes longer than a small load; a host uses few.
    """

    __slots__ = ("_pattern", "text")

    def __init__(self, text: str) -> None:
        """Take the expression; it is not compiled yet."""
        self.text = text
        self._pattern: re.Pattern[str] | None = None

    def fullmatch(self, path: str) -> re.Match[str] | None:
        """Match the whole of a path."""
        return (self._pattern or self._compile()).fullmatch(path)

    def match(self, path: str) -> re.Match[str] | None:
        """Match the beginning of a path."""
        return (self._pattern or self._compile()).match(path)

    def _compile(self) -> re.Pattern[str]:
        self._pattern = re.compile(self.text, re.DOTALL)
        return self._pattern
