"""Load and save: apply the product's policy with the engine. Raise CacheError, return reports."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from b10_transfer.operations.context import errors_as_cache_errors, open_context, require_enabled
from b10_transfer.status import OperationStatus

if TYPE_CHECKING:
    from b10_transfer.operations.progress import ProgressCallback
    from b10_transfer.operations.reports import LoadReport, SaveReport
    from b10_transfer.settings import Settings


def load(
    settings: Settings | None = None, *, on_progress: ProgressCallback | None = None
) -> LoadReport:
    """Load the artifacts that are stored for this environment and not here yet.

    Local files are never replaced, and a compiler may be at work in the cache roots meanwhile.

    Args:
        settings: read from the environment variables by default.
        on_progress: told how many bytes were loaded; see `b10_transfer.operations.progress`.

    Raises:
        CacheValidationError: a setting is not acceptable.
        CacheOperationInterrupted: there is too little disk space; nothing was left behind.
        CacheError: the cache is disabled, or the store or a cache root cannot be used.
    """
    started = time.monotonic()
    from b10_transfer.operations.load import load_artifacts

    context = open_context(settings)
    require_enabled(context.settings)
    with errors_as_cache_errors(context.settings):
        return load_artifacts(context, started, on_progress)


def save(
    settings: Settings | None = None,
    *,
    wait: bool = True,
    on_progress: ProgressCallback | None = None,
) -> SaveReport:
    """Publish the artifacts that are here and that the store does not have.

    Args:
        settings: read from the environment variables by default.
        wait: whether to let saves that began earlier go first, for at most a minute. They often
            leave nothing to do. Give False when time is short, as at shutdown.
        on_progress: told how many bytes were uploaded; see `b10_transfer.operations.progress`.

    Raises:
        CacheValidationError: a setting is not acceptable.
        CacheOperationInterrupted: there is too little disk space.
        CacheError: the cache is disabled, or the store cannot be used.
    """
    started = time.monotonic()
    from b10_transfer.operations.save import save_artifacts
    from b10_transfer.operations.upkeep import visit_after_save

    context = open_context(settings)
    require_enabled(context.settings)
    with errors_as_cache_errors(context.settings):
        report = save_artifacts(context, started, wait=wait, on_progress=on_progress)
    if wait and report.status is OperationStatus.SUCCESS:
        visit_after_save(context)
    return report
