"""The protocol of saves and garbage collections as a model to be explored.

One step is one effect on the shared folder, or one view of it. What the model keeps of a store:

- contested packs; each is in packs/, in folders of trash, both, or nowhere. In the beginning they
  lie in packs/ and no manifest references them;
- a manifest for each saver, which carries the entries of all manifests that the saver saw;
- a token for each saver, and a folder of trash for each gc.

Time passes in ticks, at any moment. Views are stale: what changed less than `Timing.stale` ticks
ago may be seen or not, name by name, so a listing may show one change and miss an older one. Ages
are counted up to where nothing depends on them any more, which keeps the number of states finite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specs.checker import Step, explore
from specs.gcs import Gcs
from specs.reduction import Reduction
from specs.savers import Savers
from specs.scenario import WRONG_AGES
from specs.store_state import (
    Folder,
    Gc,
    Listed,
    Manifest,
    Name,
    Saver,
    Stage,
    State,
    Token,
    bits,
    with_folder,
    with_gc,
)
from specs.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from specs.checker import Explored
    from specs.scenario import Scenario


class Protocol:
    """All actors of one scenario, and what must never be."""

    def __init__(self, scenario: Scenario, *, reduces: bool = True) -> None:
        """Take up a scenario.

        Args:
            scenario: who takes part.
            reduces: whether a state may stand for others from which the same can happen. What is
                moot in the sound protocol may matter in a flawed one, so there none does.
        """
        self._scenario = scenario
        self._stale, self._stage, self._age = scenario.timing
        self._has_wrong_ages = scenario.flaw in WRONG_AGES
        self._oldest = max(self._stale, self._age) if scenario.supersedes else self._stale
        self._views = Views(scenario)
        self._savers = Savers(scenario, self._views)
        self._gcs = Gcs(scenario, self._views)
        self._reduce = Reduction(scenario) if reduces and scenario.flaw is None else None

    def explore(
        self, fault: Callable[[State], str | None] | None = None, limit: int = 2_000_000
    ) -> Explored:
        """Visit all states.

        Args:
            fault: what must not be; `fault` where it is not given.
            limit: most states to visit.

        Raises:
            TooManyStatesError: there are more.
        """
        actors = [self.tick, self.save, self.collect]
        wrong = fault or self.fault
        explored = explore(self.start(), actors, wrong, limit)
        if explored.found is None or self._reduce is None:
            return explored
        # Where states stand for each other, the actors of a trace change their numbers on the way.
        self._reduce = None
        readable = explore(self.start(), actors, wrong, limit)
        return readable if readable.found else explored

    def start(self) -> State:
        """Packs of the past, settled; nobody has begun."""
        scenario = self._scenario
        old = Manifest(Listed.THERE, self._oldest, 0, 1 << len(scenario.savers))
        has_old = scenario.expires or scenario.late
        start = State(
            packs=(Name(there=not scenario.late, age=self._stale),) * scenario.packs,
            savers=(Saver(),) * len(scenario.savers),
            manifests=((Manifest(),) * len(scenario.savers)) + ((old,) * has_old),
            folders=(Folder(),) * scenario.gcs,
            gcs=(Gc(),) * scenario.gcs,
        )
        if scenario.late:
            filled = Folder(Stage.FILLED, self._stage, packs=1)
            start = with_gc(with_folder(start, 0, filled), 0, Gc(fresh=False))
        return start

    # What must never be.

    def fault(self, state: State) -> str | None:
        """A pack that was lost, or an entry that a listing may miss though nothing replaced it."""
        return self.lost_pack(state) or self.missed_entry(state)

    def lost_pack(self, state: State) -> str | None:
        """A pack that a manifest references, and that is neither in packs/ nor in trash (I1)."""
        kept = 0
        for folder in state.folders:
            kept |= folder.packs
        for number, manifest in enumerate(state.manifests):
            if manifest.listed is Listed.THERE:
                for pack in bits(self._views.packs_of(manifest.carries & ~manifest.renewed)):
                    if not state.packs[pack].there and not kept >> pack & 1:
                        return f"pack {pack} is lost: manifest {number} references it"
        return None

    def missed_entry(self, state: State) -> str | None:
        """An entry whose manifest is in trash, and which a listing of others may not show (I2)."""
        settled = 0
        for manifest in state.manifests:
            if manifest.listed is Listed.THERE and manifest.age >= self._stale:
                settled |= manifest.carries
        for number, manifest in enumerate(state.manifests):
            if manifest.listed is Listed.SUPERSEDED and manifest.carries & ~settled:
                missed = bits(manifest.carries & ~settled)
                return f"a load may miss the entries of {missed}: manifest {number} is in trash"
        return None

    # The actors.

    def save(self, state: State) -> Iterator[Step[State]]:
        """The next steps of the savers."""
        return self._reduced(self._savers.steps(state))

    def collect(self, state: State) -> Iterator[Step[State]]:
        """The next steps of the gcs."""
        return self._reduced(self._gcs.steps(state))

    def _reduced(self, steps: Iterator[Step[State]]) -> Iterator[Step[State]]:
        reduce = self._reduce
        return steps if reduce is None else (Step(step.label, reduce(step.state)) for step in steps)

    def tick(self, state: State) -> Iterator[Step[State]]:
        """Everything grows older; nobody is hindered by that."""
        older = state._replace(
            packs=tuple([self._older_name(name) for name in state.packs]),
            savers=tuple([self._older_saver(saver) for saver in state.savers]),
            manifests=tuple([self._older_manifest(manifest) for manifest in state.manifests]),
            folders=tuple([self._older_folder(folder) for folder in state.folders]),
        )
        if older != state:
            yield Step("-- a tick --", older)

    def _older_name(self, name: Name) -> Name:
        return name if name.age >= self._stale else Name(name.there, name.age + 1)

    def _older_saver(self, saver: Saver) -> Saver:
        limit = self._oldest if self._has_wrong_ages else self._stale
        if saver.token is not Token.OPEN or saver.age >= limit:
            return saver
        return saver._replace(age=saver.age + 1)

    def _older_manifest(self, manifest: Manifest) -> Manifest:
        if manifest.listed is Listed.NOT_YET or manifest.age >= self._oldest:
            return manifest
        claimed = min(manifest.claimed + 1, self._age) if self._has_wrong_ages else 0
        return manifest._replace(age=manifest.age + 1, claimed=claimed)

    def _older_folder(self, folder: Folder) -> Folder:
        if folder.stage in (Stage.FILLING, Stage.GONE) or folder.age >= self._stage:
            return folder
        return folder._replace(age=folder.age + 1)
