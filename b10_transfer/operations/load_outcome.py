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
        already_here: those that were here.
        wanted: those that were missing, in cache roots that can be used.
        unusable: those that were missing, in cache roots that cannot be written.
    """

    already_here: int
    wanted: int
    unusable: int


def load_report(
    context: Context, counts: Counts, outcome: LoadOutcome, problems: list[str], started: float
) -> LoadReport:
    """Return what a load did, when it was more than a failure.

    A load that brings nothing is a failure where nothing is here either, and where the store does
    not answer, or has lost more than is here. Artifacts that this machine does not take are no
    reason: a load before this one brought the rest, and said so.

    Args:
        context: of this host.
        counts: of the artifacts.
        outcome: what became of those that were wanted.
        problems: a line each.
        started: when the operation began, by time.monotonic().

    Raises:
        CacheError: it was a failure.
    """
    placed = [placement for placement, _ in outcome.placed.placed]
    kept = len(outcome.placed.kept)
    lost = counts.wanted - len(placed) - kept
    unavailable = lost + counts.unusable
    # A kernel with one file for other machines is not lost.
    not_taken = len(outcome.placed.torn) + len(outcome.placed.failed)
    is_torn_alone = bool(outcome.placed.torn) and unavailable <= not_taken
    is_lost = lost - not_taken > counts.already_here or any(
        not isinstance(error, FileNotFoundError) for error in outcome.unread.values()
    )
    is_failure = is_lost or not counts.already_here
    if unavailable and not placed and not kept and not is_torn_alone and is_failure:
        raise CacheError(f"no stored artifact could be loaded: {'; '.join(problems)}")
    return LoadReport(
        status=OperationStatus.SUCCESS if placed else OperationStatus.SKIPPED,
        environment_key=context.environment.key,
        loaded=len(placed),
        bytes_loaded=sum(placement.entry.size for placement in placed),
        already_here=counts.already_here + kept,
        unavailable=unavailable,
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
