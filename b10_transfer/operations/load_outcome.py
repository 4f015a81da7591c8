"""The outcome of a load: whether it was one, and its report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from b10_transfer.errors import CacheError
from b10_transfer.operations.refusals import describe
from b10_transfer.operations.reports import LoadReport
from b10_transfer.status import OperationStatus
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from b10_store import LoadOutcome, Placed
    from b10_transfer.operations.context import Context


class Counts(NamedTuple):
    """Counts of the artifacts that belong here.

    Attributes:
        already_here: the artifacts that were here.
        wanted: the missing artifacts in cache roots that can be used.
        unusable: the missing artifacts in cache roots that cannot be written.
    """

    already_here: int
    wanted: int
    unusable: int


def is_failure(counts: Counts, outcome: LoadOutcome) -> bool:
    """Return whether a load failed: the first row that holds decides.

    | what holds                                                               | failed |
    |--------------------------------------------------------------------------|--------|
    | an artifact was placed, or another process placed it meanwhile           | no     |
    | every artifact was here before                                           | no     |
    | bundles were torn, and only what this host did not take is missing       | no     |
    | nothing was here before                                                  | yes    |
    | something could not be read for another reason than that its pack is lost | yes    |
    | more is lost than was here before                                        | yes    |
    | else: a load before this one placed the rest, and said what was missing  | no     |

    A kernel is torn, and not lost, when one of its files is for other machines.
    """
    placed = outcome.placed
    missing, not_taken = counts.wanted + counts.unusable, len(placed.torn) + len(placed.failed)
    if placed.placed or placed.kept or not missing:
        return False
    if placed.torn and missing <= not_taken:
        return False
    return (
        not counts.already_here
        or any(not isinstance(error, FileNotFoundError) for error in outcome.unread.values())
        or counts.wanted - not_taken > counts.already_here
    )


def load_report(
    context: Context, counts: Counts, outcome: LoadOutcome, problems: list[str], started: float
) -> LoadReport:
    """Return the report of a load that was no failure.

    Args:
        context: of this host.
        counts: of the artifacts.
        outcome: what became of those that were wanted.
        problems: a line each.
        started: when the operation began, by time.monotonic().

    Raises:
        CacheError: it was a failure; see `is_failure`.
    """
    if is_failure(counts, outcome):
        raise CacheError(f"no stored artifact could be loaded: {'; '.join(problems)}")
    placed = [placement for placement, _ in outcome.placed.placed]
    kept = len(outcome.placed.kept)
    return LoadReport(
        status=OperationStatus.SUCCESS if placed else OperationStatus.SKIPPED,
        environment_key=context.environment.key,
        loaded=len(placed),
        bytes_loaded=sum(placement.entry.size for placement in placed),
        already_here=counts.already_here + kept,
        unavailable=counts.wanted - len(placed) - kept + counts.unusable,
        problems=tuple(problems),
        seconds=time.monotonic() - started,
    )


def outcome_problems(outcome: LoadOutcome, store: str) -> list[str]:
    """Return what kept artifacts from being read from the store, a line for each cause."""
    problems: list[str] = []
    if outcome.damaged:
        blobs = count_text(len(outcome.damaged), "blob")
        problems.append(f"{blobs} {'is' if blobs == '1 blob' else 'are'} damaged in the store")
    for noun, what, reasons in (
        (
            "blob",
            "could not be read",
            [describe(error, store) for error in outcome.unread.values()],
        ),
        ("artifact", "could not be placed", [reason for _, reason in outcome.placed.failed]),
        ("artifact", "saved broken and left out", _named(outcome.placed)),
    ):
        if reasons:
            problems.append(f"{count_text(len(reasons), noun)} {what}: {min(reasons)}")
    return problems


def _named(placed: Placed) -> list[str]:
    return [f"{reason}: {item.entry.identity.path}" for item, reason in placed.broken]
