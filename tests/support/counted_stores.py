"""The store as each load or save of the product uses it, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.remote.folder import FolderRemote
from b10_transfer.operations import context
from tests.support.counting_remote import CountingRemote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

    from b10_store.remote.protocol import Range


class MeasuringRemote(CountingRemote):
    """Counts what is read too, in bytes, by file."""

    def __init__(self, root: str) -> None:
        """A store in a folder, of which nothing was read yet."""
        super().__init__(FolderRemote(root))
        self.bytes_read: dict[str, int] = {}

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """See `Remote.read`."""
        for data in super().read(name, ranges):
            self.bytes_read[name] = self.bytes_read.get(name, 0) + len(data)
            yield data

    def read_in(self, folder: str) -> list[str]:
        """The files of a folder that were read, in order, as often as they were."""
        return [name for name in self.names("read") if name.startswith(f"{folder}/")]


def counted_stores(monkeypatch: pytest.MonkeyPatch) -> list[MeasuringRemote]:
    """The remotes of this process' operations from now on, one for each, in order."""
    made: list[MeasuringRemote] = []

    def counted(root: str) -> MeasuringRemote:
        made.append(MeasuringRemote(root))
        return made[-1]

    monkeypatch.setattr(context, "FolderRemote", counted)
    return made
