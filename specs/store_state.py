"""The states of the model: a store, and all who work on it."""

from __future__ import annotations

import enum
from functools import lru_cache
from itertools import product
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Name(NamedTuple):
    """A name in a folder, and how many ticks ago it appeared or vanished."""

    there: bool
    age: int


class Token(enum.IntEnum):
    """Where a token is."""

    NONE = 0
    OPEN = 1
    FENCED = 2


FAILED = 99
"""In the place of `Saver.done`: it gave up."""


class Saver(NamedTuple):
    """A save in flight.

    Attributes:
        done: how many of the steps of a save it took.
        token: where its token is.
        age: of its token, in ticks.
        seen: manifests that its own will supersede, a bit each.
        carries: entries that its own will hold besides its artifact's, a bit each.
        renewed: those of `carries` that it stores once more.
        finds: whether it relies on a pack which is there.
        begun: how often it began.
        earlier: snapshots that have a smaller id than its own: a manifest supersedes no other.
    """

    done: int = 0
    token: Token = Token.NONE
    age: int = 0
    seen: int = 0
    carries: int = 0
    renewed: int = 0
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
        renewed: those of `carries` that lie in a pack of its saver's own.
    """

    listed: Listed = Listed.NOT_YET
    age: int = 0
    supersedes: int = 0
    carries: int = 0
    claimed: int = 0
    renewed: int = 0


class Stage(enum.IntEnum):
    """How far a folder of trash has come."""

    FILLING = 0
    FILLED = 1
    WITNESSED = 2
    FENCED = 3
    GONE = 4


NOBODY = -1
"""In the place of `Folder.adopter`."""


class Folder(NamedTuple):
    """A folder of trash: its stage, ticks since then, packs, witnessed sessions, and adopter."""

    stage: Stage = Stage.FILLING
    age: int = 0
    packs: int = 0
    witnessed: int = 0
    adopter: int = NOBODY


class Doing(enum.IntEnum):
    """What a gc is in the middle of; `Gc.mask` is what it remembers."""

    NOTHING = 0
    TRASHING = 1  # mask: packs that are referenced
    FILLING = 2  # mask: packs still to be moved
    WITNESSING = 3  # mask: sessions
    FENCING = 4  # mask: sessions that were witnessed
    FENCED = 5
    ADOPTED = 6
    DELETING = 7  # mask: packs that are referenced


class Gc(NamedTuple):
    """A gc: what it does, on which folder, what it remembers, and whether it may still fill one."""

    doing: Doing = Doing.NOTHING
    folder: int = 0
    mask: int = 0
    departing: int = 0
    fresh: bool = True


REMEMBERS_SESSIONS = (Doing.WITNESSING, Doing.FENCING)


class State(NamedTuple):
    """A store and all who work on it."""

    packs: tuple[Name, ...]
    savers: tuple[Saver, ...]
    manifests: tuple[Manifest, ...]
    folders: tuple[Folder, ...]
    gcs: tuple[Gc, ...]


def put(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    """The values with another one at an index."""
    return (*values[:index], value, *values[index + 1 :])


@lru_cache(maxsize=1024)
def bits(mask: int) -> tuple[int, ...]:
    """The numbers of the bits that are set."""
    return tuple(bit for bit in range(mask.bit_length()) if mask >> bit & 1)


def subsets(sure: int, unsure: int) -> list[int]:
    """Every mask that has the bits of `sure` and some of `unsure`."""
    choices = [(0, 1 << bit) for bit in bits(unsure)]
    return [sure | sum(chosen) for chosen in product(*choices)]


def with_saver(state: State, me: int, saver: Saver) -> State:
    """The state with another saver in the place of one."""
    return state._replace(savers=put(state.savers, me, saver))


def with_gc(state: State, me: int, gc: Gc) -> State:
    """The state with another gc in the place of one."""
    return state._replace(gcs=put(state.gcs, me, gc))


def with_folder(state: State, number: int, folder: Folder) -> State:
    """The state with another folder of trash in the place of one."""
    return state._replace(folders=put(state.folders, number, folder))


def with_pack(state: State, pack: int, *, there: bool) -> State:
    """The state with a pack in packs/, or not."""
    if state.packs[pack].there is there:
        return state
    return state._replace(packs=put(state.packs, pack, Name(there, 0)))


def trash_manifest(state: State, number: int, where: Listed) -> State:
    """Move a manifest to trash, unless it is gone."""
    manifest = state.manifests[number]
    if manifest.listed is not Listed.THERE:
        return state
    gone = manifest._replace(listed=where, age=0)
    return state._replace(manifests=put(state.manifests, number, gone))
