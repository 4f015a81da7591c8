"""A store with hosts around it and a garbage collection that visits it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

from b10_store.format.names import parse_pack_name
from b10_store.gc.plan import GcPolicy
from b10_store.gc.trash import read_trash
from b10_store.store import Store
from tests.support.engine_hosts import Hosts
from tests.support.packed import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.format.keys import SigningKey
    from b10_store.format.names import PackId
    from b10_store.gc.report import GcReport
    from b10_store.gc.trash import Stage
    from b10_store.remote.protocol import Remote
    from tests.support.aging_stores import AgingStore
    from tests.support.engine_hosts import EngineHost

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
STAGE = 10 * MINUTE + 1
"""More than between two stages."""
WITNESS = 20 * MINUTE + 1
"""More than between the first two."""
KEEP_ALL = GcPolicy(max_age_seconds=0)
MONTH = GcPolicy()


class GcWorld:
    """One store, hosts that use it, and visits to it."""

    def __init__(self, folder: Path, aging: AgingStore) -> None:
        """Around a store; what is local lies in `folder`."""
        self._aging = aging
        self._scratch = folder / "gc"
        self._scratch.mkdir()
        self.remote = aging.remote
        self.hosts = Hosts(folder, aging.remote)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._aging.advance(seconds)

    def visit(
        self,
        policy: GcPolicy = KEEP_ALL,
        *,
        remote: Remote | None = None,
        keys: tuple[SigningKey, ...] = (),
        seconds: float = float("inf"),
        dry_run: bool = False,
    ) -> GcReport:
        """Make one visit."""
        store = Store(remote or self.remote, str(self._scratch), keys)
        return store.collect(policy, dry_run=dry_run, seconds=seconds)

    def visits(self, *pauses: float, policy: GcPolicy = KEEP_ALL) -> list[GcReport]:
        """Visits, each after a pause."""
        reports: list[GcReport] = []
        for pause in pauses:
            self.advance(pause)
            reports.append(self.visit(policy))
        return reports

    def to_the_end(self, policy: GcPolicy = KEEP_ALL) -> list[GcReport]:
        """As many visits as a file in trash needs, from whatever stage, and one more."""
        return self.visits(WITNESS, 25 * HOUR, WITNESS, STAGE, 25 * HOUR, STAGE, policy=policy)

    def names(self, folder: str = "") -> set[str]:
        """Every file of the store below a folder."""
        return set(self._files(folder))

    def files(self, folder: str = "") -> dict[str, bytes]:
        """Every file of the store below a folder, with its content."""
        return {name: whole_file(self.remote, name) for name in self._files(folder)}

    def packs(self) -> set[PackId]:
        """The packs in packs/."""
        parsed = (parse_pack_name(name) for name in self.remote.list("packs"))
        return {pack for pack in parsed if pack is not None}

    def trashed_packs(self) -> set[PackId]:
        """The packs in trash."""
        parsed = (parse_pack_name(name) for item in read_trash(self.remote) for name in item.files)
        return {pack for pack in parsed if pack is not None}

    def stages(self) -> list[Stage]:
        """How far each folder of trash has come."""
        return [folder.stage for folder in read_trash(self.remote)]

    def loaded(self, like: EngineHost) -> dict[str, bytes]:
        """What a new host loads that has nothing yet, of the same address and key."""
        host = self.hosts.new(address=like.address, key=like.key)
        # Hosts go by their own clocks for how long ago a manifest was loaded.
        with mock.patch("b10_store.store.time", SimpleNamespace(time=self.remote.now)):
            host.load()
        return host.tree()

    def _files(self, folder: str) -> list[str]:
        found: list[str] = []
        prefix = f"{folder}/" if folder else ""
        for name in self.remote.list(folder):
            path = prefix + name
            found += self._files(path[:-1]) if name.endswith("/") else [path]
        return found
