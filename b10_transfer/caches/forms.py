"""Forms of paths: regular expressions that are compiled at first use."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDERS_KNOWN = 1024
"""The number of folders that are remembered. Files come folder by folder, so few are enough."""


class Form:
    """A regular expression for paths; a dot matches any character.

    There are dozens, and compiling all takes longer than a small load, while a host uses few.
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


class Leftovers:
    """The files and folders of a cache root that hold nothing to save.

    A path is one of them when it, or a folder above it, has one of the names or forms. Folders are
    matched only once, since they hold thousands of files.
    """

    __slots__ = ("_has_folder", "_names", "_objects", "_places")

    def __init__(self, names: Iterable[str], *places: str, objects: str = r"(?!)") -> None:
        """Take the expressions.

        Args:
            names: what a file or folder may be called, at any depth.
            places: forms of whole paths.
            objects: a form of the whole paths of object files, which end with ".o".
        """
        self._names = Form("|".join(names))
        self._places = Form("|".join(places) or r"(?!)")
        self._objects = Form(objects)
        self._has_folder = functools.lru_cache(FOLDERS_KNOWN)(self.has)

    def has(self, path: str) -> bool:
        """Whether there is nothing to save at or below a path."""
        folder, _, name = path.rpartition("/")
        return (
            self._names.fullmatch(name) is not None
            or self._places.fullmatch(path) is not None
            or (name.endswith(".o") and self._objects.fullmatch(path) is not None)
            or (folder != "" and self._has_folder(folder))
        )
