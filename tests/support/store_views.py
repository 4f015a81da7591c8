"""Stores looked at from outside: their files, each manifest alone, and what a new host gets."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from b10_store.remote.folder import FolderRemote
from tests.support.sites import Host
from tests.support.trees import artifacts_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from tests.support.trees import Artifacts

_TEMPORARY = ".tmp-"


@contextlib.contextmanager
def clock_behind(seconds: float) -> Generator[None]:
    """Let a store's filesystem say that it is earlier than it is."""
    real = FolderRemote.now

    def earlier(remote: FolderRemote) -> float:
        return real(remote) - seconds

    with mock.patch.object(FolderRemote, "now", earlier):
        yield


def store_files(store: Path) -> dict[str, bytes]:
    """Every file of a store, but no unfinished ones and no sessions."""
    found: dict[str, bytes] = {}
    for folder, _, names in os.walk(store):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(store).as_posix()
            if _TEMPORARY not in name and not relative.startswith("sessions/"):
                found[relative] = path.read_bytes()
    return found


def published(files: Iterable[str]) -> set[str]:
    """Those of a store's files that are manifests."""
    return {name for name in files if name.startswith("manifests/")}


def load_elsewhere(store: Path) -> Artifacts:
    """What a host that has nothing yet gets; {} when nothing is stored.

    Raises:
        AssertionError: the load reported a problem.
    """
    folder = Path(tempfile.mkdtemp(prefix="new-host-", dir=store.parent))
    try:
        host = Host(store, folder)
        report = host.load()
        assert report.problems == ()
        assert report.unavailable == 0
        return artifacts_of(host)
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def manifest_alone(store: Path, name: str) -> Generator[Path]:
    """A store with the same packs and no other manifest."""
    folder = Path(tempfile.mkdtemp(prefix="one-manifest-", dir=store.parent))
    try:
        (folder / "packs").mkdir()
        for pack in (store / "packs").iterdir():
            (folder / "packs" / pack.name).hardlink_to(pack)
        (folder / "manifests").mkdir()
        shutil.copy2(store / name, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder)
