"""Stale views: what a listing may show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specs.scenario import WRONG_AGES, Flaw
from specs.store_state import Listed, Token, bits, subsets

if TYPE_CHECKING:
    from specs.scenario import Scenario
    from specs.store_state import State


class Views:
    """What may be seen of a state, by anybody."""

    def __init__(self, scenario: Scenario) -> None:
        self._timing = scenario.timing
        self._flaw = scenario.flaw
        self._supersedes = scenario.supersedes
        # The entry of the old manifest comes after those of the savers.
        self.pack_of = (*scenario.savers, *([0] if scenario.expires or scenario.late else []))

    def packs_of(self, entries: int) -> int:
        """The contested packs in which entries lie."""
        packs = 0
        for entry in bits(entries):
            pack = self.pack_of[entry]
            if pack is not None:
                packs |= 1 << pack
        return packs

    def manifest_views(self, state: State) -> list[int]:
        """Which manifests a listing may show: what was published or trashed lately, or not."""
        sure = unsure = 0
        for number, manifest in enumerate(state.manifests):
            if manifest.listed is not Listed.NOT_YET:
                if manifest.age < self._timing.stale:
                    unsure |= 1 << number
                elif manifest.listed is Listed.THERE:
                    sure |= 1 << number
        return subsets(sure, unsure)

    def session_views(self, state: State) -> list[int]:
        """Which sessions a listing may show: those begun lately, or not.

        That one which ended may still be shown only makes a gc wait, and is left out.
        """
        sure = unsure = 0
        for number, saver in enumerate(state.savers):
            if saver.token is Token.OPEN:
                if saver.age < self._timing.stale:
                    unsure |= 1 << number
                else:
                    sure |= 1 << number
        return subsets(sure, unsure)

    def carried(self, state: State, seen: int) -> int:
        """All entries of the manifests seen."""
        carries = 0
        for number in bits(seen):
            carries |= state.manifests[number].carries
        return carries

    def renewed(self, state: State, seen: int) -> int:
        """Entries that every head of the manifests seen, if it has them, has in another pack.

        Of two heads the older one counts, so one that knows the contested pack alone is enough.
        """
        superseded = contested = renewed = 0
        for number in bits(seen):
            superseded |= state.manifests[number].supersedes
        for number in bits(seen & ~superseded):
            manifest = state.manifests[number]
            contested |= manifest.carries & ~manifest.renewed
            renewed |= manifest.renewed
        return renewed & ~contested

    def referenced(self, state: State, seen: int) -> int:
        """The contested packs that the manifests seen reference."""
        packs = 0
        for number in bits(seen):
            manifest = state.manifests[number]
            packs |= self.packs_of(manifest.carries & ~manifest.renewed)
        return packs

    def pack_views(self, state: State, packs: int) -> list[int]:
        """Which of some packs a listing of packs/ may show: what moved lately, or not."""
        sure = unsure = 0
        for pack in bits(packs):
            name = state.packs[pack]
            if name.age < self._timing.stale:
                unsure |= 1 << pack
            elif name.there:
                sure |= 1 << pack
        return subsets(sure, unsure)

    def old_ones(self, state: State, seen: int) -> int:
        """Those of the manifests seen that another one of them, an old one, supersedes."""
        old = 0
        if self._supersedes:
            for number in bits(seen):
                manifest = state.manifests[number]
                age = manifest.claimed if self._flaw in WRONG_AGES else manifest.age
                if (
                    age >= self._timing.age
                    or manifest.listed is Listed.SUPERSEDED  # so it was old before that
                    or self._flaw is Flaw.NO_AGE
                ):
                    old |= manifest.supersedes & seen
        return old
