"""Load: stored artifacts of an environment become files in this host's cache roots."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from b10_store import LoadOutcome, Placed, merge, paused_collector
from b10_transfer.caches.artifacts import find_files
from b10_transfer.caches.header_placeholders import plant_placeholders, remove_placeholders
from b10_transfer.caches.kinds import HEADERS
from b10_transfer.caches.native_needs import HostLibraries
from b10_transfer.errors import CacheError
from b10_transfer.local.after_load import remember_loaded
from b10_transfer.local.harmful_files import move_aside
from b10_transfer.local.root_origin import look_at, origin_lines
from b10_transfer.local.space import LocalSpace
from b10_transfer.local.targets import (
    STRANGE_BUNDLE,
    choose_targets,
    not_here,
    part_strange,
)
from b10_transfer.machine.checks import check_execution, check_tools
from b10_transfer.machine.nearest import recorded_differences
from b10_transfer.operations.context import reader_count, worker_count
from b10_transfer.operations.load_outcome import Counts, load_report, outcome_problems
from b10_transfer.operations.newest_seen import note_newest, rollback_problem
from b10_transfer.operations.nothing_stored import nothing_for_host, nothing_stored, with_nearest
from b10_transfer.operations.open_roots import open_roots, sweep_idle
from b10_transfer.operations.progress import Meter
from b10_transfer.operations.reports import (
    LoadReport,
    count_refused,
    problem_lines,
)
from b10_transfer.operations.unsigned import warn_when_unsigned
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store import Heads, MergedView, OpenRoot, RestoreTarget
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.local.targets import Chosen
    from b10_transfer.machine.environment import Difference
    from b10_transfer.operations.context import Context
    from b10_transfer.operations.progress import ProgressCallback

_NOTHING_HERE = "nothing is stored for this environment yet"


def load_artifacts(
    context: Context, started: float, on_progress: ProgressCallback | None = None
) -> LoadReport:
    """Load the artifacts that are stored for this host, and not here yet, into its cache roots.

    Args:
        context: of this host.
        started: when the operation began, by time.monotonic().
        on_progress: see `b10_transfer.operations.transfer.load`.

    Raises:
        CacheError: nothing could be read.
        StoreError, OSError: the store, or every cache root, cannot be used.
    """
    problems = [*context.problems, *_examine_roots(context)]
    if not context.settings.load_enabled:
        # Report as if nothing were stored, so that what is compiled now is saved and supersedes.
        problems += ["loading is turned off by B10_CACHE_LOAD=0", *_not_cold(context)]
        return nothing_stored(context, "nothing was loaded", problems, started)
    warn_when_unsigned(context.settings)
    heads = context.store.heads(context.address)
    problems += problem_lines(heads.problems, signed=bool(context.settings.signing_keys))
    if not heads.listed:
        return with_nearest(context, nothing_stored(context, _NOTHING_HERE, problems, started))
    if not heads.manifests:
        raise CacheError(f"no manifest of this environment can be read: {'; '.join(problems)}")
    rolled_back = rollback_problem(context, heads)
    problems += [] if rolled_back is None else [rolled_back]
    stored = merge(heads.manifests)
    chosen = _choose(context, stored, problems)
    counts, outcome = _restore(context, stored, chosen.targets, problems, on_progress)
    note_newest(context, (head.name.snapshot for head in heads.manifests))
    context.store.note_use(heads)
    problems += outcome_problems(outcome, context.settings.store)
    report = load_report(context, counts, outcome, problems, started)
    if not (report.loaded or report.already_here):
        report = nothing_for_host(report, stored)
    return replace(
        report,
        not_for_host=chosen.not_for_host,
        refused=count_refused(heads.problems),
        differences=_differences(context, heads),
    )


def _choose(context: Context, stored: MergedView, problems: list[str]) -> Chosen:
    """Choose the stored artifacts that this host can use, and where each goes."""
    with paused_collector():
        chosen = choose_targets(
            context.roots_by_name,
            context.environment,
            HostLibraries(context.settings.variables),
            stored.entries.values(),
        )
    problems += _lacking_libraries(chosen.lacking)
    problems += _host_problems(context, chosen.targets)
    return chosen


def _restore(
    context: Context,
    stored: MergedView,
    targets: Sequence[RestoreTarget],
    problems: list[str],
    on_progress: ProgressCallback | None,
) -> tuple[Counts, LoadOutcome]:
    """Restore missing artifacts into the cache roots, and note them in the records."""
    _remove_placeholders(context, targets)
    lacking = not_here(targets)
    sweep_idle({item.folder for item in targets} - {item.folder for item in lacking})
    with contextlib.ExitStack() as locks:
        folders = {item.folder for item in lacking}
        usable = open_roots(locks, context, folders, problems)
        # Another load of this host may have placed everything during the wait for the lock.
        wanted = not_here([item for item in lacking if item.folder in usable])
        fit, strange = part_strange(wanted, targets)
        outcome = _fetch(context, stored, fit, usable, on_progress)
        outcome.placed.failed += [(item, STRANGE_BUNDLE) for item in strange]
        roots = {item.folder for item in targets} - (folders - usable.keys())
        remember_loaded(roots, wanted, outcome)
    _plant_placeholders(context, targets)
    unusable = sum(item.folder not in usable for item in lacking)
    already_here = len(targets) - unusable - len(wanted)
    return Counts(already_here, len(wanted), unusable), outcome


def _lacking_libraries(lacking: Mapping[str, int]) -> list[str]:
    return [
        f"{count_text(count, 'artifact')} of native code need {lack}, which this host lacks, and "
        "will be compiled: install it, or use the image of the replica that saves"
        for lack, count in sorted(lacking.items())
    ]


def _not_cold(context: Context) -> list[str]:
    """Return a line for each cache root that has artifacts although the start should be cold."""
    return [
        f"{root.folder} already has {count_text(len(found), 'artifact')}, which compilers use "
        f"whatever is loaded: to start cold, run `b10-transfer clear --roots {root.name} --yes` "
        "first"
        for root in context.roots
        if (found := find_files(root))
    ]


def _examine_roots(context: Context) -> list[str]:
    """Look at the files in the cache roots before a compiler does, and move harmful ones aside.

    Returns:
        The lines to say.
    """
    lines: list[str] = []
    for root in context.roots:
        if os.path.isdir(root.folder):
            origin = look_at(root, find_files(root), context.environment)
            lines += move_aside(root.folder, origin.harmful)
            lines += origin_lines(root.folder, origin)
    return lines


def _host_problems(context: Context, targets: Iterable[RestoreTarget]) -> list[str]:
    """Return what keeps the compilers of this machine from using the artifacts."""
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for target in targets:
        paths[target.entry.identity.root].append(target.entry.identity.path)
    lines = check_tools(context.settings.variables, chain.from_iterable(paths.values()))
    for root in context.roots:
        lines += check_execution(root.folder, paths[root.name])
    return lines


def _differences(context: Context, heads: Heads) -> tuple[Difference, ...]:
    newest = max(heads.manifests, key=lambda head: head.name.snapshot)
    return recorded_differences(context.environment, newest.lineage.recorded)


def _remove_placeholders(context: Context, targets: Iterable[RestoreTarget]) -> None:
    root = context.roots_by_name.get(HEADERS.name)
    if root is not None and context.settings.full_headers:
        remove_placeholders(root.folder, _paths_in(root, targets))


def _plant_placeholders(context: Context, targets: Iterable[RestoreTarget]) -> None:
    root = context.roots_by_name.get(HEADERS.name)
    if root is not None:
        texts = [path for path in _paths_in(root, targets) if path.endswith(".h")]
        plant_placeholders(root.folder, texts)


def _paths_in(root: CacheRoot, targets: Iterable[RestoreTarget]) -> list[str]:
    identities = (item.entry.identity for item in targets)
    return [identity.path for identity in identities if identity.root == root.name]


def _fetch(
    context: Context,
    stored: MergedView,
    wanted: Sequence[RestoreTarget],
    roots: Mapping[str, OpenRoot],
    on_progress: ProgressCallback | None,
) -> LoadOutcome:
    if not wanted:
        return LoadOutcome(Placed())
    space = LocalSpace((item.folder, item.entry.size) for item in wanted)
    space.require()
    meter = Meter(on_progress, sum(item.entry.size for item in wanted))

    def watch(folder: str, size: int) -> None:
        space.watch(folder, size)
        meter.add(size)

    outcome = context.store.load(
        context.address,
        wanted,
        stored.packs,
        watch=watch,
        workers=worker_count(),
        readers=reader_count(),
        roots=roots,
    )
    if not (outcome.damaged or outcome.unread):
        meter.finish()
    return outcome
