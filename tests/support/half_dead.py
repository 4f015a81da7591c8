"""Stores in which most of a pack is used by nobody any more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from unittest import mock

from b10_store.remote.folder import FolderRemote
from b10_transfer.operations import upkeep
from tests.support.blobs import prose

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from b10_store.remote.protocol import FileStat
    from b10_transfer.settings import Settings
    from tests.support.engine_hosts import EngineHost

FILES = 6
LARGE_SIZE = (5 << 20) // 2 + 77
"""Bytes of a blob that needs several frames."""


def model(number: int, size: int = 3000) -> dict[str, bytes]:
    """Files of equal length; other bytes for another number."""
    return {f"a{item}/{item}.py": prose(size, 100 * number + item) for item in range(FILES)}


def large_model(number: int) -> dict[str, bytes]:
    """The same with a blob of several frames and an empty one."""
    extra = {"a0/large.bin": prose(LARGE_SIZE, 1000 + number), "a0/empty.py": b""}
    return model(number, size=LARGE_SIZE // 2) | extra


def replace_some(host: EngineHost, tree: Mapping[str, bytes], names: list[str]) -> dict[str, bytes]:
    """Let a host that saved a tree replace some of its files and save again; returns its tree."""
    host.load()
    changed = {name: tree[name] + b" made again" for name in names}
    host.write(changed).save()
    return {**tree, **changed}


@contextlib.contextmanager
def forgetting_changes() -> Generator[None]:
    """Let a store's filesystem not tell when a file was renamed: then its name's time counts."""
    real = FolderRemote.stat

    def without(remote: FolderRemote, name: str) -> FileStat:
        return real(remote, name)._replace(changed=0.0)

    with mock.patch.object(FolderRemote, "stat", without):
        yield


def collect(settings: Settings) -> None:
    """One visit of the garbage collection, which repacks half-dead packs."""
    upkeep.collect(settings)
