"""A garbage collection, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specs.checker import Step
from specs.scenario import Flaw
from specs.store_state import (
    Doing,
    Folder,
    Gc,
    Listed,
    Stage,
    Token,
    bits,
    subsets,
    trash_manifest,
    with_folder,
    with_gc,
    with_pack,
    with_saver,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specs.scenario import Scenario
    from specs.store_state import State
    from specs.views import Views


class Gcs:
    """The steps of the gcs of a scenario."""

    def __init__(self, scenario: Scenario, views: Views) -> None:
        self._scenario = scenario
        self._views = views
        self._timing = scenario.timing
        self._flaw = scenario.flaw

    def steps(self, state: State) -> Iterator[Step[State]]:
        """The next steps of each gc."""
        for me, gc in enumerate(state.gcs):
            if gc.doing is Doing.NOTHING:
                steps = self._begin(state, me, gc)
            else:
                steps = self._go_on(state, me, gc)
            for what, after in steps:
                yield Step(f"gc {me}: {what}", after)

    def _begin(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        if gc.fresh:
            own = 0 if self._flaw is Flaw.SHARED_TRASH else me
            for seen in self._views.manifest_views(state):
                expired = (1 << len(state.savers)) if self._scenario.expires else 0
                departing = self._views.old_ones(state, seen) | (expired & seen)
                mask = self._views.referenced(state, seen & ~departing)
                after = Gc(Doing.TRASHING, own, mask, departing, fresh=False)
                yield f"reads manifests {bits(seen)}", with_gc(state, me, after)
        for number, folder in enumerate(state.folders):
            if Stage.FILLING < folder.stage < Stage.GONE and folder.age >= self._timing.stage:
                yield from self._take_further(state, me, number)

    def _take_further(self, state: State, me: int, number: int) -> Iterator[tuple[str, State]]:
        gc, folder = state.gcs[me], state.folders[number]
        if folder.stage is Stage.FENCED or self._flaw is Flaw.NO_WITNESS:
            adopted = folder._replace(adopter=me)
            after = Gc(Doing.ADOPTED, number, fresh=gc.fresh)
            moved = with_gc(with_folder(state, number, adopted), me, after)
            yield f"adopts folder {number}", moved
        elif folder.stage is Stage.FILLED:
            late = self._flaw is Flaw.LATE_WITNESS
            for sessions in self._views.session_views(state):
                after = Gc(
                    Doing.FENCING if late else Doing.WITNESSING, number, sessions, 0, gc.fresh
                )
                yield (
                    f"lists sessions {bits(sessions)} for folder {number}",
                    with_gc(state, me, after),
                )
        else:
            after = Gc(Doing.FENCING, number, folder.witnessed, fresh=gc.fresh)
            yield f"reads who was witnessed for folder {number}", with_gc(state, me, after)

    def _go_on(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        idle = Gc(fresh=gc.fresh)
        if gc.doing is Doing.TRASHING:
            yield from self._move_manifests(state, me, gc)
        elif gc.doing is Doing.FILLING:
            yield from self._fill(state, me, gc, idle)
        elif gc.doing is Doing.FENCING:
            yield from self._fence(state, me, gc)
        elif gc.doing is Doing.ADOPTED:
            yield from self._survey(state, me, gc)
        elif gc.doing is Doing.DELETING:
            yield from self._delete(state, me, gc, idle)
        else:
            yield self._mark(state, me, gc, idle)
        # It dies, and another process begins in its place: what it remembered is lost.
        yield "dies; another takes its place", with_gc(state, me, idle)

    def _move_manifests(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        if gc.departing:
            yield from self._move_one(state, me, gc)
            return
        sure = unsure = 0
        for pack, name in enumerate(state.packs):
            if name.there and not gc.mask >> pack & 1:
                if name.age < self._timing.stale:
                    unsure |= 1 << pack
                else:
                    sure |= 1 << pack
        for mask in subsets(sure, unsure):
            after = gc._replace(doing=Doing.FILLING, mask=mask)
            yield f"lists unreferenced packs {bits(mask)}", with_gc(state, me, after)

    def _move_one(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        """Move the next manifest to trash; packs of it that lie there are put back first."""
        number = bits(gc.departing)[0]
        after = gc._replace(departing=gc.departing & ~(1 << number))
        needed = self._views.referenced(state, 1 << number)
        for item, folder in enumerate(state.folders):
            for pack in bits(folder.packs & needed):
                if self._flaw is Flaw.TRASH_FORGOTTEN:
                    continue
                if state.packs[pack].age < self._timing.stale:
                    # It moved a moment ago: a listing of trash may not show it yet.
                    yield self._moved(state, me, after, number)
                if self._is_adopted(state, item):
                    kept = with_gc(state, me, after)
                    yield f"leaves manifest {number}: pack {pack} cannot be put back", kept
                    return
                less = with_folder(state, item, folder._replace(packs=folder.packs & ~(1 << pack)))
                yield f"puts pack {pack} back first", with_pack(less, pack, there=True)
                return
        yield self._moved(state, me, after, number)

    def _moved(self, state: State, me: int, after: Gc, number: int) -> tuple[str, State]:
        is_expired = self._scenario.expires and number >= len(state.savers)
        where = Listed.EXPIRED if is_expired else Listed.SUPERSEDED
        moved = with_gc(trash_manifest(state, number, where), me, after)
        return f"moves manifest {number} to trash", moved

    def _is_adopted(self, state: State, number: int) -> bool:
        """Whether a folder has another name since a visit that deletes adopted it."""
        return any(
            gc.folder == number and gc.doing in (Doing.ADOPTED, Doing.DELETING) for gc in state.gcs
        )

    def _fill(self, state: State, me: int, gc: Gc, idle: Gc) -> Iterator[tuple[str, State]]:
        own = state.folders[gc.folder]
        if gc.mask:
            pack = bits(gc.mask)[0]
            moved = with_gc(state, me, gc._replace(mask=gc.mask & ~(1 << pack)))
            if state.packs[pack].there:
                moved = with_pack(moved, pack, there=False)
                filled = own._replace(packs=own.packs | 1 << pack)
                moved = with_folder(moved, gc.folder, filled)
            yield f"moves pack {pack} to folder {gc.folder}", moved
            return
        for number, folder in enumerate(state.folders):
            if number != gc.folder and folder.stage is Stage.FILLING and folder.packs:
                pack = bits(folder.packs)[0]
                left = folder._replace(packs=folder.packs & ~(1 << pack))
                filled = own._replace(packs=own.packs | 1 << pack)
                moved = with_folder(state, number, left)
                yield (
                    f"moves pack {pack} from folder {number}, which nobody marked, to its own",
                    with_folder(moved, gc.folder, filled),
                )
        marked = state
        if own.packs and own.stage is Stage.FILLING:
            marked = with_folder(state, gc.folder, own._replace(stage=Stage.FILLED, age=0))
        yield f"marks folder {gc.folder} filled", with_gc(marked, me, idle)

    def _fence(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        alive = [i for i in bits(gc.mask) if state.savers[i].token is Token.OPEN]
        if self._flaw is Flaw.NO_FENCE or not alive:
            after = gc._replace(doing=Doing.FENCED, mask=0)
            yield "finds none of the witnessed sessions", with_gc(state, me, after)
            return
        for number in alive:
            # Any session may look stale at any time: its saver may have stalled, or its clock.
            fenced = state.savers[number]._replace(token=Token.FENCED, age=0)
            yield f"fences session {number}", with_saver(state, number, fenced)

    def _mark(self, state: State, me: int, gc: Gc, idle: Gc) -> tuple[str, State]:
        """Write the mark of the next stage. It may come late: another gc may have been there."""
        folder = state.folders[gc.folder]
        marked = folder
        if gc.doing is Doing.WITNESSING:
            what = f"writes down who was witnessed for folder {gc.folder}"
            if folder.stage in (Stage.FILLED, Stage.WITNESSED):
                marked = folder._replace(stage=Stage.WITNESSED, age=0, witnessed=gc.mask)
        else:
            what = f"marks folder {gc.folder} fenced"
            if folder.stage in (Stage.FILLED, Stage.WITNESSED):
                age = self._timing.stage if self._flaw is Flaw.LATE_WITNESS else 0
                marked = folder._replace(stage=Stage.FENCED, age=age, witnessed=0)
        return what, with_gc(with_folder(state, gc.folder, marked), me, idle)

    def _survey(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        for seen in self._views.manifest_views(state):
            # One that cannot be read ends the visit: the same as if it died here.
            skipped = subsets(0, seen) if self._flaw is Flaw.UNREADABLE_IGNORED else [seen]
            for read in skipped:
                mask = self._views.referenced(state, read)
                after = gc._replace(doing=Doing.DELETING, mask=mask)
                yield f"reads manifests {bits(read)} again", with_gc(state, me, after)

    def _delete(self, state: State, me: int, gc: Gc, idle: Gc) -> Iterator[tuple[str, State]]:
        folder = state.folders[gc.folder]
        if folder.adopter != me or folder.stage is Stage.GONE:
            yield f"finds folder {gc.folder} adopted by another", with_gc(state, me, idle)
        elif not folder.packs:
            gone = with_folder(state, gc.folder, Folder(Stage.GONE))
            yield f"removes folder {gc.folder}", with_gc(gone, me, idle)
        else:
            pack = bits(folder.packs)[0]
            less = folder._replace(packs=folder.packs & ~(1 << pack))
            after = with_folder(state, gc.folder, less)
            if gc.mask >> pack & 1:
                yield f"moves pack {pack} back", with_pack(after, pack, there=True)
            else:
                yield f"deletes pack {pack} from folder {gc.folder}", after
