"""What the rules of a machine around one store are made of: steps, and what they must do."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from hypothesis.stateful import RuleBasedStateMachine

from b10_store.errors import FencedError, StoreError
from tests.support.blobs import prose
from tests.support.cache_trees import noise
from tests.support.gc_world import DAY
from tests.support.scheduled_actors import Actor
from tests.support.stateful_model import Local
from tests.support.stateful_world import GROUP, World, digests

if TYPE_CHECKING:
    from collections.abc import Collection

    from b10_store.format.names import Address, SnapshotName
    from b10_store.gc.plan import GcPolicy
    from b10_store.remote.protocol import Remote
    from b10_store.save.request import SaveOutcome, SaveRequest
    from tests.support.engine_hosts import EngineHost

PATHS = ("a/0.py", "a/1.py", "b/2.bin", "c/3.bin")
"""Where compilers write what is no variant of anything."""

LONG = 1000
"""More effects than any operation has."""


@dataclass
class InFlight:
    """A save or a visit that has stopped somewhere and may go on.

    Attributes:
        actor: what does it.
        local: what the saver has; None for a visit.
        request: its request; None for a visit.
        outcome: what came of the save, in a list of one.
        was_alone: nobody else has published to its address since it began.
        was_harmed: a file was damaged since it began.
        was_removed: its address was removed or has expired since it began.
        is_excused: that came after it had published.
        was_changed: a compiler has written on its host since it began.
    """

    actor: Actor
    local: Local | None = None
    request: SaveRequest | None = None
    outcome: list[SaveOutcome] = field(default_factory=list["SaveOutcome"])
    host: EngineHost | None = None
    was_alone: bool = True
    was_harmed: bool = False
    was_removed: bool = False
    is_excused: bool = False
    was_changed: bool = False

    def published(self, names: frozenset[SnapshotName]) -> bool:
        """Whether one of the manifests is its own."""
        own = {
            line.rpartition("/")[2] for line in self.actor.trace if "open_token sessions" in line
        }
        return any(f"{name}.session" in own for name in names)


class Steps(RuleBasedStateMachine):
    """A store and its hosts, with a model beside them; it has no rules yet."""

    kind: ClassVar[str] = "memory"

    def __init__(self) -> None:
        """Make an empty store."""
        super().__init__()
        self.world = World(self.kind)
        self.model = self.world.model
        self.flying: list[InFlight] = []
        self.version = 0
        # What is raised when it ends is the failure of a rule, unless it was on its way before.
        self.outer = sys.exc_info()[1]
        self.used: dict[Address, float] = {}
        self.was_hidden = False
        self.away: dict[Address, tuple[float, frozenset[str]]] = {}

    def prepare(self, host: EngineHost, *, wait: bool) -> tuple[Local, SaveRequest]:
        # What is damaged in the store, a load of this host has found.
        request = replace(
            self.world.request(host, wait=wait), distrusted=self.model.view.suspicions
        )
        loaded = {identity.path: digest for identity, digest in host.loaded.items()}
        return Local(host.address, digests(host.tree()), loaded, GROUP), request

    def note_saved(self, host: EngineHost, local: Local, outcome: SaveOutcome) -> None:
        if outcome.published is not None:
            self.overlap(host.address)
        for identity, digest in outcome.stored.items():
            if local.files.get(identity.path) == digest:
                host.loaded[identity] = digest

    def visit_now(self, policy: GcPolicy) -> None:
        before = self.model.view
        hidden = self.hidden_manifests()
        now = self.world.raw.now()
        report = self.world.store().collect(policy)
        self.mark_gone(report.expired)
        after = self.world.observer.look()
        if before.unreadable or hidden or not before.manifests:
            assert report.refused
        if report.refused:
            assert before.files == after.files, "something was deleted by a visit that refuses"
        for address in report.expired:
            unused = now - self.used.get(address, 0.0)
            assert unused > 29 * DAY - self.world.time.worst_skew, f"{address} expired too early"
        self.model.gone(after, report.expired)

    def start_save(self, number: int) -> InFlight:
        host = self.world.hosts[number]
        local, request = self.prepare(host, wait=False)

        def program(remote: Remote) -> None:
            flying.outcome.append(self.world.store(remote).save(request))

        flying = InFlight(Actor("save", self.world.mount, program), local, request, host=host)
        flying.was_alone = not self.flying
        self.flying.append(flying)
        return flying

    def advance(self, flying: InFlight, effects: int) -> None:
        """Let it go on; whatever it did must be allowed."""
        for _ in range(effects):
            if not flying.actor.is_over:
                flying.actor.step()
        after = self.world.observer.look()
        local = flying.local
        if local is not None and flying.published(after.manifests):
            self.overlap(local.address, but=flying)
        if flying.was_harmed:
            self.model.seen(after)
        elif local is None:
            self.model.unchanged(after)
        else:
            alone = flying.was_alone and self.is_alone(local.address)
            self.model.may_have_saved(after, local, alone=alone)
        if flying.actor.is_over:
            self.flying.remove(flying)
            self._ended(flying)

    def _ended(self, flying: InFlight) -> None:
        error = flying.actor.error
        if error is not None:
            # A save that is fenced too often says so. A visit that sleeps for long may find that
            # what it had just written was swept.
            honest = (FencedError, FileNotFoundError) if flying.local is None else (FencedError,)
            is_hidden = self.was_hidden and isinstance(error, (StoreError, OSError))
            if not (isinstance(error, honest) or is_hidden):
                raise error
            return
        if flying.local is None or flying.host is None:
            return
        (outcome,) = flying.outcome
        # A file that was compiled again meanwhile is left for the next save.
        excused = flying.was_harmed or flying.is_excused or flying.was_changed
        if not excused and (outcome.published is not None or not flying.was_removed):
            self.model.acknowledged(self.model.view, flying.local)
        self.note_saved(flying.host, flying.local, outcome)

    def mark_gone(self, addresses: Collection[Address]) -> None:
        """Before or after addresses go: what is in flight is judged by when that was."""
        names = self.model.view.manifests
        for flying in self.flying:
            if flying.local is not None and flying.local.address in addresses:
                flying.was_removed = True
                flying.is_excused |= flying.published(names)

    def overlap(self, address: Address, but: InFlight | None = None) -> None:
        """Something was published to an address, beside whatever is in flight there."""
        for flying in self.flying:
            if flying is not but and flying.local and flying.local.address == address:
                flying.was_alone = False

    def is_alone(self, address: Address) -> bool:
        return self.model.view.heads.get(address, 0) < 2  # united by nobody yet

    def expect_the_same(self) -> None:
        self.model.unchanged(self.world.observer.look())

    def note_use(self, address: Address) -> None:
        self.used[address] = self.world.raw.now()

    def hidden_manifests(self) -> set[str]:
        return self.world.mount.hidden & self.world.names("manifests")

    def is_hidden(self, address: Address) -> bool:
        return any(f"/{address}~" in name for name in self.hidden_manifests())


def content_of(path: str, version: int) -> bytes:
    """Version 0 is the same everywhere, the others are unlike any."""
    seed = PATHS.index(path) + 100 * version
    return noise(700, seed) if path.endswith(".bin") else prose(900, seed)
