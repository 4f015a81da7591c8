"""The state in which an operation begins, to be put back before each time that it is stopped."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING
from unittest import mock

import b10_transfer
from b10_store.digest import digest_of
from b10_store.paths import RECORD_FOLDER
from b10_transfer.operations import transfer
from tests.support.sites import Host

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from b10_transfer.operations.reports import SaveReport
    from b10_transfer.settings import Settings

BOTH_ROOTS = ("inductor", "triton")


class World:
    """A store and a host, in a folder that is copied to one side and back."""

    def __init__(self, folder: Path) -> None:
        """An empty one in a folder of its own, below `folder`."""
        self.folder = folder / "world"
        self._kept = folder / "kept"
        self.host = Host(self.folder / "store", self.folder / "host")
        self.settings = self.host.settings()

    def keep(self) -> None:
        """From now on `reset` goes back to the present state."""
        self.folder.rename(self._kept)
        self.reset()

    def reset(self) -> None:
        """Go back to the state that was kept."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self._kept, self.folder)

    def state(self) -> Hashable:
        """Equal where the store and the caches hold the same, and beside them the same names."""
        found: set[tuple[str, str]] = set()
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            is_record = RECORD_FOLDER in path.parts
            found.add((name, "" if is_record or path.is_dir() else digest_of(path.read_bytes())))
        return frozenset(found)

    def other_host(self) -> Host:
        """One that uses the same store."""
        return Host(self.host.store, self.folder / "other")


def save(settings: Settings) -> SaveReport:
    """Save without waiting for anyone."""
    return transfer.save(settings, wait=False)


def load(settings: Settings) -> None:
    """Load."""
    transfer.load(settings)


def load_without_links(settings: Settings) -> None:
    """Load on a filesystem that has no hard links."""
    with mock.patch("os.link", side_effect=PermissionError(1, "no links here")):
        transfer.load(settings)


def clear(settings: Settings) -> None:
    """Clear both cache roots."""
    with mock.patch.dict(os.environ, settings.variables, clear=True):
        assert b10_transfer.clear_local_cache(roots=BOTH_ROOTS)
