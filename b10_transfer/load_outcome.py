"""What came of a load: whether it was one, and what its report says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from b10_transfer.errors import CacheError
from b10_transfer.reports import LoadReport
from b10_transfer.status import OperationStatus
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from b10_store.bring import Brought
    from b10_transfer.context import Context


def load_report(
    context: Context,
    already_here: int,
    lacking: int,
    brought: Brought,
    problems: list[str],
    started: float,
) -> LoadReport:
    """What a load did, when it was more than a failure.

    Args:
        context: of this host.
        already_here: artifacts that were not lacking.
        lacking: those that were.
        brought: what became of them.
        problems: a line each.
        started: when the operation began, by time.monotonic().

    Raises:
        CacheError: nothing could be had, and that is no answer of a store that is well.
    """
    placed = [placement for placement, _ in brought.placed.placed]
    kept = len(brought.placed.kept)
    missed = lacking - len(placed) - kept
    # A kernel of which one file is for other machines is nothing that could not be had.
    unusable_here = len(brought.placed.torn) + len(brought.placed.failed)
    could_not_be_had = missed > unusable_here or not brought.placed.torn
    # Where most of it is here, what the store has lost or damaged is no failure of this load, and
    # no other load can have it either; a store that does not answer may have it all.
    is_failure = missed > already_here or any(
        not isinstance(error, FileNotFoundError) for error in brought.unread.values()
    )
    if missed and could_not_be_had and is_failure and not placed and not kept:
        raise CacheError(f"no stored artifact could be loaded: {'; '.join(problems)}")
    return LoadReport(
        status=OperationStatus.SUCCESS if placed else OperationStatus.SKIPPED,
        environment_key=context.environment.key,
        loaded=len(placed),
        bytes_loaded=sum(placement.entry.size for placement in placed),
        already_here=already_here + kept,
        missed=missed,
        problems=tuple(problems),
        seconds=time.monotonic() - started,
    )


def bring_problems(brought: Brought) -> list[str]:
    """What kept artifacts from being brought, a line a cause."""
    problems: list[str] = []
    if brought.damaged:
        blobs = count_text(len(brought.damaged), "blob")
        problems.append(f"{blobs} {'is' if blobs == '1 blob' else 'are'} damaged in the store")
    for noun, what, reasons in (
        ("blob", "could not be read", [str(error) for error in brought.unread.values()]),
        ("artifact", "could not be placed", [reason for _, reason in brought.placed.failed]),
    ):
        if reasons:
            problems.append(f"{count_text(len(reasons), noun)} {what}: {min(reasons)}")
    return problems
