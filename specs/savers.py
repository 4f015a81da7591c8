"""A save, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specs.checker import Step
from specs.scenario import WRONG_AGES, Flaw
from specs.store_state import (
    FAILED,
    Listed,
    Manifest,
    Saver,
    Token,
    bits,
    put,
    with_pack,
    with_saver,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from specs.scenario import Scenario
    from specs.store_state import State
    from specs.views import Views

_SAVE = ("open", "heads", "packs", "upload", "write", "publish")
_ORDERS = {
    Flaw.LATE_SESSION: ("heads", "packs", "open", "upload", "write", "publish"),
    Flaw.EARLY_BELIEF: ("packs", "open", "heads", "packs", "upload", "write", "publish"),
}


class Savers:
    """The steps of the savers of a scenario."""

    def __init__(self, scenario: Scenario, views: Views) -> None:
        self._scenario = scenario
        self._views = views
        self._timing = scenario.timing
        self._flaw = scenario.flaw
        self._order = _SAVE if self._flaw is None else _ORDERS.get(self._flaw, _SAVE)

    def steps(self, state: State) -> Iterator[Step[State]]:
        """The next step of each saver."""
        for me, saver in enumerate(state.savers):
            if saver.done < len(self._order):
                effect = self._order[saver.done]
                for what, after in self._save_step(state, me, effect):
                    quiet = self._past_silent(after, me)
                    yield Step(f"saver {me}: {what}", quiet)

    def _save_step(self, state: State, me: int, effect: str) -> Iterable[tuple[str, State]]:
        saver = state.savers[me]
        on = saver._replace(done=saver.done + 1)
        if effect == "open":
            return [self._open(state, me, on)]
        if effect == "heads":
            return self._read_heads(state, me, on)
        if effect == "packs":
            return self._list_packs(state, me, on)
        if effect == "upload":
            return [self._upload(state, me, on)]
        if effect == "write":
            return [self._write(state, me, on)]
        return [self._publish(state, me, on)]

    def _open(self, state: State, me: int, on: Saver) -> tuple[str, State]:
        after = on._replace(token=Token.OPEN, age=0, begun=on.begun + 1)
        if self._scenario.supersedes:
            after = after._replace(earlier=self._earlier(state, me))
        return "creates its token", with_saver(state, me, after)

    def _write(self, state: State, me: int, on: Saver) -> tuple[str, State]:
        """Through the descriptor: where the token is meanwhile does not matter, nor change."""
        if self._flaw is Flaw.BY_NAME:
            after = on._replace(token=Token.OPEN, age=on.age if on.token is Token.OPEN else 0)
            return "renames a whole manifest to its token's name", with_saver(state, me, after)
        after = on._replace(age=0) if self._flaw is Flaw.AGE_OF_WRITING else on
        return "writes its manifest into the token", with_saver(state, me, after)

    def _read_heads(self, state: State, me: int, on: Saver) -> Iterator[tuple[str, State]]:
        for seen in self._views.manifest_views(state):
            carries = self._views.carried(state, seen)
            if self._scenario.supersedes:
                renewed = self._views.renewed(state, seen)
                after = on._replace(seen=seen, carries=carries, renewed=renewed)
            else:
                after = on._replace(carries=self._one_of_each_pack(me, carries))
            yield f"reads manifests {bits(seen)}", with_saver(state, me, after)

    def _one_of_each_pack(self, me: int, entries: int) -> int:
        """Where nothing is superseded only packs matter, and fewer values are fewer states."""
        packs = {self._views.pack_of[me]}
        kept = 0
        for entry in bits(entries):
            if self._views.pack_of[entry] not in packs:
                packs.add(self._views.pack_of[entry])
                kept |= 1 << entry
        return kept

    def _list_packs(self, state: State, me: int, on: Saver) -> Iterator[tuple[str, State]]:
        pack = self._views.pack_of[me]
        if pack is None:
            yield from self._renew(state, me, on)
            return
        name = state.packs[pack]
        in_trash = self._flaw is Flaw.TRASH_COUNTS and any(
            folder.packs >> pack & 1 for folder in state.folders
        )
        for shown in (False, True) if name.age < self._timing.stale else (name.there,):
            finds = shown or in_trash or (self._flaw is Flaw.EARLY_BELIEF and on.finds)
            what = f"finds pack {pack}" if finds else f"does not find pack {pack}"
            yield what, with_saver(state, me, on._replace(finds=finds))

    def _renew(self, state: State, me: int, on: Saver) -> Iterator[tuple[str, State]]:
        """Store once more what lies in packs that are not there, if this saver has the bytes."""
        if me not in self._scenario.owners:
            yield "lists the packs", with_saver(state, me, on)
            return
        wanted = self._views.packs_of(on.carries & ~on.renewed)
        for shown in self._views.pack_views(state, wanted):
            again = sum(
                1 << entry
                for entry in bits(on.carries & ~on.renewed)
                if self._views.packs_of(1 << entry) & ~shown
            )
            after = on._replace(renewed=on.renewed | again)
            yield f"stores the entries of {bits(again)} once more", with_saver(state, me, after)

    def _upload(self, state: State, me: int, on: Saver) -> tuple[str, State]:
        after = with_saver(state, me, on)
        pack = self._views.pack_of[me]
        if pack is None or on.finds:
            return "has no pack to write", after
        return f"writes pack {pack}", with_pack(after, pack, there=True)

    def _publish(self, state: State, me: int, on: Saver) -> tuple[str, State]:
        if on.token is not Token.OPEN:
            again = 0 if on.begun < self._scenario.attempts else FAILED
            after = Saver(done=again, begun=on.begun)
            return "cannot rename its token: it was fenced", with_saver(state, me, after)
        carries = 1 << me
        if self._flaw is not Flaw.DROPPED_ENTRIES:
            carries |= on.carries
        claimed = min(on.age, self._timing.age) if self._flaw in WRONG_AGES else 0
        manifest = Manifest(
            Listed.THERE, 0, on.seen & on.earlier, carries, claimed, on.renewed & carries
        )
        # What it does not need any more must not tell two states apart.
        after = Saver(done=on.done, begun=on.begun)
        published = state._replace(manifests=put(state.manifests, me, manifest))
        what = f"publishes manifest {me} with the entries of {bits(carries)}"
        return what, with_saver(published, me, after)

    def _earlier(self, state: State, me: int) -> int:
        """Snapshots with a smaller id; the old manifest's, too."""
        older = (1 << len(state.manifests)) - (1 << len(state.savers))
        for number, saver in enumerate(state.savers):
            if saver.begun and number != me:
                older |= 1 << number
        return older

    def _past_silent(self, state: State, me: int) -> State:
        """Take with a step those that follow and that nobody can notice, whenever they happen."""
        saver = state.savers[me]
        done = saver.done
        while done < len(self._order) and self._is_silent(saver, me, self._order[done]):
            done += 1
        return state if done == saver.done else with_saver(state, me, saver._replace(done=done))

    def _is_silent(self, saver: Saver, me: int, effect: str) -> bool:
        if effect == "heads":
            return not self._scenario.supersedes and not self._others_packs(me)
        if effect == "packs":
            return self._views.pack_of[me] is None and me not in self._scenario.owners
        if effect == "upload":
            return self._views.pack_of[me] is None or saver.finds
        return effect == "write" and self._flaw not in (Flaw.BY_NAME, Flaw.AGE_OF_WRITING)

    def _others_packs(self, me: int) -> bool:
        """Whether there are packs which this saver may reference only since others do."""
        return bool(set(self._views.pack_of) - {self._views.pack_of[me], None})
