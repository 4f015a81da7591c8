"""A store, its hosts and their clocks, for tests that do anything in any order."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from b10_store import load as load_module
from b10_store import store as store_module
from b10_store.check import check
from b10_store.digest import digest_of
from b10_store.format.names import Address
from b10_store.manifests import reader as heads
from b10_store.packs import blobs
from b10_store.packs import writer as pack
from b10_store.save import dedup, save, session
from b10_store.store import Store
from b10_store.tree import scan
from tests.support.aging_stores import AgingFolder, AgingMemory
from tests.support.engine_hosts import EngineHost
from tests.support.memory_folders import in_memory
from tests.support.serial_pools import SerialPool
from tests.support.stateful_model import LostError, Model
from tests.support.stateful_stops import Mount
from tests.support.stateful_view import Decoder, Observer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_store.digest import Digest
    from b10_store.remote.protocol import Remote
    from b10_store.save.request import SaveRequest
    from tests.support.aging_stores import AgingStore

GROUP = "fxgraph/k"
"""The folder whose files are variants of one thing."""

ADDRESSES = (Address("a" * 32), Address("a" * 32, "model"), Address("b" * 32, "model"))
"""Two environments, and two namespaces of one of them."""

KEPT = Address("c" * 32)
"""One more, to which nothing happens: where there is no manifest at all, nothing is collected."""

_SERIAL = (load_module, blobs, check, dedup, heads, pack, scan)


class NoThread:
    """A heartbeat that cannot be had: it is the test that beats."""

    def __init__(self, **_: object) -> None:
        """Nothing."""

    def start(self) -> None:
        """There are no more threads."""
        raise RuntimeError

    def is_alive(self) -> bool:
        """Never."""
        return False


class HostTime:
    """Takes the place of the module `time` on every host."""

    def __init__(self, aging: AgingStore) -> None:
        """Right at first."""
        self._aging = aging
        self._passed = 0.0
        self.skew = 0.0
        self.worst_skew = 0.0

    def pass_(self, seconds: float) -> None:
        """Let time pass, for the store as for the hosts."""
        self._passed += seconds
        self._aging.advance(seconds)

    def jump(self, seconds: float) -> None:
        """Let the hosts' clocks be wrong by so much."""
        self.skew = seconds
        self.worst_skew = max(self.worst_skew, abs(seconds))

    def time(self) -> float:
        """Seconds since the epoch, as the hosts believe."""
        clock = getattr(self._aging, "clock", None)
        seconds: float = time.time() + self._passed if clock is None else clock.seconds
        return seconds + self.skew

    def time_ns(self) -> int:
        """The same in nanoseconds."""
        return int(self.time() * 1e9)

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._passed

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.pass_(seconds)


class World:
    """A store, five hosts (the last for `KEPT`), and what is known of them."""

    def __init__(self, kind: str) -> None:
        """Make a new one.

        Args:
            kind: of the store: "memory" or "folder".
        """
        self._stack = contextlib.ExitStack()
        disk = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="b10-world-")))
        self.folder = self._stack.enter_context(in_memory(disk))
        aging = AgingMemory() if kind == "memory" else AgingFolder(self.folder / "store")
        self.raw: Remote = aging.remote
        self.mount = Mount(aging.remote)
        self._stack.callback(self.mount.close)
        self.time = HostTime(aging)
        self._decode = Decoder()
        self._patch()
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir()
        self.observer = Observer(aging.remote, str(self.scratch), self._decode)
        self.model = Model()
        self._count = 0
        self.hosts = [self._new(address) for address in (ADDRESSES[0], *ADDRESSES, KEPT)]

    def close(self) -> None:
        """Put everything back as it was."""
        self._stack.close()

    def store(self, remote: Remote | None = None) -> Store:
        """The store, for one operation."""
        return Store(remote or self.mount, str(self.scratch))

    def clear(self, number: int) -> None:
        """Let a host be a new one, that has nothing."""
        self.hosts[number] = self._new(self.hosts[number].address)

    def request(self, host: EngineHost, *, wait: bool) -> SaveRequest:
        """What a save of a host asks for; from now on it may publish that."""
        self.model.begin_save(host.address, host.tree())
        return host.request(wait_seconds=60.0 if wait else 0.0)

    def new_load(self, address: Address) -> dict[str, bytes]:
        """What a host gets that has nothing yet."""
        host = self._new(address)
        host.load()
        return host.tree()

    def check_tree(
        self,
        address: Address,
        before: Mapping[str, bytes],
        after: Mapping[str, bytes],
        *,
        whole: bool,
    ) -> None:
        """Compare what a load did with what it must do.

        Args:
            address: that was loaded.
            before: what was in the cache root.
            after: what is in it now.
            whole: everything that is offered must be there.
        """
        offers = self.model.offers(address)
        for path, data in after.items():
            if path in before:
                if data != before[path]:
                    raise LostError(f"a load replaced {path}")
            elif digest_of(data) not in self.model.ever[address].get(path, ()):
                raise LostError(f"a load brought bytes to {path} that nobody saved there")
        if before.keys() - after.keys():
            raise LostError("a load took something away")
        for path, offered in offers.items() if whole else ():
            if path not in before and digest_of(after.get(path, b"")) != offered.digest:
                raise LostError(f"a load did not bring {path}, which is offered")

    def names(self, folder: str = "") -> set[str]:
        """Every file of the store below a folder."""
        prefix = f"{folder}/" if folder else ""
        found: set[str] = set()
        for name in self.raw.list(folder):
            inside = self.names(prefix + name[:-1]) if name.endswith("/") else {prefix + name}
            found |= inside
        return found

    def _new(self, address: Address) -> EngineHost:
        self._count += 1
        return EngineHost(self.mount, self.folder / f"host{self._count}", address, group=GROUP)

    def _patch(self) -> None:
        def put(owner: Any, name: str, value: object) -> None:
            self._stack.enter_context(mock.patch.object(owner, name, value))

        threads = SimpleNamespace(Event=threading.Event, Thread=NoThread)
        put(session, "threading", threads)
        for module in (session, save, store_module):
            put(module, "time", self.time)
        # What is done in one thread happens in one order; and little is enough to rely on others.
        for module in _SERIAL:
            put(module, "ThreadPoolExecutor", SerialPool)
        # The same bytes are the same manifest: each is decoded once, which is most of the work.
        put(heads, "decode_manifest", self._decode)
        put(save, "WORTHWHILE_BYTES", 0)
        put(dedup, "WORTHWHILE_BYTES", 1)


def digests(tree: Mapping[str, bytes]) -> dict[str, Digest]:
    """The digest of each file."""
    return {path: digest_of(data) for path, data in tree.items()}
