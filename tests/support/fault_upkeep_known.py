"""What of the upkeep's answers to faults is known to be wrong: cases that the sweeps leave out."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.faults import Case, Effect, Fault, Lasting

_FORMAT = "check calls FORMAT damaged after a single reading"
_PUT_BACK = "a pack put back by a rename whose answer was lost is called missed"
_LEFT = (
    "removal passes over a manifest whose rename does not find something, and does not look again"
)
_ONE_READING = "undoing a removal calls a manifest unusable after a single reading"
_NOT_SEEN = "stale negative lookup"


@dataclass(frozen=True, slots=True)
class Known:
    """Some cases of an operation.

    Attributes:
        operation: its name.
        effect: which goes wrong.
        fault: how.
        number: which of these effects, from 1.
        reason: what is wrong about what follows.
        lasting: for how long, or None for any time.
    """

    operation: str
    effect: Effect
    fault: str
    number: int
    reason: str
    lasting: Lasting | None = Lasting.ONCE

    def covers(self, operation: str, case: Case) -> bool:
        """Whether a case is one of them."""
        return (
            (operation, case.effect) == (self.operation, self.effect)
            and (case.fault.name, case.number) == (self.fault, self.number)
            and self.lasting in (None, case.lasting)
        )

    def cases(self, faults: list[Fault]) -> list[Case]:
        """One case of each fault that it speaks of."""
        lasting = self.lasting or Lasting.ONCE
        return [
            Case(self.effect, self.number, fault, lasting)
            for fault in faults
            if self.effect.kind in fault.strikes and self.fault == fault.name
        ]

    def __str__(self) -> str:
        """For the name of a test."""
        return f"{self.operation}, {self.effect}: {self.fault}"


_CHECKS = ("check", "check of the data", "repair")
_DONE = ("done but EIO", "done but ENOENT")

KNOWN = (
    *(
        Known(operation, Effect("read", ""), fault, 1, _FORMAT)
        for operation in _CHECKS
        for fault in (_NOT_SEEN, "short read")
    ),
    *(
        Known("repair", Effect("rename", "quarantine"), fault, 1, _PUT_BACK, None)
        for fault in (*_DONE, "done but EIO, and not seen")
    ),
    Known("removal", Effect("rename", "manifests"), _NOT_SEEN, 1, _LEFT),
    *(
        Known("restoring", Effect("read", "trash"), "short read", number, _ONE_READING)
        for number in (1, 2)
    ),
)
"""Of effects on the store."""
KNOWN_CALLS = (
    Known("repair", Effect("os.open", ""), _NOT_SEEN, 1, _FORMAT),
    *(
        Known("repair", Effect("os.rename", "quarantine"), fault, 1, _PUT_BACK, None)
        for fault in _DONE
    ),
    *(
        Known("removal", effect, _NOT_SEEN, number, _LEFT)
        for effect, number in (
            (Effect("os.mkdir", ""), 1),
            (Effect("os.mkdir", "trash"), 1),
            (Effect("os.rename", "manifests"), 2),
        )
    ),
)
"""Of system calls."""
