"""Loading: what is stored for an environment becomes files in this host's cache roots."""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store.bring import Brought
from b10_store.placement import LocalNames, Placed, Placement
from b10_store.union import union
from b10_transfer.artifacts import bundle_folders, bundle_of, placing_order, restorer
from b10_transfer.context import worker_count
from b10_transfer.errors import CacheError
from b10_transfer.local_lock import lock_root
from b10_transfer.local_record import (
    Hashed,
    note_environment,
    read_hashed,
    read_loaded,
    write_hashed,
    write_loaded,
)
from b10_transfer.local_space import NO_ROOM, LocalSpace
from b10_transfer.local_sweep import has_leftovers, sweep
from b10_transfer.reports import LoadReport, problem_lines
from b10_transfer.status import OperationStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from b10_store.manifest import Entry
    from b10_store.scan import Fingerprint
    from b10_store.union import Union
    from b10_transfer.context import Context

_LOCK_SECONDS = 60.0
"""How long a load waits for another one of this host; then it works beside it, as safely."""


def load_artifacts(context: Context, started: float) -> LoadReport:
    """Bring what is stored and not here yet.

    Args:
        context: of this host.
        started: when the operation began, by time.monotonic().

    Raises:
        CacheError: nothing could be read.
        StoreError, OSError: the store, or every cache root, cannot be used.
    """
    problems = _note_environments(context)
    if not context.settings.load_enabled:
        # As if nothing were stored, so that what is compiled now is saved, and supersedes.
        problems.append("loading is turned off by B10_CACHE_LOAD=0")
        return _nothing_stored(context, problems, started)
    heads = context.store.heads(context.address)
    problems += problem_lines(heads.problems)
    if not heads.listed:
        return _nothing_stored(context, problems, started)
    if not heads.manifests:
        raise CacheError(f"no manifest of this environment can be read: {'; '.join(problems)}")
    stored = union(heads.manifests)
    placements = _placements(context, stored.entries.values())
    lacking = _not_here(placements)
    _sweep_idle({item.folder for item in placements} - {item.folder for item in lacking})
    with contextlib.ExitStack() as locks:
        folders = {item.folder for item in lacking}
        usable = _lock_roots(locks, folders, context.environment.key, problems)
        # Another load of this host may have brought everything while the lock was waited for.
        wanted = _not_here([item for item in lacking if item.folder in usable])
        brought = _bring(context, stored, wanted)
        _remember({item.folder for item in placements}, brought)
    context.store.note_use(heads)
    unusable = sum(item.folder not in usable for item in lacking)
    already_here = len(placements) - unusable - len(wanted)
    problems += _bring_problems(brought)
    return _load_report(context, already_here, len(wanted) + unusable, brought, problems, started)


def _not_here(placements: Sequence[Placement]) -> list[Placement]:
    names = {folder: LocalNames(folder) for folder in {item.folder for item in placements}}
    return [item for item in placements if not names[item.folder].has(item.entry.identity.path)]


def _note_environments(context: Context) -> list[str]:
    """Note whose the cache roots are, before anything is compiled; a line for each of another."""
    return [
        f"{root.folder} was used under another environment: what is left there from then is not "
        "saved, and may be wrong here; clear it"
        for root in context.roots
        if os.path.isdir(root.folder) and note_environment(root.folder, context.environment.key)
    ]


def _nothing_stored(context: Context, problems: list[str], started: float) -> LoadReport:
    return LoadReport(
        OperationStatus.DOES_NOT_EXIST,
        context.environment.key,
        problems=tuple(problems),
        seconds=time.monotonic() - started,
    )


def _lock_roots(
    locks: contextlib.ExitStack, folders: Iterable[str], key: str, problems: list[str]
) -> set[str]:
    """Lock cache roots and sweep what killed processes left there; returns those that can be used.

    Always in the same order, so that two loads never wait for each other.
    """
    usable: set[str] = set()
    for folder in sorted(folders):
        try:
            if locks.enter_context(lock_root(folder, _LOCK_SECONDS)):
                sweep(folder)
            note_environment(folder, key)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            problems.append(f"the cache root {folder} cannot be written: {error.strerror}")
        else:
            usable.add(folder)
    return usable


def _sweep_idle(folders: Iterable[str]) -> None:
    """Sweep cache roots into which nothing is to be brought, unless another process uses them."""
    for folder in folders:
        if has_leftovers(folder):
            with contextlib.suppress(OSError), lock_root(folder, timeout=0) as held:
                if held:
                    sweep(folder)


def _placements(context: Context, entries: Iterable[Entry]) -> list[Placement]:
    """What of the stored artifacts this host can run, and where it belongs."""
    folders = context.folders
    chosen: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        root, path, requirement = entry.identity
        if root not in folders or requirement not in ("", context.environment.requirement):
            continue
        if requirement or (root, path) not in chosen:
            chosen[root, path] = entry
    names: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for root, path in chosen:
        folder, _, name = path.rpartition("/")
        names[root, folder].add(name)
    bundles = {
        root: bundle_folders(path for other, path in chosen if other == root) for root in folders
    }
    return [
        Placement(
            entry=entry,
            folder=folders[root],
            order=placing_order(path),
            restore=restorer(path, folders[root], names[root, path.rpartition("/")[0]]),
            bundle=bundle_of(path, bundles[root]),
        )
        for (root, path), entry in chosen.items()
    ]


def _bring(context: Context, stored: Union, wanted: Sequence[Placement]) -> Brought:
    if not wanted:
        return Brought(Placed())
    space = LocalSpace((item.folder, item.entry.size) for item in wanted)
    space.require()
    return context.store.bring(
        context.address, wanted, stored.packs, watch=space.watch, workers=worker_count()
    )


def _remember(folders: Iterable[str], brought: Brought) -> None:
    placed: defaultdict[str, list[tuple[Placement, Fingerprint]]] = defaultdict(list)
    for placement, fingerprint in brought.placed.placed:
        placed[placement.folder].append((placement, fingerprint))
    for folder in folders:
        loaded = read_loaded(folder)
        sound = {(item.entry.digest, item.entry.location.pack) for item, _ in placed[folder]}
        loaded.distrusted = (loaded.distrusted | set(brought.damaged.items())) - sound
        loaded.finished_ns = time.time_ns()
        if placed[folder]:
            hashed = read_hashed(folder)
            for placement, fingerprint in placed[folder]:
                entry = placement.entry
                loaded.digests[entry.identity.path] = entry.digest
                hashed[entry.identity.path] = Hashed(fingerprint, entry.digest, entry.size)
            write_hashed(folder, hashed)
        write_loaded(folder, loaded)


def _load_report(
    context: Context,
    already_here: int,
    lacking: int,
    brought: Brought,
    problems: list[str],
    started: float,
) -> LoadReport:
    placed = [placement for placement, _ in brought.placed.placed]
    kept = len(brought.placed.kept)
    missed = lacking - len(placed) - kept
    if missed and not placed and not already_here + kept:
        raise CacheError(f"none of {missed} stored artifacts could be had: {'; '.join(problems)}")
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


def _bring_problems(brought: Brought) -> list[str]:
    problems: list[str] = []
    if brought.damaged:
        problems.append(f"{len(brought.damaged)} blobs are damaged in the store")
    for what, reasons in (
        ("could not be read", list(brought.unread.values())),
        ("could not be placed", [reason for _, reason in brought.placed.failed]),
    ):
        if reasons:
            problems.append(f"{len(reasons)} artifacts {what}: {min(reasons)}")
    return problems
