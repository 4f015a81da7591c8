"""What a load or a save did, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b10_store.heads import Problem
    from b10_transfer.status import OperationStatus


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did.

    Attributes:
        status: SUCCESS, SKIPPED or DOES_NOT_EXIST.
        environment_key: of this host.
        loaded: artifacts that were brought.
        bytes_loaded: their size on disk, in bytes.
        already_here: stored artifacts of which a file was here; it was left as it is.
        missed: stored artifacts that could not be had; the compiler makes them again.
        problems: what was wrong with the store or the disk, a line each.
        seconds: how long the load took.
    """

    status: OperationStatus
    environment_key: str
    loaded: int = 0
    bytes_loaded: int = 0
    already_here: int = 0
    missed: int = 0
    problems: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        """One line, for a log."""
        parts = [
            f"{self.loaded} artifacts loaded ({self.bytes_loaded / 1e6:.1f} MB)",
            f"{self.already_here} already here",
        ]
        if self.missed:
            parts.append(f"{self.missed} could not be had and will be compiled")
        return f"{', '.join(parts)} in {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class SaveReport:
    """What a save did.

    Attributes:
        status: SUCCESS or SKIPPED.
        environment_key: of this host.
        found: artifacts in the local cache roots.
        added: artifacts that the store did not have.
        superseded: artifacts whose stored bytes were replaced by the local ones.
        uploaded_bytes: bytes of new packs in the store.
        stored_bytes: compressed bytes that the newest manifest references.
        compiled_anew: artifacts that a compiler made or replaced here since the last load; None
            when nothing was loaded here.
        left_out: files that were not saved because they were not whole, changed meanwhile, or were
            made when the cache root was used under another environment.
        problems: what was wrong with the store or the disk, a line each.
        seconds: how long the save took.
    """

    status: OperationStatus
    environment_key: str
    found: int = 0
    added: int = 0
    superseded: int = 0
    uploaded_bytes: int = 0
    stored_bytes: int = 0
    compiled_anew: int | None = None
    left_out: int = 0
    problems: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        """One line, for a log."""
        parts = [
            f"{self.found} artifacts here",
            f"{self.added} added",
            f"{self.superseded} superseded",
            f"{self.uploaded_bytes / 1e6:.1f} MB uploaded",
        ]
        if self.compiled_anew is not None:
            parts.append(f"{self.compiled_anew} compiled since the load")
        if self.left_out:
            parts.append(f"{self.left_out} files left out")
        return f"{', '.join(parts)} in {self.seconds:.2f} s"


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """What was wrong with files of the store, a line each."""
    return [f"{problem.name}: {problem.reason}" for problem in problems]
