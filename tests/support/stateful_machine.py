"""Hosts that save, load and clean one store, and die at it, in any order."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from b10_store.digest import digest_of
from b10_store.errors import StoreError
from b10_store.format.manifest import Identity
from b10_store.format.names import pack_path
from b10_store.save.use import Use
from tests.support.cache_trees import noise
from tests.support.checked_stores import kind_of
from tests.support.gc_world import DAY, HOUR, KEEP_ALL, MINUTE, MONTH, STAGE, WITNESS
from tests.support.scheduled_actors import Killed
from tests.support.stateful_steps import LONG, PATHS, Steps, content_of
from tests.support.stateful_stops import Stopping
from tests.support.stateful_world import ADDRESSES, GROUP

if TYPE_CHECKING:
    from b10_store.format.names import Address
    from b10_store.gc.plan import GcPolicy

_VARIANTS = 6

HOSTS = st.integers(0, 3)
EFFECTS = st.integers(1, 26)
VISIT_EFFECTS = st.integers(1, 45)
PAUSES = st.sampled_from([0, MINUTE, STAGE, WITNESS, 31 * MINUTE, 2 * HOUR, 25 * HOUR])
STAGES = st.sampled_from(
    [
        (0.0,),
        (0.0, WITNESS),
        (0.0, WITNESS, 31 * MINUTE),
        (0.0, WITNESS, 31 * MINUTE, 25 * HOUR),
        (25 * HOUR, WITNESS, STAGE, 25 * HOUR),
    ]
)
"""Pauses before visits in a row, as a file in trash sees them."""
UNDONE = st.sampled_from([(0.0, WITNESS), (0.0, WITNESS, STAGE, STAGE), (0.0, 22 * HOUR)])
"""The same, within a day."""


class StoreMachine(Steps):
    """Everything that hosts do to one store one after the other, checked against `Model`."""

    @initialize(numbers=st.sets(HOSTS), alike=st.booleans(), kept=st.sampled_from([4, 4, 4, 0]))
    def some_have_saved(self, numbers: set[int], alike: bool, kept: int) -> None:
        """Some hosts find nothing, compile everything, and save it."""
        for number in sorted({*numbers, kept}):
            for path in PATHS:
                self.compile(number, path, everywhere=alike)
            self.compile_variant(number, number)
            self.save(number, wait=False)

    # What a compiler does.

    @rule(number=HOSTS, path=st.sampled_from(PATHS), everywhere=st.booleans())
    def compile(self, number: int, path: str, everywhere: bool) -> None:
        """A compiler writes an artifact, at times the same one as on other hosts."""
        self.version += 1
        self._write(number, path, content_of(path, 0 if everywhere else self.version))

    @rule(number=HOSTS, variant=st.integers(0, _VARIANTS - 1))
    def compile_variant(self, number: int, variant: int) -> None:
        """A compiler writes one more member of a variant group, named by its content."""
        data = noise(300, 7000 + variant)
        self._write(number, f"{GROUP}/{digest_of(data)}", data)

    @rule(number=HOSTS)
    def clear(self, number: int) -> None:
        """A host is replaced by a new one."""
        self.world.clear(number)

    # Saves and loads.

    @rule(number=HOSTS, wait=st.booleans())
    def save(self, number: int, wait: bool) -> None:
        """A save without anything in its way."""
        host = self.world.hosts[number]
        local, request = self.prepare(host, wait=wait)
        if not local.files:
            return
        try:
            outcome = self.world.store().save(request)
        except StoreError:
            assert self.is_hidden(host.address)
            return
        self.note_saved(host, local, outcome)
        if outcome.published is not None:
            self.note_use(host.address)
        self.model.saved(self.world.observer.look(), local, alone=not self.flying)

    @rule(number=HOSTS, used=st.sets(st.sampled_from(PATHS)))
    def save_what_is_used(self, number: int, used: set[str]) -> None:
        """A save of a host that uses some of what it and the store have in common."""
        host = self.world.hosts[number]
        local, request = self.prepare(host, wait=True)
        if not local.files or self.flying or self.was_hidden:
            return
        idle = {
            path
            for path, digest in local.files.items()
            if path not in used and local.loaded.get(path) == digest
        }
        use = Use(
            frozenset(Identity("inductor", path) for path in idle),
            max_age_ms=int(MONTH.max_age_seconds * 1000),
        )
        outcome = self.world.store().save(replace(request, use=use))
        self.note_saved(host, local, outcome)
        if outcome.published is not None:
            self.note_use(host.address)
        oldest_ms = int((self.world.raw.now() - MONTH.max_age_seconds) * 1000)
        self.model.shed(self.world.observer.look(), local, idle, oldest_ms)

    @rule(number=HOSTS, effects=EFFECTS, torn=st.booleans())
    def crash_in_save(self, number: int, effects: int, torn: bool) -> None:
        """A save whose process is killed before one of its effects."""
        host = self.world.hosts[number]
        local, request = self.prepare(host, wait=False)
        stopping = Stopping(self.world.mount, effects, torn=torn)
        try:
            outcome = self.world.store(stopping).save(request)
        except Killed:
            self.model.may_have_saved(
                self.world.observer.look(), local, alone=self.is_alone(host.address)
            )
        except StoreError:
            assert self.is_hidden(host.address)
        else:
            self.note_saved(host, local, outcome)
            self.model.saved(self.world.observer.look(), local, alone=not self.flying)

    @rule(number=HOSTS)
    def load(self, number: int) -> None:
        """A load beside whatever is in the cache root."""
        host = self.world.hosts[number]
        before = host.tree()
        host.load()
        whole = not self.world.mount.hidden
        if whole:
            self.note_use(host.address)
        self.world.check_tree(host.address, before, host.tree(), whole=whole)
        self.expect_the_same()

    @rule(number=HOSTS, effects=st.integers(1, 12))
    def crash_in_load(self, number: int, effects: int) -> None:
        """A load whose process is killed before one of its effects."""
        host = self.world.hosts[number]
        before = host.tree()
        host.remote = Stopping(self.world.mount, effects, torn=False)
        try:
            host.load()
        except Killed:
            pass
        finally:
            host.remote = self.world.mount
        self.world.check_tree(host.address, before, host.tree(), whole=False)
        self.expect_the_same()

    # The garbage collection.

    @rule(pause=PAUSES, policy=st.sampled_from([KEEP_ALL, MONTH]))
    def visit(self, pause: float, policy: GcPolicy) -> None:
        """A visit, some time later."""
        self.world.time.pass_(pause)
        self.visit_now(policy)

    @rule(pauses=STAGES)
    def visits(self, pauses: tuple[float, ...]) -> None:
        """Visits in a row."""
        for pause in pauses:
            self.visit(pause, KEEP_ALL)

    @rule(effects=VISIT_EFFECTS, torn=st.booleans())
    def crash_in_visit(self, effects: int, torn: bool) -> None:
        """A visit whose process is killed before one of its effects."""
        stopping = Stopping(self.world.mount, effects, torn=torn)
        with contextlib.suppress(Killed):
            self.world.store(stopping).collect(KEEP_ALL)
        self.expect_the_same()

    @rule(days=st.sampled_from([0.05, 1.1, 12.0, 31.0]))
    def time_passes(self, days: float) -> None:
        """The clock of the store's filesystem goes on, or jumps."""
        self.world.time.pass_(days * DAY)

    @rule(hours=st.sampled_from([0, 2, -2, 72, -72, 400, -400]))
    def clocks_jump(self, hours: int) -> None:
        """The hosts' clocks are wrong."""
        self.world.time.jump(hours * HOUR)

    # Removing.

    @rule(address=st.sampled_from(ADDRESSES))
    def remove(self, address: Address) -> None:
        """Take an address out of the store."""
        now = self.world.raw.now()
        # What lay in trash before may be deleted a day after it came there, manifest or not.
        offers = self.model.offers(address)
        offered = frozenset(path for path in offers if offers[path].in_packs)
        self.mark_gone([address])
        self.world.store().remove(address)
        self.model.gone(self.world.observer.look(), [address])
        if offered:
            self.away[address] = now, offered

    @rule(address=st.sampled_from(ADDRESSES))
    def restore(self, address: Address) -> None:
        """Undo that."""
        removed_at, paths = self.away.pop(address, (0.0, frozenset[str]()))
        in_time = self.world.raw.now() - removed_at < DAY
        self.world.store().restore(address)
        self.overlap(address)
        plain = {path for path in paths if not path.startswith(GROUP)}
        after = self.world.observer.look()
        if self.model.was_damaged:
            # An old head may be back that is put before a later one and whose packs are lost.
            self.model.seen(after)
        else:
            self.model.grown(after, address, plain if in_time else ())

    @rule(address=st.sampled_from(ADDRESSES), pauses=UNDONE)
    def remove_and_restore(self, address: Address, pauses: tuple[float, ...]) -> None:
        """Undo that after some visits."""
        self.world.time.pass_(25 * HOUR)
        self.remove(address)
        for pause in pauses:
            self.visit(pause, KEEP_ALL)
        self.restore(address)

    # Checking.

    @rule(repair=st.booleans())
    def check(self, repair: bool) -> None:
        """Everything that is damaged is found, and nothing else; a repair takes nothing away."""
        before = self.model.view
        report = self.world.store().check(read_data=True, repair=repair)
        found = {kind_of(fault) for fault in report.faults}
        hidden = self.hidden_manifests()
        if not self.world.mount.hidden:
            wrong = {name.manifest_path for name in before.unreadable}
            wrong |= {pack_path(pack) for pack in before.damaged}
            assert {name for name, kind in found if kind == "DAMAGED" and name != "FORMAT"} == wrong
            missing = {pack_path(pack) for pack in before.missing}
            assert {
                name for name, kind in found if kind == "MISSING" and name != "FORMAT"
            } == missing
        assert {name for name, kind in found if kind == "UNREADABLE"} == hidden
        after = self.world.observer.look()
        if repair and not hidden:
            assert not (after.unreadable)
            assert not (after.damaged)
        for address in before.offers.keys() | after.offers.keys():
            self.model.grown(after, address)
        self.model.seen(after)

    # How it ends.

    def teardown(self) -> None:
        """Let everything end and settle: what is offered loads, and nothing else is left."""
        try:
            if sys.exc_info()[1] is self.outer:
                self._settle()
        finally:
            for flying in self.flying:
                if not flying.actor.is_over:
                    flying.actor.kill()
            self.world.close()

    def _write(self, number: int, path: str, data: bytes) -> None:
        host = self.world.hosts[number]
        host.write({path: data})
        for flying in self.flying:
            flying.was_changed |= flying.host is host

    def _settle(self) -> None:
        while self.flying:
            self.advance(self.flying[0], LONG)
        self.world.mount.hidden.clear()
        if self.model.was_damaged:
            self.check(repair=True)
        # Where there is no manifest at all, nothing is ever deleted.
        self.world.hosts[0].write({PATHS[0]: content_of(PATHS[0], 0)})
        # Whoever has the bytes of what was damaged brings them back.
        for number in range(len(self.world.hosts)):
            self.save(number, wait=False)
        pauses = (25 * HOUR, WITNESS, 25 * HOUR, WITNESS, STAGE, 25 * HOUR, STAGE, 15 * DAY)
        for pause in pauses:
            self.visit(pause, KEEP_ALL)
        self._look_for_leftovers()
        for address in self.model.view.offers:
            tree = self.world.new_load(address)
            self.world.check_tree(address, {}, tree, whole=True)
            assert tree.keys() == self.model.offers(address).keys()
            assert all(self.model.content[digest_of(data)] == data for data in tree.values())

    def _look_for_leftovers(self) -> None:
        view = self.model.view
        names = self.world.names()
        wanted = {"FORMAT"} | {name.manifest_path for name in view.manifests}
        wanted |= {pack_path(pack) for pack in view.used - view.missing}
        assert names == wanted, f"left: {names - wanted}, lacking: {wanted - names}"
        assert not (view.damaged)
        assert not (view.unreadable)
        assert len(view.manifests) == sum(view.heads.values()), "a superseded manifest is left"
        # What only others had that are no more cannot come back.
        assert self.model.was_damaged or not view.missing
