"""Which files of a cache root are artifacts: decided for a folder where its path is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from b10_transfer.caches.kinds import RootKind


class Taker:
    """Answers as `RootKind.takes`, for many files in few folders.

    To match each path against the whole layout would take longer than to find the files.
    """

    def __init__(self, kind: RootKind, *, is_pure: bool = False) -> None:
        """Look at no folder yet.

        Args:
            kind: of the root.
            is_pure: whether nothing foreign lies in the root; see `RootKind.unknown`.
        """
        self._kind = kind
        self._is_pure = is_pure
        self._may_be_called_anything: dict[str, bool] = {}

    def takes(self, path: str) -> bool:
        """Return whether a file is an artifact, by its path below the root."""
        folder = path.rpartition("/")[0]
        any_name = self._may_be_called_anything.get(folder)
        if any_name is None:
            any_name = self._may_be_called_anything[folder] = self._look_at(folder)
        kind = self._kind
        return (any_name or kind.layout.has_file(path)) and not kind.leftovers.has(path)

    def _look_at(self, folder: str) -> bool:
        kind = self._kind
        return kind.layout.whole.fullmatch(folder) is not None or (
            self._is_pure and kind.unknown.fullmatch(f"{folder}/any name") is not None
        )
