"""The report of a load that found nothing: why, and what is stored instead."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from b10_store import StoreError
from b10_transfer.machine.nearest import named, nearest_differences, other_namespaces
from b10_transfer.operations.reports import LoadReport, difference_lines
from b10_transfer.status import OperationStatus
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b10_store import MergedView
    from b10_transfer.operations.context import Context

_NEAREST_AMONG = 32
"""How many other environments are read, when nothing is stored for this one."""
_NAMED_NAMESPACES = 8


def with_nearest(context: Context, report: LoadReport) -> LoadReport:
    """Add to a report what is stored instead, as far as that can be found out quickly."""
    try:
        listing = context.store.listing(newest=_NEAREST_AMONG)
    except (OSError, StoreError):
        return report
    headers = listing.headers
    if not headers:
        return report if listing.problems else replace(report, reason="nothing is stored yet")
    namespaces = other_namespaces(context.address, headers)
    if namespaces:
        names = named(namespaces[:_NAMED_NAMESPACES])
        mine = context.address.namespace or "none"
        problem = f"something is stored for this environment in other namespaces: {names}"
        return replace(
            report,
            reason=f"nothing is stored for this environment in this namespace ({mine}) yet",
            problems=(*report.problems, problem),
        )
    differences = nearest_differences(context.environment, headers)
    near = difference_lines(differences)
    reason = f"{report.reason}; the nearest has {near}"
    return replace(report, reason=reason, differences=differences)


def nothing_stored(
    context: Context, reason: str, problems: Iterable[str], started: float
) -> LoadReport:
    """Return the report of a load that found nothing for this environment."""
    return LoadReport(
        OperationStatus.DOES_NOT_EXIST,
        context.environment.key,
        reason=reason,
        problems=tuple(problems),
        seconds=time.monotonic() - started,
    )


def nothing_for_host(report: LoadReport, stored: MergedView) -> LoadReport:
    """Return the report of a load whose artifacts are all for other hosts."""
    count = count_text(len(stored.entries), "artifact")
    roots = ", ".join(sorted({identity.root for identity in stored.entries})) or "no cache root"
    problem = f"{count} of {roots}: not used here, or native code for another CPU"
    return replace(
        report,
        status=OperationStatus.DOES_NOT_EXIST,
        reason="no artifact that is stored for this environment is for this host",
        problems=(*report.problems, problem),
    )
