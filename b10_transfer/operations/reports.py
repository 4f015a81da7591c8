"""The reports of loads and saves: values."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_transfer.status import OperationStatus
from b10_transfer.units import count_text, size_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from b10_store import Problem, Skipped
    from b10_transfer.machine.environment import Difference

_LITTLE_USE = 0.25
"""When a larger part than this of what was loaded is compiled again, the report says so."""

_NAMED_FILES = 3
"""How many of the files that are left out a line names for each reason."""

_NAMED_PROBLEMS = 10
"""How many unusable manifests are named."""
_REASON_LENGTH = 300

_LITTLE_USE_HINT = (
    "much was compiled although much had been loaded: `b10-transfer doctor` looks for the reason"
)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The report of a load.

    Attributes:
        status: SUCCESS: something was loaded; SKIPPED: everything for this host is here already;
            DOES_NOT_EXIST: nothing is stored for it.
        environment_key: of this host.
        loaded: artifacts that were loaded.
        bytes_loaded: their size on disk, in bytes.
        already_here: stored artifacts whose file was here already, and was left unchanged.
        unavailable: stored artifacts that could not be read; the compiler makes them again.
        not_for_host: stored artifacts of cache roots that are not used here, or native code for
            other machines alone.
        refused: manifests of this environment and namespace that could be read but were not
            believed: damaged, not signed with one of the keys of this host, or copied to another
            name.
        differences: how this machine differs from the one that saved last, beside the environment
            key; when nothing is stored, how the environment differs from the nearest one that has
            something. Differences never make a result wrong, but may make the compiler work again.
        reason: why there was nothing to load, where the status is DOES_NOT_EXIST.
        problems: what was wrong with the store or this machine, one line each.
        seconds: how long the load took.
    """

    status: OperationStatus
    environment_key: str
    loaded: int = 0
    bytes_loaded: int = 0
    already_here: int = 0
    unavailable: int = 0
    not_for_host: int = 0
    refused: int = 0
    differences: tuple[Difference, ...] = ()
    reason: str = ""
    problems: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        """One line, for a log."""
        if self.status is OperationStatus.DOES_NOT_EXIST:
            return self.reason
        parts = [
            f"{count_text(self.loaded, 'artifact')} loaded ({size_text(self.bytes_loaded)})",
            f"{self.already_here} already here",
        ]
        if self.unavailable:
            parts.append(f"{self.unavailable} could not be read and will be compiled")
        if self.not_for_host:
            parts.append(f"{self.not_for_host} are not for this host")
        if self.refused:
            parts.append(_refused(self.refused))
        line = f"{', '.join(parts)} in {self.seconds:.2f} s"
        if self.differences:
            line += f"; the machine that saved had {difference_lines(self.differences)}"
        return line


@dataclass(frozen=True, slots=True)
class SaveReport:
    """The report of a save.

    Attributes:
        status: SUCCESS or SKIPPED.
        environment_key: of this host.
        found: artifacts in the local cache roots.
        added: artifacts that the store did not have.
        superseded: artifacts whose stored bytes were replaced by the local ones.
        expired: artifacts that the store had and gives up: nobody used them for long, or there was
            no room for them.
        uploaded_bytes: bytes of new packs in the store.
        stored_bytes: compressed bytes that the newest manifest references.
        reused: artifacts here that are unchanged since a load.
        compiled_kinds: how many artifacts of each kind a compiler made or replaced here since the
            last load; None when nothing was loaded here.
        left_out_files: files that are not saved, by the reason: incomplete, changed meanwhile, made
            under another environment, and so on.
        refused: see `LoadReport`; the save neither relied on them nor moved them away.
        problems: what was wrong with the store or the disk, one line each.
        seconds: how long the save took.
    """

    status: OperationStatus
    environment_key: str
    found: int = 0
    added: int = 0
    superseded: int = 0
    expired: int = 0
    uploaded_bytes: int = 0
    stored_bytes: int = 0
    reused: int = 0
    compiled_kinds: Mapping[str, int] | None = None
    left_out_files: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]]
    )
    refused: int = 0
    problems: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def recompiled(self) -> int | None:
        """Artifacts that a compiler made or replaced since the last load; None without one."""
        return None if self.compiled_kinds is None else sum(self.compiled_kinds.values())

    @property
    def left_out(self) -> int:
        """How many files are not saved."""
        return sum(map(len, self.left_out_files.values()))

    @property
    def was_of_little_use(self) -> bool:
        """Whether much was compiled although much had been loaded."""
        return is_little_use(self.recompiled or 0, self.reused)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The problems, and a hint when earlier loads were of little use."""
        return (*self.problems, _LITTLE_USE_HINT) if self.was_of_little_use else self.problems

    def __str__(self) -> str:
        """One line, for a log."""
        parts = [
            f"{count_text(self.found, 'artifact')} here",
            f"{self.added} added",
            f"{self.superseded} replaced in the store",
            f"{size_text(self.uploaded_bytes)} uploaded",
        ]
        if self.expired:
            parts.append(f"{self.expired} expired")
        if self.compiled_kinds is not None:
            parts.append(f"{self.reused} loaded before")
            parts.append(f"{self.recompiled} compiled since{_kinds_in(self.compiled_kinds)}")
        if self.left_out:
            named = _named(self.left_out_files)
            parts.append(f"{count_text(self.left_out, 'file')} left out ({named})")
        if self.refused:
            parts.append(_refused(self.refused))
        return f"{', '.join(parts)} in {self.seconds:.2f} s"


def is_little_use(compiled: int, reused: int) -> bool:
    """Tell, from numbers of artifacts, whether much was compiled although much had been loaded."""
    return compiled > _LITTLE_USE * reused > 0


def difference_lines(differences: Iterable[Difference]) -> str:
    """Describe the fields in which two environments differ, with both values."""
    return ", ".join(
        f"{_value(item.name, item.there)} (here {item.here or 'none'})" for item in differences
    )


def _value(name: str, value: str | None) -> str:
    return f"no {name}" if value is None else f"{name} {value}"


def _kinds_in(kinds: Mapping[str, int]) -> str:
    if not kinds:
        return ""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return f" ({', '.join(f'{count} {kind}' for kind, count in ordered)})"


def _refused(count: int) -> str:
    return f"{count_text(count, 'manifest')} refused"


def by_reason(skipped: Iterable[Skipped]) -> dict[str, tuple[str, ...]]:
    """Return the locations of files that are left out, by the reason; both sorted."""
    files: defaultdict[str, set[str]] = defaultdict(set)
    for location, reason in skipped:
        files[reason].add(location)
    return {reason: tuple(sorted(files[reason])) for reason in sorted(files)}


def _named(left_out: Mapping[str, tuple[str, ...]]) -> str:
    """Return each reason with the first files, short enough for a line."""
    parts: list[str] = []
    for reason, files in left_out.items():
        more = len(files) - _NAMED_FILES
        first = ", ".join(files[:_NAMED_FILES]) + (f" and {more} more" if more > 0 else "")
        parts.append(f"{reason}: {first}")
    return "; ".join(parts)


def count_refused(problems: Iterable[Problem]) -> int:
    """Return how many of the unusable manifests were read but not believed."""
    return sum(item.was_read for item in problems)


def problem_lines(problems: Collection[Problem], *, signed: bool = False) -> list[str]:
    """Return what was wrong with files of the store: one line each for the first of them.

    Args:
        problems: as the engine found them.
        signed: whether a signing key is set; then a last line explains why some were refused.
    """
    lines = [
        f"{item.name}: {item.reason[:_REASON_LENGTH]}" for item in [*problems][:_NAMED_PROBLEMS]
    ]
    if len(problems) > len(lines):
        lines.append(f"{len(problems) - len(lines)} more manifests cannot be used either")
    refused = count_refused(problems)
    if signed and refused:
        lines.append(
            f"{_refused(refused)}: with a signing key set, only what that key signed is used; "
            "give all hosts the key, and save once with it"
        )
    return lines
