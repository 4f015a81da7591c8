"""Loading and saving: the product's policy meets the engine. Raises CacheError, returns reports."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from b10_store.errors import NoSpaceError, SizeLimitError, StoreError
from b10_store.folder_remote import FolderRemote
from b10_store.layout import Address
from b10_store.materialize import sweep_staging
from b10_store.placement import LocalNames, Placement
from b10_store.save import SaveRequest
from b10_store.store import Store
from b10_store.union import union
from b10_transfer.artifacts import placing_order, restorer
from b10_transfer.cache_roots import CacheRoot, is_below, resolve_roots
from b10_transfer.environment import Environment
from b10_transfer.errors import CacheError, CacheOperationInterrupted, CacheValidationError
from b10_transfer.local_clear import sweep_cleared
from b10_transfer.local_lock import lock_root
from b10_transfer.local_record import (
    Hashed,
    read_hashed,
    read_loaded,
    write_hashed,
    write_loaded,
)
from b10_transfer.local_scan import LocalScan, scan_roots
from b10_transfer.local_space import LocalSpace
from b10_transfer.reports import LoadReport, SaveReport
from b10_transfer.settings import Settings
from b10_transfer.status import OperationStatus

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from b10_store.bring import Brought
    from b10_store.heads import Problem
    from b10_store.manifest import Entry
    from b10_store.save import SaveOutcome
    from b10_store.union import Union

_LOCK_SECONDS = 300.0


class Context(NamedTuple):
    """What every operation starts from."""

    settings: Settings
    environment: Environment
    address: Address
    roots: tuple[CacheRoot, ...]
    store: Store


def open_context(settings: Settings | None = None) -> Context:
    """Read the settings, find out the environment, and name the store.

    Raises:
        CacheValidationError: a setting is not acceptable.
    """
    settings = settings or Settings.from_environment()
    environment = Environment.detect(settings.variables)
    roots = resolve_roots(settings.variables)
    for root in roots:
        _check_apart(root, settings.store)
    return Context(
        settings,
        environment,
        Address(environment.key, settings.namespace),
        roots,
        Store(FolderRemote(settings.store), settings.scratch),
    )


def load(settings: Settings | None = None) -> LoadReport:
    """Bring what is stored for this environment, less what is here already.

    Local files are never replaced, and a compiler may be at work in the cache roots meanwhile.

    Args:
        settings: read from the environment variables by default.

    Raises:
        CacheValidationError: a setting is not acceptable.
        CacheOperationInterrupted: there is too little disk space; nothing was left behind.
        CacheError: the cache is disabled, or the store or a cache root cannot be used.
    """
    started = time.monotonic()
    context = open_context(settings)
    _require_enabled(context.settings)
    with _errors_as_cache_errors(context.settings):
        return _load(context, started)


def save(settings: Settings | None = None, *, wait: bool = True) -> SaveReport:
    """Publish the artifacts that are here and that the store does not have.

    Args:
        settings: read from the environment variables by default.
        wait: whether to let saves that began earlier go first, for a minute at most. Their work
            often leaves nothing to do; give False where time is short, at shutdown for instance.

    Raises:
        CacheValidationError: a setting is not acceptable.
        CacheOperationInterrupted: there is too little disk space.
        CacheError: the cache is disabled, or the store cannot be used.
    """
    started = time.monotonic()
    context = open_context(settings)
    _require_enabled(context.settings)
    with _errors_as_cache_errors(context.settings):
        return _save(context, started, wait=wait)


def _load(context: Context, started: float) -> LoadReport:
    if not context.settings.load_enabled:
        # As if nothing were stored, so that what is compiled now is saved, and supersedes.
        return _nothing_stored(context, ("loading is turned off by B10_CACHE_LOAD=0",), started)
    heads = context.store.heads(context.address)
    problems = _lines(heads.problems)
    if not heads.listed:
        return _nothing_stored(context, (), started)
    if not heads.manifests:
        raise CacheError(f"no manifest of this environment can be read: {'; '.join(problems)}")
    stored = union(heads.manifests)
    placements = _placements(context, stored.entries.values())
    with contextlib.ExitStack() as locks:
        for folder in sorted({placement.folder for placement in placements}):
            _prepare_root(locks, folder)
        here = {folder: LocalNames(folder) for folder in {item.folder for item in placements}}
        wanted = [
            item for item in placements if not here[item.folder].has(item.entry.identity.path)
        ]
        brought = _bring(context, stored, wanted)
        if brought is not None:
            _remember(placements, brought)
    context.store.note_use(heads)
    return _load_report(context, len(placements) - len(wanted), wanted, brought, problems, started)


def _nothing_stored(context: Context, problems: tuple[str, ...], started: float) -> LoadReport:
    return LoadReport(
        OperationStatus.DOES_NOT_EXIST,
        context.environment.key,
        problems=problems,
        seconds=time.monotonic() - started,
    )


def _prepare_root(locks: contextlib.ExitStack, folder: str) -> None:
    if locks.enter_context(lock_root(folder, _LOCK_SECONDS)):
        sweep_staging(folder)
        sweep_cleared(folder)


def _placements(context: Context, entries: Iterable[Entry]) -> list[Placement]:
    """What of the stored artifacts this host can run, and where it belongs."""
    folders = {root.name: root.folder for root in context.roots}
    chosen: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        root, path, requirement = entry.identity
        if root not in folders or requirement not in ("", context.environment.requirement):
            continue
        if requirement or (root, path) not in chosen:
            chosen[root, path] = entry
    return [
        Placement(
            entry,
            folders[entry.identity.root],
            placing_order(entry.identity.path),
            restorer(entry.identity.path, folders[entry.identity.root]),
        )
        for entry in chosen.values()
    ]


def _bring(context: Context, stored: Union, wanted: Sequence[Placement]) -> Brought | None:
    if not wanted:
        return None
    space = LocalSpace((item.folder, item.entry.size) for item in wanted)
    space.require()
    return context.store.bring(
        context.address, wanted, stored.packs, watch=space.watch, workers=worker_count()
    )


def _remember(placements: Iterable[Placement], brought: Brought) -> None:
    distrusted = set(brought.damaged.items())
    for folder in {placement.folder for placement in placements}:
        loaded = read_loaded(folder)
        hashed = read_hashed(folder)
        for placement, fingerprint in brought.placed.placed:
            if placement.folder == folder:
                entry = placement.entry
                path = entry.identity.path
                loaded.digests[path] = entry.digest
                hashed[path] = Hashed(fingerprint, entry.digest, entry.size)
        loaded.distrusted = distrusted
        loaded.finished_ns = time.time_ns()
        write_loaded(folder, loaded)
        write_hashed(folder, hashed)


def _load_report(
    context: Context,
    already_here: int,
    wanted: Sequence[Placement],
    brought: Brought | None,
    problems: list[str],
    started: float,
) -> LoadReport:
    placed = [placement for placement, _ in brought.placed.placed] if brought else []
    kept = len(brought.placed.kept) if brought else 0
    missed = len(wanted) - len(placed) - kept
    if brought is not None:
        problems += _bring_problems(brought)
    if missed and not placed:
        raise CacheError(f"none of {missed} stored artifacts could be read: {'; '.join(problems)}")
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
    problems += sorted(set(brought.unread.values()))
    problems += sorted({reason for _, reason in brought.placed.failed})
    return problems


def _save(context: Context, started: float, *, wait: bool) -> SaveReport:
    settings = context.settings
    scan = scan_roots(context.roots, _requirement_made_here(context), worker_count())
    if not scan.artifacts:
        return _save_report(context, scan, None, started)
    request = SaveRequest(
        address=context.address,
        environment=tuple((item.name, item.value) for item in context.environment.fields),
        artifacts=scan.artifacts,
        size_limit=settings.size_limit,
        slots=settings.concurrent_saves,
        workers=worker_count(),
        scratch=settings.scratch,
        loaded=scan.loaded,
        distrusted=scan.distrusted,
        cold=not settings.load_enabled,
        wait=wait,
    )
    return _save_report(context, scan, context.store.save(request), started)


def _save_report(
    context: Context, scan: LocalScan, outcome: SaveOutcome | None, started: float
) -> SaveReport:
    published = outcome is not None and outcome.published is not None
    return SaveReport(
        status=OperationStatus.SUCCESS if published else OperationStatus.SKIPPED,
        environment_key=context.environment.key,
        found=len(scan.artifacts),
        added=outcome.added if outcome else 0,
        superseded=outcome.superseded if outcome else 0,
        uploaded_bytes=outcome.uploaded_bytes if outcome else 0,
        stored_bytes=outcome.stored_bytes if outcome else 0,
        compiled_anew=scan.compiled_anew,
        left_out=len(scan.skipped) + (outcome.changed if outcome else 0),
        problems=tuple(_lines(outcome.problems)) if outcome else (),
        seconds=time.monotonic() - started,
    )


def worker_count() -> int:
    """Threads for work that is mostly compression, hashing and file creation."""
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(8, available))


def _requirement_made_here(context: Context) -> str:
    """What native code made on this host needs: on a CPU the environment key says it already."""
    return context.environment.requirement if context.environment.is_gpu else ""


def _require_enabled(settings: Settings) -> None:
    if not settings.enabled:
        raise CacheError("the cache is off: set BASETEN_FS_ENABLED=1 to use it")


def _check_apart(root: CacheRoot, store: str) -> None:
    folder, store = os.path.realpath(root.folder), os.path.realpath(store)
    if is_below(folder, store) or is_below(store, folder):
        raise CacheValidationError(
            f"the cache root {root.name} ({folder}) and B10FS_CACHE_DIR ({store}) lie in each "
            "other: give them folders of their own"
        )


def _lines(problems: Iterable[Problem]) -> list[str]:
    return [f"{problem.name}: {problem.reason}" for problem in problems]


@contextlib.contextmanager
def _errors_as_cache_errors(settings: Settings) -> Generator[None]:
    try:
        yield
    except NoSpaceError as error:
        raise CacheOperationInterrupted(f"too little disk space: {error}") from error
    except SizeLimitError as error:
        raise CacheError(f"{error}: raise MAX_CACHE_SIZE_MB, or clear the local cache") from error
    except StoreError as error:
        raise CacheError(str(error)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CacheOperationInterrupted(f"too little disk space: {error}") from error
        raise CacheError(f"{error} (store {settings.store})") from error
