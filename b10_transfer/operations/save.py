"""Save: the artifacts of this host's cache roots become a manifest."""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from b10_store import WAIT_LIMIT_SECONDS, SaveRequest, paused_collector
from b10_transfer.caches.native_needs import HostLibraries
from b10_transfer.local.record import Loaded, read_loaded, write_loaded
from b10_transfer.local.scan import LocalScan, scan_tree, walk_roots
from b10_transfer.machine.filesystems import filesystem_of
from b10_transfer.operations.context import worker_count
from b10_transfer.operations.last_save import (
    LastSave,
    local_state,
    read_last_save,
    tree_state,
    write_last_save,
)
from b10_transfer.operations.newest_seen import note_newest
from b10_transfer.operations.progress import Meter
from b10_transfer.operations.reports import SaveReport, by_reason, count_refused, problem_lines
from b10_transfer.operations.unsigned import warn_when_unsigned
from b10_transfer.status import OperationStatus
from b10_transfer.units import count_text, until_text

if TYPE_CHECKING:
    from b10_store import Digest, FramesAhead, SaveOutcome, Skipped, Wait
    from b10_transfer.operations.context import Context
    from b10_transfer.operations.progress import ProgressCallback

_logger = logging.getLogger("b10_transfer")


def save_artifacts(
    context: Context, started: float, *, wait: bool, on_progress: ProgressCallback | None = None
) -> SaveReport:
    """Publish the local artifacts that are not stored yet.

    Args:
        context: of this host.
        started: when the operation began, by time.monotonic().
        wait: see `b10_transfer.operations.transfer.save`.
        on_progress: see `b10_transfer.operations.transfer.save`.

    Raises:
        StoreError, OSError: nothing was published.
    """
    warn_when_unsigned(context.settings)
    links: list[Skipped] = []
    tree = walk_roots(context.roots, links)
    files = tree_state(tree, links)
    last = read_last_save(tree, context.address) if context.settings.load_enabled else None
    if (
        last is not None
        and last.state == local_state(files, context)
        and context.store.is_unchanged(context.address, last.store_state)
    ):
        return _unchanged_report(context, last, started)
    with context.store.frames_ahead(context.address) as ahead:
        scan = scan_tree(
            tree,
            context.environment,
            HostLibraries(context.settings.variables),
            worker_count(),
            context.settings.max_age_days,
            ahead,
        )
        scan.skipped.extend(links)
        if not scan.artifacts:
            return _save_report(context, scan, None, started)
        outcome = _publish(context, scan, ahead, on_progress, wait=wait)
    _remember(context, scan, outcome)
    note_newest(context, (name.snapshot for name in outcome.store_state.heads))
    # A manifest that was refused is reported by every save, so the next one must look again. What
    # is not fit to be saved is the same as long as the tree is.
    unfinished = scan.unfinished or scan.harmful or outcome.left_out or outcome.problems
    if not unfinished:
        found = len(scan.artifacts)
        write_last_save(
            tree,
            LastSave(
                local_state(files, context),
                outcome.store_state,
                found,
                outcome.stored_bytes,
                by_reason(scan.skipped),
                scan.reused,
                scan.recompiled,
            ),
        )
    return _save_report(context, scan, outcome, started)


def _publish(
    context: Context,
    scan: LocalScan,
    ahead: FramesAhead,
    on_progress: ProgressCallback | None,
    *,
    wait: bool,
) -> SaveOutcome:
    meter = Meter(on_progress)
    request = _request(context, scan, wait=wait)
    is_made = not os.path.isdir(os.path.dirname(context.settings.store))
    outcome = context.store.save(replace(request, ahead=ahead, on_progress=meter.move_to))
    meter.finish()
    if is_made:
        _warn_of_local_store(context.settings.store)
    return outcome


@paused_collector()
def _remember(context: Context, scan: LocalScan, outcome: SaveOutcome) -> None:
    """Note what this host and the store now have in common, and which packs are fine again."""
    common: defaultdict[str, dict[str, Digest]] = defaultdict(dict)
    for file, digest, *_ in scan.artifacts:
        # A member of a variant group that was offered once is not offered again.
        if file.group_length or outcome.stored.get(file.identity) == digest:
            common[file.identity.root][file.identity.path] = digest
    for root in context.roots:
        loaded = read_loaded(root.folder)
        digests = {**loaded.digests, **common[root.name]}
        distrusted = {pair for pair in loaded.distrusted if pair[1] not in outcome.sound_packs}
        # The published manifest carries none of it on.
        broken = loaded.broken if outcome.published is None else {}
        fresh = Loaded(loaded.finished_ns, digests, distrusted, broken)
        if fresh != loaded:
            write_loaded(root.folder, fresh)


def _request(context: Context, scan: LocalScan, *, wait: bool) -> SaveRequest:
    settings = context.settings
    return SaveRequest(
        address=context.address,
        environment=tuple((item.name, item.value) for item in context.environment.fields),
        artifacts=scan.artifacts,
        size_limit=settings.size_limit,
        slots=settings.concurrent_saves,
        workers=worker_count(),
        scratch=settings.scratch,
        loaded=scan.loaded,
        distrusted=scan.distrusted,
        use=scan.use,
        broken=scan.broken,
        cold=not settings.load_enabled,
        wait_seconds=WAIT_LIMIT_SECONDS if wait else 0.0,
        recorded=tuple((item.name, item.value) for item in context.environment.recorded),
        on_wait=partial(_tell_wait, settings.concurrent_saves),
    )


def _tell_wait(slots: int, wait: Wait) -> None:
    reason = (
        f"as many saves are running as MAX_CONCURRENT_SAVES allows, {slots}: one of them"
        if wait.running >= slots
        else "an earlier save of this environment is still running: it"
    )
    _logger.warning(
        "save: %s is waited for, until %s at the latest; then this save goes on",
        reason,
        until_text(wait.seconds),
    )


def _warn_of_local_store(store: str) -> None:
    """Warn that a store was created, with the folders above it, where nothing shared is mounted."""
    mounted = filesystem_of(os.path.realpath(store))
    if mounted is not None and mounted.is_local:
        _logger.warning(
            "there was no folder for the store, so %s was made, on %s, which no other host sees: "
            "mount the shared folder there, or set B10FS_CACHE_DIR to where it is mounted",
            store,
            mounted,
        )


def _not_cold(context: Context, scan: LocalScan) -> tuple[str, ...]:
    """Warn that a start was not cold, because artifacts from an earlier load were here."""
    if context.settings.load_enabled or not scan.reused:
        return ()
    return (
        "B10_CACHE_LOAD=0 replaces nothing that was here before: "
        f"{count_text(scan.reused, 'artifact')} from an earlier load; run `b10-transfer clear "
        "--yes` and start again to replace what is stored",
    )


def _unchanged_report(context: Context, last: LastSave, started: float) -> SaveReport:
    return SaveReport(
        status=OperationStatus.SKIPPED,
        environment_key=context.environment.key,
        found=last.found,
        stored_bytes=last.stored_bytes,
        left_out_files=last.left_out,
        reused=last.reused,
        compiled_kinds=last.recompiled,
        problems=context.problems,
        seconds=time.monotonic() - started,
    )


def _save_report(
    context: Context, scan: LocalScan, outcome: SaveOutcome | None, started: float
) -> SaveReport:
    # A manifest that only notes what is in use has nothing new.
    is_new = outcome is not None and bool(outcome.added or outcome.superseded)
    problems = outcome.problems if outcome else ()
    signed = bool(context.settings.signing_keys)
    return SaveReport(
        status=OperationStatus.SUCCESS if is_new else OperationStatus.SKIPPED,
        environment_key=context.environment.key,
        found=len(scan.artifacts),
        added=outcome.added if outcome else 0,
        superseded=outcome.superseded if outcome else 0,
        expired=outcome.expired if outcome else 0,
        uploaded_bytes=outcome.uploaded_bytes if outcome else 0,
        stored_bytes=outcome.stored_bytes if outcome else 0,
        reused=scan.reused,
        compiled_kinds=scan.recompiled,
        left_out_files=by_reason([*scan.skipped, *(outcome.left_out if outcome else ())]),
        refused=count_refused(problems),
        problems=(
            *context.problems,
            *scan.harmful,
            *_not_cold(context, scan),
            *problem_lines(problems, signed=signed),
        ),
        seconds=time.monotonic() - started,
    )
