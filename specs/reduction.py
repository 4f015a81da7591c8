"""Which states stand for each other, so that fewer need to be visited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specs.store_state import (
    NOBODY,
    REMEMBERS_SESSIONS,
    Doing,
    Gc,
    Stage,
    State,
    Token,
    bits,
)

if TYPE_CHECKING:
    from specs.scenario import Scenario
    from specs.store_state import Folder, Manifest, Saver


class _Renumbered:
    """Values in which savers have other numbers."""

    def __init__(self, order: list[int]) -> None:
        self._new = {old: new for new, old in enumerate(order)}

    def __getitem__(self, mask: int) -> int:
        return sum(1 << self._new[bit] for bit in bits(mask))

    def saver(self, saver: Saver) -> Saver:
        return saver._replace(
            seen=self[saver.seen],
            carries=self[saver.carries],
            renewed=self[saver.renewed],
            earlier=self[saver.earlier],
        )

    def manifest(self, manifest: Manifest) -> Manifest:
        return manifest._replace(
            supersedes=self[manifest.supersedes],
            carries=self[manifest.carries],
            renewed=self[manifest.renewed],
        )


def _in_order_of_gcs(state: State) -> State:
    ranked = sorted(zip(state.gcs, state.folders, range(len(state.gcs)), strict=True))
    order = [number for *_, number in ranked]
    if order == sorted(order):
        return state
    new = {old: new for new, old in enumerate(order)} | {NOBODY: NOBODY}
    return state._replace(
        gcs=tuple(gc._replace(folder=new[gc.folder]) if gc.doing else gc for gc, _, _ in ranked),
        folders=tuple(item._replace(adopter=new[item.adopter]) for _, item, _ in ranked),
    )


class Reduction:
    """One state in the place of many from which the same can happen."""

    def __init__(self, scenario: Scenario) -> None:
        kinds = [(pack, me in scenario.owners) for me, pack in enumerate(scenario.savers)]
        self._ranks = [kinds.index(kind) for kind in kinds]

    def __call__(self, state: State) -> State:
        """The state that stands for this one.

        A session that ended does not come back, so whoever waits for it need not remember it; a gc
        whose next effect another has overtaken might as well have died; and which of two savers
        with the same pack, or of two gcs, is which makes no difference.
        """
        alive = 0
        for number, saver in enumerate(state.savers):
            if saver.token is Token.OPEN:
                alive |= 1 << number
        gcs = tuple([self._moot_gc(state, me, gc, alive) for me, gc in enumerate(state.gcs)])
        folders = tuple(
            [
                self._moot_folder(gcs, number, folder, alive)
                for number, folder in enumerate(state.folders)
            ]
        )
        reduced = State(state.packs, state.savers, state.manifests, folders, gcs)
        return _in_order_of_gcs(self._in_order_of_savers(reduced))

    def _in_order_of_savers(self, state: State) -> State:
        ranked = sorted(
            zip(
                self._ranks,
                state.savers,
                # The old manifest, the last, is nobody's.
                state.manifests[: len(state.savers)],
                range(len(state.savers)),
                strict=True,
            )
        )
        order = [number for *_, number in ranked]
        if order == sorted(order):
            return state
        order += range(len(order), len(state.manifests))
        place = _Renumbered(order)
        gcs = [
            gc._replace(
                departing=place[gc.departing],
                mask=place[gc.mask] if gc.doing in REMEMBERS_SESSIONS else gc.mask,
            )
            for gc in state.gcs
        ]
        return State(
            state.packs,
            tuple(place.saver(saver) for _, saver, _, _ in ranked),
            tuple(place.manifest(state.manifests[number]) for number in order),
            tuple(item._replace(witnessed=place[item.witnessed]) for item in state.folders),
            tuple(gcs),
        )

    def _moot_gc(self, state: State, me: int, gc: Gc, alive: int) -> Gc:
        stage = state.folders[gc.folder].stage
        if gc.doing in (Doing.WITNESSING, Doing.FENCED):
            if stage not in (Stage.FILLED, Stage.WITNESSED):
                return Gc(fresh=gc.fresh)
            return gc._replace(mask=gc.mask & alive)
        if gc.doing is Doing.FENCING:
            if gc.mask & alive:
                return gc._replace(mask=gc.mask & alive)
            after = gc._replace(doing=Doing.FENCED, mask=0)
            return self._moot_gc(state, me, after, alive)
        if gc.doing in (Doing.ADOPTED, Doing.DELETING) and state.folders[gc.folder].adopter != me:
            return Gc(fresh=gc.fresh)
        return gc

    def _moot_folder(self, gcs: tuple[Gc, ...], number: int, folder: Folder, alive: int) -> Folder:
        adopter = folder.adopter
        if adopter >= 0 and (gcs[adopter].folder != number or gcs[adopter].doing < Doing.ADOPTED):
            adopter = NOBODY
        if adopter == folder.adopter and not folder.witnessed & ~alive:
            return folder
        return folder._replace(witnessed=folder.witnessed & alive, adopter=adopter)
