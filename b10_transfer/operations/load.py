"""Loading: what is stored for an environment becomes files in this host's cache roots."""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from b10_store import (
    OUT_OF_SPACE,
    LoadOutcome,
    NoSpaceError,
    OpenRoot,
    Placed,
    StoreError,
    make_folder,
    merge,
)
from b10_transfer.caches.artifacts import bounds_of, find_files
from b10_transfer.caches.exposure import exposure, others_can_write
from b10_transfer.caches.header_placeholders import plant_placeholders, remove_placeholders
from b10_transfer.caches.kinds import HEADERS
from b10_transfer.caches.native_needs import HostLibraries, split_requirement
from b10_transfer.caches.unusable_roots import describe_failure
from b10_transfer.errors import CacheError
from b10_transfer.local.harmful_files import move_aside
from b10_transfer.local.lock import Patience, lock_root
from b10_transfer.local.record import (
    Hashed,
    filesystem_now_ns,
    read_hashed,
    read_loaded,
    write_hashed,
    write_loaded,
)
from b10_transfer.local.root_origin import look_at, note_machine, origin_lines
from b10_transfer.local.scan import walk_roots
from b10_transfer.local.space import LocalSpace
from b10_transfer.local.sweep import has_leftovers, sweep
from b10_transfer.local.targets import choose_targets, not_here
from b10_transfer.machine.checks import check_execution, check_tools
from b10_transfer.machine.nearest import (
    named,
    nearest_differences,
    other_namespaces,
    recorded_differences,
)
from b10_transfer.operations.context import exposure_line, reader_count, strict_line, worker_count
from b10_transfer.operations.load_outcome import Counts, load_report, outcome_problems
from b10_transfer.operations.newest_seen import note_newest, rollback_problem
from b10_transfer.operations.progress import Meter
from b10_transfer.operations.reports import (
    LoadReport,
    count_refused,
    difference_lines,
    problem_lines,
)
from b10_transfer.operations.unsigned import warn_when_unsigned
from b10_transfer.status import OperationStatus
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store import Digest, Fingerprint, Heads, MergedView, OpenFolder, RestoreTarget
    from b10_transfer.caches.roots import CacheRoot
    from b10_transfer.machine.environment import Difference
    from b10_transfer.operations.context import Context
    from b10_transfer.operations.progress import ProgressCallback

_LOCK_SECONDS = 10.0
"""How long a load waits for others of this host, in all; then it works beside them, as safely."""

_NEAREST_AMONG = 32
"""How many environments are looked at, when there is nothing for this one."""

_NAMED_NAMESPACES = 8

_NOTHING_HERE = "nothing is stored for this environment yet"


def load_artifacts(
    context: Context, started: float, on_progress: ProgressCallback | None = None
) -> LoadReport:
    """Bring what is stored and not here yet.

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
        # As if nothing were stored, so that what is compiled now is saved, and supersedes.
        problems += ["loading is turned off by B10_CACHE_LOAD=0", *_not_cold(context)]
        return _nothing_stored(context, "nothing was loaded", problems, started)
    warn_when_unsigned(context.settings)
    heads = context.store.heads(context.address)
    problems += problem_lines(heads.problems, signed=bool(context.settings.signing_keys))
    if not heads.listed:
        return _with_nearest(context, _nothing_stored(context, _NOTHING_HERE, problems, started))
    if not heads.manifests:
        raise CacheError(f"no manifest of this environment can be read: {'; '.join(problems)}")
    rolled_back = rollback_problem(context, heads)
    problems += [] if rolled_back is None else [rolled_back]
    stored = merge(heads.manifests)
    chosen = choose_targets(
        context.roots_by_name,
        context.environment,
        HostLibraries(context.settings.variables),
        stored.entries.values(),
    )
    problems += _lacking_libraries(chosen.lacking)
    placements = chosen.placements
    problems += _host_problems(context, placements)
    _remove_placeholders(context, placements)
    lacking = not_here(placements)
    _sweep_idle({item.folder for item in placements} - {item.folder for item in lacking})
    with contextlib.ExitStack() as locks:
        folders = {item.folder for item in lacking}
        usable = _open_roots(locks, context, folders, problems)
        # Another load of this host may have brought everything while the lock was waited for.
        wanted = not_here([item for item in lacking if item.folder in usable])
        outcome = _bring(context, stored, wanted, usable, on_progress)
        _remember({item.folder for item in placements} - (folders - usable.keys()), outcome)
    _plant_placeholders(context, placements)
    note_newest(context, (head.name.snapshot for head in heads.manifests))
    context.store.note_use(heads)
    unusable = sum(item.folder not in usable for item in lacking)
    already_here = len(placements) - unusable - len(wanted)
    problems += outcome_problems(outcome, context.settings.store)
    counts = Counts(already_here, len(wanted), unusable)
    report = load_report(context, counts, outcome, problems, started)
    if not (report.loaded or report.already_here):
        report = _nothing_for_host(report, stored)
    return replace(
        report,
        not_for_host=chosen.not_for_host,
        refused=count_refused(heads.problems),
        differences=_differences(context, heads),
    )


def _lacking_libraries(lacking: Mapping[str, int]) -> list[str]:
    return [
        f"{count_text(count, 'artifact')} of native code need {lack}, which is not here, and will "
        "be compiled: install it, or use the image of the replica that saves"
        for lack, count in sorted(lacking.items())
    ]


def _nothing_for_host(report: LoadReport, stored: MergedView) -> LoadReport:
    """Say so: nothing is here then, and the compilers start cold."""
    count = count_text(len(stored.entries), "artifact")
    roots = ", ".join(sorted({identity.root for identity in stored.entries})) or "no cache root"
    problem = f"{count} of {roots}: not used here, or native code for another CPU"
    return replace(
        report,
        status=OperationStatus.DOES_NOT_EXIST,
        reason="nothing that is stored for this environment is for this host",
        problems=(*report.problems, problem),
    )


def _not_cold(context: Context) -> list[str]:
    """A line for each cache root that holds artifacts although the start is to be cold."""
    return [
        f"{root.folder} already holds {count_text(len(found), 'artifact')}, which compilers use "
        f"whatever is loaded: to start cold, `b10-transfer clear --roots {root.name} --yes` first"
        for root, found in walk_roots(context.roots)
        if found
    ]


def _examine_roots(context: Context) -> list[str]:
    """Look at what lies in the cache roots before a compiler does, and move aside what would harm.

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


def _host_problems(context: Context, placements: Iterable[RestoreTarget]) -> list[str]:
    """Return what on this machine would keep its compilers from using the artifacts."""
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for placement in placements:
        paths[placement.entry.identity.root].append(placement.entry.identity.path)
    lines = check_tools(context.settings.variables, chain.from_iterable(paths.values()))
    for root in context.roots:
        lines += check_execution(root.folder, paths[root.name])
    return lines


def _differences(context: Context, heads: Heads) -> tuple[Difference, ...]:
    newest = max(heads.manifests, key=lambda head: head.name.snapshot)
    return recorded_differences(context.environment, newest.lineage.recorded)


def _with_nearest(context: Context, report: LoadReport) -> LoadReport:
    """Say what is stored instead, as far as that can be found out quickly."""
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
        problem = f"this environment has something in other namespaces: {names}"
        return replace(
            report,
            reason=f"nothing is stored for this environment in this namespace ({mine}) yet",
            problems=(*report.problems, problem),
        )
    differences = nearest_differences(context.environment, headers)
    near = difference_lines(differences)
    reason = f"{report.reason}; the nearest has {near}"
    return replace(report, reason=reason, differences=differences)


def _nothing_stored(
    context: Context, reason: str, problems: Iterable[str], started: float
) -> LoadReport:
    return LoadReport(
        OperationStatus.DOES_NOT_EXIST,
        context.environment.key,
        reason=reason,
        problems=tuple(problems),
        seconds=time.monotonic() - started,
    )


def _open_roots(
    held: contextlib.ExitStack, context: Context, folders: Iterable[str], problems: list[str]
) -> dict[str, OpenRoot]:
    """Open and lock cache roots, and sweep what killed processes left; return the usable ones.

    The open folder is checked, and everything is placed into it: whoever takes its name meanwhile
    gets nothing. The order is always the same, so that two loads never wait for each other.
    """
    roots = {root.folder: root for root in context.roots}
    usable: dict[str, OpenRoot] = {}
    patience = Patience(_LOCK_SECONDS)
    for folder in sorted(folders):
        root = roots[folder]
        try:
            with _open_root(root) as looked_at:
                if not _may_use(root, looked_at, problems):
                    continue
            if held.enter_context(patience.lock(folder)):
                sweep(folder)
            # A clear may have removed the root while its lock was waited for.
            opened = held.enter_context(_open_root(root))
            if not _may_use(root, opened, problems):
                continue
            note_machine(folder, context.environment)
        except OSError as error:
            if error.errno in OUT_OF_SPACE:
                raise NoSpaceError(error.strerror or str(error), folder) from error
            problems.append(describe_failure(root, error))
        else:
            usable[folder] = OpenRoot(opened, bounds_of(root))
    return usable


def _open_root(root: CacheRoot) -> OpenFolder:
    return make_folder(root.folder, 0o700 if root.is_strict else 0o777)


def _may_use(root: CacheRoot, opened: OpenFolder, problems: list[str]) -> bool:
    """Whether an open cache root may be written to; it may not be the one that was seen before."""
    exposed = exposure(root, opened.status)
    weakness = others_can_write(opened.status)
    if root.is_strict and weakness:
        problems.append(strict_line(exposed or f"the cache root {root.folder} {weakness}"))
        return False
    if exposed and exposure_line(exposed) not in problems:
        problems.append(exposure_line(exposed))
    return True


def _sweep_idle(folders: Iterable[str]) -> None:
    """Sweep cache roots into which nothing is to be brought, unless another process uses them."""
    for folder in folders:
        if has_leftovers(folder):
            with contextlib.suppress(OSError), lock_root(folder, timeout=0) as held:
                if held:
                    sweep(folder)


def _remove_placeholders(context: Context, placements: Iterable[RestoreTarget]) -> None:
    root = context.roots_by_name.get(HEADERS.name)
    if root is not None and context.settings.full_headers:
        remove_placeholders(root.folder, _paths_in(root, placements))


def _plant_placeholders(context: Context, placements: Iterable[RestoreTarget]) -> None:
    root = context.roots_by_name.get(HEADERS.name)
    if root is not None:
        texts = [path for path in _paths_in(root, placements) if path.endswith(".h")]
        plant_placeholders(root.folder, texts)


def _paths_in(root: CacheRoot, placements: Iterable[RestoreTarget]) -> list[str]:
    identities = (item.entry.identity for item in placements)
    return [identity.path for identity in identities if identity.root == root.name]


def _bring(
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


def _remember(folders: Iterable[str], outcome: LoadOutcome) -> None:
    placed: defaultdict[str, list[tuple[RestoreTarget, Fingerprint]]] = defaultdict(list)
    for placement, fingerprint in outcome.placed.placed:
        placed[placement.folder].append((placement, fingerprint))
    for folder in folders:
        loaded = read_loaded(folder)
        sound = {(item.entry.digest, item.entry.location.pack) for item, _ in placed[folder]}
        loaded.distrusted = (loaded.distrusted | set(outcome.damaged.items())) - sound
        loaded.finished_ns = filesystem_now_ns(folder)
        loaded.broken |= _broken_in(folder, outcome.placed)
        if placed[folder]:
            hashed = read_hashed(folder)
            for placement, fingerprint in placed[folder]:
                entry = placement.entry
                loaded.digests[entry.identity.path] = entry.digest
                loaded.broken.pop(entry.identity.path, None)
                if placement.unite is None:
                    needs = split_requirement(entry.identity.requirement)[1]
                    hashed[entry.identity.path] = Hashed(
                        fingerprint, entry.digest, entry.size, needs
                    )
            write_hashed(folder, hashed)
        write_loaded(folder, loaded)


def _broken_in(folder: str, placed: Placed) -> dict[str, Digest]:
    """Return what the store has for a cache root that is of no use to any host, by path.

    The rest of a bundle goes with a part of it: the compiler then makes all of it again.
    """
    broken = [item for item, _ in placed.broken if item.folder == folder]
    bundles = {item.bundle for item in broken} - {""}
    mates = [item for item in placed.torn if item.folder == folder and item.bundle in bundles]
    return {item.entry.identity.path: item.entry.digest for item in [*broken, *mates]}
