"""Faults of a shared folder, and when they strike."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from b10_store.remote.folder_names import TEMPORARY_MARK

_PASSING = frozenset(
    {
        ("read", "manifests"),
        ("read", "packs"),
        ("stat", "manifests"),
        ("stat", "packs"),
        ("stat", "sessions"),
        ("touch", "manifests"),
        ("rename", "sessions"),
        ("rename", "manifests"),
        ("delete", "sessions"),
    }
)
"""Effects that are tried again, or are of no consequence."""
_TIDYING = frozenset({"delete", "os.unlink"})


class Manner(Enum):
    """How an effect goes wrong."""

    REFUSED = "is refused"
    DONE = "is done, but an error is returned"
    UNSEEN = "is done, but an error is returned, and the new name is not seen"
    SHORT = "does a part only"
    STALE = "answers what it answered before"
    LACKING = "does not show the newest"


class Lasting(Enum):
    """For how long it does."""

    ONCE = "once"
    THERE = "from then on, there"
    EVERYWHERE = "from then on, everywhere"


@dataclass(frozen=True, slots=True)
class Fault:
    """A way for some effects to go wrong.

    Attributes:
        name: for the message of a failure.
        manner: what becomes of the effect.
        strikes: the kinds of effects that can go wrong like this.
        error: what the filesystem says, an errno; 0 for nothing.
        is_harmless: whether an operation must end as if it had not been, however long it lasts.
    """

    name: str
    manner: Manner
    strikes: frozenset[str]
    error: int = 0
    is_harmless: bool = False

    def as_error(self, name: str) -> OSError:
        """What the filesystem says."""
        return OSError(self.error, f"{os.strerror(self.error)}, on purpose", name)

    def __str__(self) -> str:
        """Its name."""
        return self.name


class Effect(NamedTuple):
    """What is done, and in which part of the store."""

    kind: str
    place: str

    def __str__(self) -> str:
        """For the message of a failure."""
        return f"{self.kind} {self.place or '(store)'}"


class Case(NamedTuple):
    """One fault of one effect: the n-th of its kind and place, from 1."""

    effect: Effect
    number: int
    fault: Fault
    lasting: Lasting

    def __str__(self) -> str:
        """For the message of a failure."""
        return f"{self.effect} #{self.number}: {self.fault}, {self.lasting.value}"


class Faults:
    """Counts effects, and says which go wrong. Safe to use from many threads."""

    def __init__(self, case: Case | None = None) -> None:
        """Without a case, nothing goes wrong."""
        self.counts: Counter[Effect] = Counter()
        self.struck = 0
        self._case = case
        self._lock = threading.Lock()

    def meet(self, kind: str, name: str) -> Fault | None:
        """Count an effect; returns what goes wrong with it, or None."""
        effect = Effect(kind, _place(name))
        with self._lock:
            self.counts[effect] += 1
            if self._case is None or not self._is_due(self._case, effect):
                return None
            self.struck += 1
            return self._case.fault

    @property
    def hides(self) -> bool:
        """Whether files are not shown that are there."""
        if self._case is None:
            return False
        fault = self._case.fault
        if fault.manner is Manner.REFUSED:
            return fault.error == errno.ENOENT
        return fault.manner in (Manner.STALE, Manner.LACKING, Manner.UNSEEN)

    @property
    def deceive(self) -> bool:
        """Whether an effect says what is not so: files that are not there, or nothing done."""
        case = self._case
        return self.hides or (case is not None and case.fault.error in (errno.ENOENT, errno.EEXIST))

    @property
    def are_harmless(self) -> bool:
        """Whether the operation must end as if nothing had happened, however long it lasts."""
        return self._case is not None and self._case.fault.is_harmless

    @property
    def blind(self) -> bool:
        """Whether the filesystem lies all the time, so that nothing it says can be relied on."""
        case = self._case
        if case is None or case.lasting is Lasting.ONCE or case.fault.is_harmless:
            return False
        return self.deceive or case.fault.manner is Manner.SHORT

    @property
    def hide_sessions(self) -> bool:
        """Whether listings do not show sessions that are not new: no mount may do that."""
        case = self._case
        if case is None:
            return False
        listing = {"list", "os.scandir"}
        if case.lasting is Lasting.EVERYWHERE:
            return self.hides and not listing.isdisjoint(case.fault.strikes)
        return self.hides and case.effect.kind in listing and case.effect.place == "sessions"

    @property
    def are_unfelt(self) -> bool:
        """Whether the operation must end as if nothing had happened."""
        case = self._case
        if case is None:
            return True
        if case.fault.is_harmless:
            return True
        is_seen = case.fault.manner in (Manner.REFUSED, Manner.DONE, Manner.SHORT)
        return case.lasting is Lasting.ONCE and is_seen and case.effect[:2] in _PASSING

    @property
    def may_leave(self) -> frozenset[str]:
        """Marks of names that may stay behind: where tidying up fails, or nobody knows of them."""
        case = self._case
        if case is None:
            return frozenset()
        if case.lasting is not Lasting.ONCE or case.effect.kind in _TIDYING:
            return frozenset({"sessions/", TEMPORARY_MARK})
        if case.effect.kind == "os.create" and case.fault.manner is Manner.DONE:
            return frozenset({TEMPORARY_MARK})
        if case.effect.kind in ("open_token", "token close"):
            # The probe of a visit; a save's token has another name.
            return frozenset({TEMPORARY_MARK})
        return frozenset()

    def _is_due(self, case: Case, effect: Effect) -> bool:
        if effect == case.effect and self.counts[effect] == case.number:
            return True
        if not self.struck or case.lasting is Lasting.ONCE:
            return False
        if case.lasting is Lasting.THERE:
            return effect == case.effect
        return effect.kind in case.fault.strikes


def cases(
    counts: Counter[Effect], fault: Fault, lasting: Lasting, *, only_ends: bool = False
) -> list[Case]:
    """Each of the effects that were counted, struck by a fault that it can have.

    Args:
        counts: of the effects, when nothing fails.
        fault: how they go wrong.
        lasting: for how long.
        only_ends: the first and the last of each kind alone.
    """
    return [
        Case(effect, number, fault, lasting)
        for effect, count in sorted(counts.items())
        if effect.kind in fault.strikes
        for number in (sorted({1, count}) if only_ends else range(1, count + 1))
    ]


def _place(name: str) -> str:
    """The folder of the store that a file is in."""
    return name.partition("/")[0] if "/" in name else ""


def refusals(strikes: frozenset[str], *codes: int) -> list[Fault]:
    """Effects that are refused, by errno."""
    return [Fault(errno.errorcode[code], Manner.REFUSED, strikes, code) for code in codes]
