"""Stores that are looked after as a user does, whose time passes when a test says so."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, NamedTuple, Protocol

from b10_store.digest import digest_of
from b10_store.format.names import pack_id_of, parse_session_name
from b10_store.manifests.reader import ManifestReader
from b10_store.remote.folder_names import PACKS, TEMPORARY_MARK
from tests.support.aging_stores import AgingFolder, AgingStore
from tests.support.gc_world import GcWorld
from tests.support.sites import Host
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from pathlib import Path

    from b10_store.format.names import SnapshotName
    from b10_store.remote.protocol import Remote
    from tests.support.engine_hosts import EngineHost
    from tests.support.wrapped_remote import Call

_MINUTE = 60.0
_SNAPSHOT = re.compile(r"[0-9]{13}-[0-9a-f]{32}")

Trees = dict[str, bytes]


class KeptStore(AgingStore, Protocol):
    """One whose state can be put back."""

    def keep(self) -> Callable[[], None]:
        """Returns what puts the present state back."""
        ...


class KeptFolder(AgingFolder):
    """One in a real folder."""

    def __init__(self, folder: Path) -> None:
        """A store at `folder`, which need not exist; copies are put beside it."""
        super().__init__(folder)
        self._copies = 0

    def keep(self) -> Callable[[], None]:
        """See `KeptStore.keep`."""
        self._copies += 1
        copy = self._folder.with_name(f"kept-{self._copies}")
        shutil.copytree(self._folder, copy)
        seconds = self._ahead.seconds

        def reset() -> None:
            shutil.rmtree(self._folder)
            shutil.copytree(copy, self._folder)
            self._ahead.seconds = seconds

        return reset


class Stored(NamedTuple):
    """A host, and what it has in the store."""

    host: EngineHost
    tree: Trees


class Stalled(NamedTuple):
    """A saver that stands still just before it publishes, and what it would publish."""

    name: SnapshotName
    stored: Stored


class _StopsToPublish(WrappedRemote):
    """A host that stands still when it is about to rename its token."""

    stopped: str = ""

    def before(self, call: Call) -> None:
        """See `WrappedRemote.before`."""
        if call.effect == "rename" and call.name.startswith("sessions/"):
            self.stopped = call.name
            raise _StandsStillError

    def delete(self, name: str) -> None:
        """It does not tidy up either."""
        if name != self.stopped:
            super().delete(name)


class _StandsStillError(BaseException):
    """Nothing more is done."""


class UpkeepWorld:
    """A store, hosts that save to it and load from it, and one that looks after it."""

    def __init__(self, folder: Path, aging: KeptStore) -> None:
        """Around an empty store; what is local lies in `folder`."""
        self._aging = aging
        self._folder = folder
        self.store = GcWorld(folder, aging)
        self.keeper = Host(folder / "store", folder / "keeper")
        self.keeper.folder.mkdir()
        self.settings = self.keeper.settings()

    @property
    def remote(self) -> Remote:
        """The store, without faults."""
        return self.store.remote

    def keep(self) -> Callable[[], None]:
        """Returns what puts the present state of the store back."""
        return self._aging.keep()

    def stop_a_save(self, host: EngineHost, tree: Trees) -> Stalled:
        """Let a host save, and stand still when it is about to publish."""
        remote = _StopsToPublish(host.remote)
        host.remote = remote
        try:
            host.write(tree).save()
        except _StandsStillError:
            pass
        else:
            raise AssertionError("it was not stopped")
        finally:
            host.remote = self.remote
        (name,) = [
            name
            for name in map(parse_session_name, self.remote.list("sessions"))
            if name is not None and name.session_path == remote.stopped
        ]
        return Stalled(name, Stored(host, host.tree()))

    def put_dead_pack(self, content: bytes) -> str:
        """A whole pack that nothing references; returns its name."""
        name = f"{pack_id_of(digest_of(content))}.pack"
        self.remote.create(PACKS, name, [content])
        return name

    def referenced_packs(self) -> set[str]:
        """The packs that manifests reference."""
        reader = ManifestReader(self.remote, str(self.keeper.work), ())
        return {pack for name in reader.names() for pack in reader.read(name).packs}

    def state(self) -> Hashable:
        """Equal for stores of which whatever follows is the same."""
        now = self.remote.now()
        ids: dict[str, str] = {}
        found: set[tuple[str, str, int]] = set()
        for name, data in sorted(self.store.files().items()):
            folder, _, base = name.rpartition("/")
            is_new = name.startswith("trash/") and _SNAPSHOT.fullmatch(folder.rpartition("/")[2])
            if is_new:
                folder = ids.setdefault(folder, f"trash/{len(ids)}")
            stem, mark, _ = base.partition(TEMPORARY_MARK)
            age = round((now - self.remote.stat(name).mtime) / _MINUTE)
            found.add((f"{folder}/{stem}{mark}", digest_of(data), age))
        return frozenset(found)
