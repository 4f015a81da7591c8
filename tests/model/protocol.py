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

import enum
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tests.model.checker import Step, explore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.model.checker import Explored

T = TypeVar("T")


class Flaw(enum.Enum):
    """One protection of the protocol taken out."""

    NO_FENCE = "the sessions that were witnessed are neither waited for nor fenced"
    NO_WITNESS = "sessions are not looked at at all"
    LATE_WITNESS = "sessions are listed and fenced only by the visit that deletes"
    TOKEN_BY_NAME = "the manifest is written to a temporary name and renamed to the token's"
    TOKEN_LATE = "the token is created after the packs were listed"
    EARLY_BELIEF = "a pack counts as there if a listing before the token showed it"
    TRASH_COUNTS = "a pack counts as there when it is in trash"
    SHARED_TRASH = "all gcs condemn into one folder"
    UNREADABLE_IGNORED = "a manifest that cannot be read is passed over"
    NO_AGE = "a superseded manifest goes to trash at once"
    AGE_OF_SESSION = "a manifest's age counts from the creation of its token"
    AGE_OF_WRITING = "a manifest's age counts from its writing into the token"
    DROPPED_ENTRIES = "a manifest does not carry the entries of those it supersedes"


class Timing(NamedTuple):
    """Ticks.

    Attributes:
        stale: a view shows every change that is at least this old.
        stage: least distance between two stages of a folder of trash.
        age: how old a manifest must be before what it supersedes goes to trash.
    """

    stale: int
    stage: int
    age: int


COARSE = Timing(stale=1, stage=1, age=1)
"""Whatever falls between two ticks counts as one moment: fewest states."""

FINE = Timing(stale=2, stage=3, age=2)
"""A change may be one tick old and still be missed. On a grid the stages must then be
2 * stale - 1 ticks apart; in time that is continuous, twice the staleness."""


class Scenario(NamedTuple):
    """Who takes part.

    Attributes:
        savers: for each, which contested pack its artifact lies in; None: one of its own, which
            nobody condemns.
        gcs: how many gcs, each of which condemns once and takes any folder further.
        packs: how many contested packs.
        attempts: how often a saver begins; all but the first after it was fenced.
        supersedes: whether superseded manifests are moved to trash.
        expires: whether an old manifest of pack 0 is there, which the gcs expire.
        timing: see `Timing`.
        flaw: what is taken out.
    """

    savers: tuple[int | None, ...]
    gcs: int
    packs: int = 1
    attempts: int = 1
    supersedes: bool = False
    expires: bool = False
    timing: Timing = COARSE
    flaw: Flaw | None = None


class Name(NamedTuple):
    """A name in a folder, and how many ticks ago it appeared or vanished."""

    there: bool
    age: int


class Token(enum.IntEnum):
    """Where a token is."""

    NONE = 0
    OPEN = 1
    FENCED = 2


class Saver(NamedTuple):
    """A save in flight.

    Attributes:
        done: how many of the steps of a save it took.
        token: where its token is.
        age: of its token, in ticks.
        seen: manifests that its own will supersede, a bit each.
        carries: entries that its own will hold besides its artifact's, a bit each.
        old: those of `seen` that it may move to trash.
        finds: whether it relies on a pack which is there.
        begun: how often it began.
        earlier: snapshots that have a smaller id than its own: a manifest supersedes no other.
    """

    done: int = 0
    token: Token = Token.NONE
    age: int = 0
    seen: int = 0
    carries: int = 0
    old: int = 0
    finds: bool = False
    begun: int = 0
    earlier: int = 0


class Listed(enum.IntEnum):
    """Where a manifest is."""

    NOT_YET = 0
    THERE = 1
    SUPERSEDED = 2
    EXPIRED = 3


class Manifest(NamedTuple):
    """A published manifest.

    Attributes:
        listed: where it is; SUPERSEDED and EXPIRED ones are in trash.
        age: ticks since its name appeared or vanished.
        supersedes: manifests, a bit each.
        carries: entries, a bit for each saver whose artifact it holds.
        claimed: the age that others ascribe to it where that is not `age`; a flaw.
    """

    listed: Listed = Listed.NOT_YET
    age: int = 0
    supersedes: int = 0
    carries: int = 0
    claimed: int = 0


class Stage(enum.IntEnum):
    """How far a folder of trash has come."""

    FILLING = 0
    CONDEMNED = 1
    WITNESSED = 2
    FENCED = 3
    GONE = 4


_NOBODY = -1


class Folder(NamedTuple):
    """A folder of trash: its stage, ticks since then, packs, witnessed sessions, and adopter."""

    stage: Stage = Stage.FILLING
    age: int = 0
    packs: int = 0
    witnessed: int = 0
    adopter: int = _NOBODY


class Doing(enum.IntEnum):
    """What a gc is in the middle of; `Gc.mask` is what it remembers."""

    NOTHING = 0
    TRASHING = 1  # mask: packs that are referenced
    CONDEMNING = 2  # mask: packs still to be moved
    WITNESSING = 3  # mask: sessions
    FENCING = 4  # mask: sessions that were witnessed
    FENCED = 5
    ADOPTED = 6
    DELETING = 7  # mask: packs that are referenced


class Gc(NamedTuple):
    """A gc: what it does, on which folder, what it remembers, and whether it may still condemn."""

    doing: Doing = Doing.NOTHING
    folder: int = 0
    mask: int = 0
    departing: int = 0
    fresh: bool = True


_REMEMBERS_SESSIONS = (Doing.WITNESSING, Doing.FENCING)


class State(NamedTuple):
    """A store and all who work on it."""

    packs: tuple[Name, ...]
    savers: tuple[Saver, ...]
    manifests: tuple[Manifest, ...]
    folders: tuple[Folder, ...]
    gcs: tuple[Gc, ...]


_SAVE = ("open", "heads", "packs", "upload", "write", "publish")
_ORDERS = {
    Flaw.TOKEN_LATE: ("heads", "packs", "open", "upload", "write", "publish"),
    Flaw.EARLY_BELIEF: ("packs", "open", "heads", "packs", "upload", "write", "publish"),
}
_FAILED = 99


def _put(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])


@lru_cache(maxsize=1024)
def _bits(mask: int) -> tuple[int, ...]:
    return tuple(bit for bit in range(mask.bit_length()) if mask >> bit & 1)


def _subsets(sure: int, unsure: int) -> list[int]:
    """Every mask that has the bits of `sure` and some of `unsure`."""
    choices = [(0, 1 << bit) for bit in _bits(unsure)]
    return [sure | sum(chosen) for chosen in product(*choices)]


class _Renumbered:
    """Values in which savers have other numbers."""

    def __init__(self, order: list[int]) -> None:
        self._new = {old: new for new, old in enumerate(order)}

    def __getitem__(self, mask: int) -> int:
        return sum(1 << self._new[bit] for bit in _bits(mask))

    def saver(self, saver: Saver) -> Saver:
        return saver._replace(
            seen=self[saver.seen],
            carries=self[saver.carries],
            old=self[saver.old],
            earlier=self[saver.earlier],
        )

    def manifest(self, manifest: Manifest) -> Manifest:
        return manifest._replace(
            supersedes=self[manifest.supersedes], carries=self[manifest.carries]
        )


def _in_order_of_gcs(state: State) -> State:
    ranked = sorted(zip(state.gcs, state.folders, range(len(state.gcs))))
    order = [number for *_, number in ranked]
    if order == sorted(order):
        return state
    new = {old: new for new, old in enumerate(order)} | {_NOBODY: _NOBODY}
    return state._replace(
        gcs=tuple(gc._replace(folder=new[gc.folder]) if gc.doing else gc for gc, _, _ in ranked),
        folders=tuple(item._replace(adopter=new[item.adopter]) for _, item, _ in ranked),
    )


class Protocol:
    """The steps of all actors of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._reduces = scenario.flaw is None
        self._ranks = [scenario.savers.index(pack) for pack in scenario.savers]
        self._scenario = scenario
        self._flaw = scenario.flaw
        self._stale, self._stage, self._age = scenario.timing
        self._order = _SAVE if self._flaw is None else _ORDERS.get(self._flaw, _SAVE)
        # The entry of the old manifest comes after those of the savers.
        self._pack_of = (*scenario.savers, *([0] if scenario.expires else []))
        self._oldest = max(self._stale, self._age) if scenario.supersedes else self._stale

    def explore(self, limit: int = 2_000_000) -> Explored:
        """Visit all states.

        Args:
            limit: most states to visit.
        """
        actors = [self.tick, self.save, self.collect]
        explored = explore(self.start(), actors, self.fault, limit)
        if explored.found is None or not self._reduces:
            return explored
        # Where states stand for each other, the actors of a trace change their numbers on the way.
        self._reduces = False
        return explore(self.start(), actors, self.fault, limit)

    def start(self) -> State:
        """Packs of the past, settled; nobody has begun."""
        scenario = self._scenario
        old = Manifest(Listed.THERE, self._oldest, 0, 1 << len(scenario.savers))
        return State(
            packs=(Name(there=True, age=self._stale),) * scenario.packs,
            savers=(Saver(),) * len(scenario.savers),
            manifests=((Manifest(),) * len(scenario.savers)) + ((old,) * scenario.expires),
            folders=(Folder(),) * scenario.gcs,
            gcs=(Gc(),) * scenario.gcs,
        )

    def fault(self, state: State) -> str | None:
        """A pack that was lost, or an entry that a listing may miss though nothing replaced it."""
        return self.lost_pack(state) or self.missed_entry(state)

    def lost_pack(self, state: State) -> str | None:
        """A pack that a manifest references, and that is neither in packs/ nor in trash."""
        kept = 0
        for folder in state.folders:
            kept |= folder.packs
        for number, manifest in enumerate(state.manifests):
            if manifest.listed is Listed.THERE:
                for pack in _bits(self._packs_of(manifest.carries)):
                    if not state.packs[pack].there and not kept >> pack & 1:
                        return f"pack {pack} is lost: manifest {number} references it"
        return None

    def missed_entry(self, state: State) -> str | None:
        """An entry whose manifest is in trash, and which a listing of the others may not show."""
        settled = 0
        for manifest in state.manifests:
            if manifest.listed is Listed.THERE and manifest.age >= self._stale:
                settled |= manifest.carries
        for number, manifest in enumerate(state.manifests):
            if manifest.listed is Listed.SUPERSEDED and manifest.carries & ~settled:
                missed = _bits(manifest.carries & ~settled)
                return f"a load may miss the entries of {missed}: manifest {number} is in trash"
        return None

    # Time.

    def tick(self, state: State) -> Iterator[Step[State]]:
        """Everything grows older; nobody is hindered by that."""
        older = state._replace(
            packs=tuple(Name(name.there, min(name.age + 1, self._stale)) for name in state.packs),
            savers=tuple(self._older_saver(saver) for saver in state.savers),
            manifests=tuple(self._older_manifest(manifest) for manifest in state.manifests),
            folders=tuple(
                folder._replace(age=min(folder.age + 1, self._stage))
                if Stage.FILLING < folder.stage < Stage.GONE and folder.age < self._stage
                else folder
                for folder in state.folders
            ),
        )
        if older != state:
            yield Step("-- a tick --", older)

    def _older_saver(self, saver: Saver) -> Saver:
        limit = self._oldest if self._flaw in _AGES else self._stale
        if saver.token is not Token.OPEN or saver.age >= limit:
            return saver
        return saver._replace(age=saver.age + 1)

    def _older_manifest(self, manifest: Manifest) -> Manifest:
        if manifest.listed is Listed.NOT_YET or manifest.age >= self._oldest:
            return manifest
        claimed = min(manifest.claimed + 1, self._age) if self._flaw in _AGES else 0
        return manifest._replace(age=manifest.age + 1, claimed=claimed)

    # Views.

    def _packs_of(self, entries: int) -> int:
        packs = 0
        for entry in _bits(entries):
            pack = self._pack_of[entry]
            if pack is not None:
                packs |= 1 << pack
        return packs

    def _manifest_views(self, state: State) -> list[int]:
        """Which manifests a listing may show: what was published or trashed lately, or not."""
        sure = unsure = 0
        for number, manifest in enumerate(state.manifests):
            if manifest.listed is not Listed.NOT_YET:
                if manifest.age < self._stale:
                    unsure |= 1 << number
                elif manifest.listed is Listed.THERE:
                    sure |= 1 << number
        return _subsets(sure, unsure)

    def _carried(self, state: State, seen: int) -> int:
        carries = 0
        for number in _bits(seen):
            carries |= state.manifests[number].carries
        return carries

    def _old_ones(self, state: State, seen: int) -> int:
        """Those of the manifests seen that another one of them, an old one, supersedes."""
        old = 0
        if self._scenario.supersedes:
            for number in _bits(seen):
                manifest = state.manifests[number]
                age = manifest.claimed if self._flaw in _AGES else manifest.age
                if (
                    age >= self._age
                    or manifest.listed is Listed.SUPERSEDED  # so it was old before that
                    or self._flaw is Flaw.NO_AGE
                ):
                    old |= manifest.supersedes & seen
        return old

    def _trash(self, state: State, number: int) -> State:
        """Move a manifest to trash, unless it is gone."""
        manifest = state.manifests[number]
        if manifest.listed is not Listed.THERE:
            return state
        where = Listed.EXPIRED if number >= len(state.savers) else Listed.SUPERSEDED
        gone = manifest._replace(listed=where, age=0)
        return state._replace(manifests=_put(state.manifests, number, gone))

    # Savers.

    def save(self, state: State) -> Iterator[Step[State]]:
        """The next step of each saver."""
        for me, saver in enumerate(state.savers):
            if saver.done < len(self._order):
                effect = self._order[saver.done]
                for what, after in self._save_step(state, me, effect):
                    quiet = self._reduce(self._past_silent(after, me))
                    yield Step(f"saver {me}: {what}", quiet)
            elif saver.old and saver.done != _FAILED:
                number = _bits(saver.old)[0]
                after = saver._replace(old=saver.old & ~(1 << number))
                moved = self._trash(state, number)
                moved = moved._replace(savers=_put(state.savers, me, after))
                yield Step(f"saver {me}: moves superseded manifest {number} to trash", moved)

    def _save_step(self, state: State, me: int, effect: str) -> Iterable[tuple[str, State]]:
        saver = state.savers[me]
        on = saver._replace(done=saver.done + 1)
        if effect == "open":
            on = on._replace(token=Token.OPEN, age=0, begun=saver.begun + 1)
            if self._scenario.supersedes:
                on = on._replace(earlier=self._earlier(state, me))
            return [("creates its token", self._with_saver(state, me, on))]
        if effect == "heads":
            return self._read_heads(state, me, on)
        if effect == "packs":
            return self._list_packs(state, me, on)
        if effect == "upload":
            return self._upload(state, me, on)
        if effect == "write":
            if self._flaw is Flaw.TOKEN_BY_NAME and saver.token is Token.FENCED:
                on = on._replace(token=Token.OPEN, age=0)
            if self._flaw is Flaw.AGE_OF_WRITING:
                on = on._replace(age=0)
            return [("writes its manifest into the token", self._with_saver(state, me, on))]
        return [self._publish(state, me, on)]

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
        return (
            state if done == saver.done else self._with_saver(state, me, saver._replace(done=done))
        )

    def _is_silent(self, saver: Saver, me: int, effect: str) -> bool:
        if effect == "heads":
            return not self._scenario.supersedes and not self._others_packs(me)
        if effect == "packs":
            return self._pack_of[me] is None
        if effect == "upload":
            return self._pack_of[me] is None or saver.finds
        return effect == "write" and self._flaw not in (Flaw.TOKEN_BY_NAME, Flaw.AGE_OF_WRITING)

    def _others_packs(self, me: int) -> bool:
        """Whether there are packs which this saver may reference only since others do."""
        return bool(set(self._pack_of) - {self._pack_of[me], None})

    def _with_saver(self, state: State, me: int, saver: Saver) -> State:
        return state._replace(savers=_put(state.savers, me, saver))

    def _read_heads(self, state: State, me: int, on: Saver) -> Iterator[tuple[str, State]]:
        for seen in self._manifest_views(state):
            carries = self._carried(state, seen)
            if self._scenario.supersedes:
                after = on._replace(seen=seen, carries=carries, old=self._old_ones(state, seen))
            else:
                after = on._replace(carries=self._one_of_each_pack(me, carries))
            yield f"reads manifests {_bits(seen)}", self._with_saver(state, me, after)

    def _one_of_each_pack(self, me: int, entries: int) -> int:
        """Where nothing is superseded only packs matter, and fewer values are fewer states."""
        packs = {self._pack_of[me]}
        kept = 0
        for entry in _bits(entries):
            if self._pack_of[entry] not in packs:
                packs.add(self._pack_of[entry])
                kept |= 1 << entry
        return kept

    def _list_packs(self, state: State, me: int, on: Saver) -> Iterator[tuple[str, State]]:
        pack = self._pack_of[me]
        if pack is None:
            yield "lists the packs", self._with_saver(state, me, on)
            return
        name = state.packs[pack]
        in_trash = self._flaw is Flaw.TRASH_COUNTS and any(
            folder.packs >> pack & 1 for folder in state.folders
        )
        for shown in (False, True) if name.age < self._stale else (name.there,):
            finds = shown or in_trash or (self._flaw is Flaw.EARLY_BELIEF and on.finds)
            what = f"finds pack {pack}" if finds else f"does not find pack {pack}"
            yield what, self._with_saver(state, me, on._replace(finds=finds))

    def _upload(self, state: State, me: int, on: Saver) -> Iterator[tuple[str, State]]:
        pack = self._pack_of[me]
        if pack is None or on.finds:
            yield "has all packs", self._with_saver(state, me, on)
            return
        after = self._with_saver(state, me, on)
        yield f"writes pack {pack}", self._with_pack(after, pack, there=True)

    def _with_pack(self, state: State, pack: int, *, there: bool) -> State:
        if state.packs[pack].there is there:
            return state
        return state._replace(packs=_put(state.packs, pack, Name(there, 0)))

    def _publish(self, state: State, me: int, on: Saver) -> tuple[str, State]:
        if on.token is not Token.OPEN:
            again = 0 if on.begun < self._scenario.attempts else _FAILED
            after = Saver(done=again, begun=on.begun)
            return "cannot rename its token: it was fenced", self._with_saver(state, me, after)
        carries = 1 << me
        if self._flaw is not Flaw.DROPPED_ENTRIES:
            carries |= on.carries
        claimed = min(on.age, self._age) if self._flaw in _AGES else 0
        manifest = Manifest(Listed.THERE, 0, on.seen & on.earlier, carries, claimed)
        # What it does not need any more must not tell two states apart.
        after = Saver(done=on.done, old=on.old, begun=on.begun)
        published = state._replace(manifests=_put(state.manifests, me, manifest))
        what = f"publishes manifest {me} with the entries of {_bits(carries)}"
        return what, self._with_saver(published, me, after)

    # Gcs.

    def collect(self, state: State) -> Iterator[Step[State]]:
        """The next steps of each gc."""
        for me, gc in enumerate(state.gcs):
            if gc.doing is Doing.NOTHING:
                steps = self._begin(state, me, gc)
            else:
                steps = self._go_on(state, me, gc)
            for what, after in steps:
                yield Step(f"gc {me}: {what}", self._reduce(after))

    def _reduce(self, state: State) -> State:
        """One state in the place of many from which the same can happen.

        A session that ended does not come back, so whoever waits for it need not remember it; a gc
        whose next effect another has overtaken might as well have died; and which of two savers
        with the same pack, or of two gcs, is which makes no difference.
        """
        if not self._reduces:
            return state
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
        ranked = sorted(zip(self._ranks, state.savers, state.manifests, range(len(state.savers))))
        order = [number for *_, number in ranked]
        if order == sorted(order):
            return state
        order += range(len(order), len(state.manifests))
        place = _Renumbered(order)
        gcs = [
            gc._replace(
                departing=place[gc.departing],
                mask=place[gc.mask] if gc.doing in _REMEMBERS_SESSIONS else gc.mask,
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
            if stage not in (Stage.CONDEMNED, Stage.WITNESSED):
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
            adopter = _NOBODY
        if adopter == folder.adopter and not folder.witnessed & ~alive:
            return folder
        return folder._replace(witnessed=folder.witnessed & alive, adopter=adopter)

    def _with_gc(self, state: State, me: int, gc: Gc) -> State:
        return state._replace(gcs=_put(state.gcs, me, gc))

    def _with_folder(self, state: State, number: int, folder: Folder) -> State:
        return state._replace(folders=_put(state.folders, number, folder))

    def _begin(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        if gc.fresh:
            own = 0 if self._flaw is Flaw.SHARED_TRASH else me
            for seen in self._manifest_views(state):
                expired = (1 << len(state.savers)) if self._scenario.expires else 0
                departing = self._old_ones(state, seen) | (expired & seen)
                mask = self._packs_of(self._carried(state, seen & ~departing))
                after = Gc(Doing.TRASHING, own, mask, departing, fresh=False)
                yield f"reads manifests {_bits(seen)}", self._with_gc(state, me, after)
        for number, folder in enumerate(state.folders):
            if Stage.FILLING < folder.stage < Stage.GONE and folder.age >= self._stage:
                yield from self._take_further(state, me, number)

    def _take_further(self, state: State, me: int, number: int) -> Iterator[tuple[str, State]]:
        gc, folder = state.gcs[me], state.folders[number]
        if folder.stage is Stage.FENCED or self._flaw is Flaw.NO_WITNESS:
            adopted = folder._replace(adopter=me)
            after = Gc(Doing.ADOPTED, number, fresh=gc.fresh)
            moved = self._with_gc(self._with_folder(state, number, adopted), me, after)
            yield f"adopts folder {number}", moved
        elif folder.stage is Stage.CONDEMNED:
            late = self._flaw is Flaw.LATE_WITNESS
            for sessions in self._session_views(state):
                after = Gc(
                    Doing.FENCING if late else Doing.WITNESSING, number, sessions, 0, gc.fresh
                )
                yield (
                    f"lists sessions {_bits(sessions)} for folder {number}",
                    self._with_gc(state, me, after),
                )
        else:
            after = Gc(Doing.FENCING, number, folder.witnessed, fresh=gc.fresh)
            yield f"reads who was witnessed for folder {number}", self._with_gc(state, me, after)

    def _session_views(self, state: State) -> list[int]:
        sure = unsure = 0
        for number, saver in enumerate(state.savers):
            if saver.token is Token.OPEN:
                if saver.age < self._stale:
                    unsure |= 1 << number
                else:
                    sure |= 1 << number
        return _subsets(sure, unsure)

    def _go_on(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        idle = Gc(fresh=gc.fresh)
        if gc.doing is Doing.TRASHING:
            yield from self._move_manifests(state, me, gc)
        elif gc.doing is Doing.CONDEMNING:
            yield from self._condemn(state, me, gc, idle)
        elif gc.doing is Doing.FENCING:
            yield from self._fence(state, me, gc)
        elif gc.doing is Doing.ADOPTED:
            yield from self._survey(state, me, gc)
        elif gc.doing is Doing.DELETING:
            yield from self._delete(state, me, gc, idle)
        else:
            yield self._mark(state, me, gc, idle)
        # It dies, and another process begins in its place: what it remembered is lost.
        yield "dies; another takes its place", self._with_gc(state, me, idle)

    def _move_manifests(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        if gc.departing:
            number = _bits(gc.departing)[0]
            after = gc._replace(departing=gc.departing & ~(1 << number))
            moved = self._with_gc(self._trash(state, number), me, after)
            yield f"moves manifest {number} to trash", moved
            return
        sure = unsure = 0
        for pack, name in enumerate(state.packs):
            if name.there and not gc.mask >> pack & 1:
                if name.age < self._stale:
                    unsure |= 1 << pack
                else:
                    sure |= 1 << pack
        for mask in _subsets(sure, unsure):
            after = gc._replace(doing=Doing.CONDEMNING, mask=mask)
            yield f"lists unreferenced packs {_bits(mask)}", self._with_gc(state, me, after)

    def _condemn(self, state: State, me: int, gc: Gc, idle: Gc) -> Iterator[tuple[str, State]]:
        own = state.folders[gc.folder]
        if gc.mask:
            pack = _bits(gc.mask)[0]
            moved = self._with_gc(state, me, gc._replace(mask=gc.mask & ~(1 << pack)))
            if state.packs[pack].there:
                moved = self._with_pack(moved, pack, there=False)
                filled = own._replace(packs=own.packs | 1 << pack)
                moved = self._with_folder(moved, gc.folder, filled)
            yield f"moves pack {pack} to folder {gc.folder}", moved
            return
        for number, folder in enumerate(state.folders):
            if number != gc.folder and folder.stage is Stage.FILLING and folder.packs:
                pack = _bits(folder.packs)[0]
                left = folder._replace(packs=folder.packs & ~(1 << pack))
                filled = own._replace(packs=own.packs | 1 << pack)
                moved = self._with_folder(state, number, left)
                yield (
                    f"moves pack {pack} from folder {number}, which nobody marked, to its own",
                    self._with_folder(moved, gc.folder, filled),
                )
        marked = state
        if own.packs and own.stage is Stage.FILLING:
            marked = self._with_folder(state, gc.folder, own._replace(stage=Stage.CONDEMNED, age=0))
        yield f"marks folder {gc.folder} condemned", self._with_gc(marked, me, idle)

    def _fence(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        alive = [i for i in _bits(gc.mask) if state.savers[i].token is Token.OPEN]
        if self._flaw is Flaw.NO_FENCE or not alive:
            after = gc._replace(doing=Doing.FENCED, mask=0)
            yield "finds none of the witnessed sessions", self._with_gc(state, me, after)
            return
        for number in alive:
            # Any session may look stale at any time: its saver may have stalled, or its clock.
            fenced = state.savers[number]._replace(token=Token.FENCED, age=0)
            yield f"fences session {number}", self._with_saver(state, number, fenced)

    def _mark(self, state: State, me: int, gc: Gc, idle: Gc) -> tuple[str, State]:
        """Write the mark of the next stage. It may come late: another gc may have been there."""
        folder = state.folders[gc.folder]
        marked = folder
        if gc.doing is Doing.WITNESSING:
            what = f"writes down who was witnessed for folder {gc.folder}"
            if folder.stage in (Stage.CONDEMNED, Stage.WITNESSED):
                marked = folder._replace(stage=Stage.WITNESSED, age=0, witnessed=gc.mask)
        else:
            what = f"marks folder {gc.folder} fenced"
            if folder.stage in (Stage.CONDEMNED, Stage.WITNESSED):
                age = self._stage if self._flaw is Flaw.LATE_WITNESS else 0
                marked = folder._replace(stage=Stage.FENCED, age=age, witnessed=0)
        return what, self._with_gc(self._with_folder(state, gc.folder, marked), me, idle)

    def _survey(self, state: State, me: int, gc: Gc) -> Iterator[tuple[str, State]]:
        for seen in self._manifest_views(state):
            # One that cannot be read ends the visit: the same as if it died here.
            skipped = _subsets(0, seen) if self._flaw is Flaw.UNREADABLE_IGNORED else [seen]
            for read in skipped:
                mask = self._packs_of(self._carried(state, read))
                after = gc._replace(doing=Doing.DELETING, mask=mask)
                yield f"reads manifests {_bits(read)} again", self._with_gc(state, me, after)

    def _delete(self, state: State, me: int, gc: Gc, idle: Gc) -> Iterator[tuple[str, State]]:
        folder = state.folders[gc.folder]
        if folder.adopter != me or folder.stage is Stage.GONE:
            yield f"finds folder {gc.folder} adopted by another", self._with_gc(state, me, idle)
        elif not folder.packs:
            gone = self._with_folder(state, gc.folder, Folder(Stage.GONE))
            yield f"removes folder {gc.folder}", self._with_gc(gone, me, idle)
        else:
            pack = _bits(folder.packs)[0]
            less = folder._replace(packs=folder.packs & ~(1 << pack))
            after = self._with_folder(state, gc.folder, less)
            if gc.mask >> pack & 1:
                yield f"moves pack {pack} back", self._with_pack(after, pack, there=True)
            else:
                yield f"deletes pack {pack} from folder {gc.folder}", after


_AGES = (Flaw.AGE_OF_SESSION, Flaw.AGE_OF_WRITING)
