"""The context of every operation: settings, environment, cache roots, and the store."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

from b10_store import (
    OUT_OF_SPACE,
    PACKS_AT_ONCE,
    Address,
    CannotSignError,
    FolderRemote,
    NoSpaceError,
    SizeLimitError,
    Store,
    StoreError,
)
from b10_transfer.caches.exposure import exposure, find_planted_link, strict_exposure
from b10_transfer.caches.folders import VARIABLES
from b10_transfer.caches.foreign import foreign_lines
from b10_transfer.caches.root_places import find_misplacement
from b10_transfer.caches.roots import CacheRoot, resolve_roots, with_store, without_refused
from b10_transfer.errors import CacheError, CacheOperationInterrupted, CacheValidationError
from b10_transfer.keys import KEY_FILE
from b10_transfer.machine.address_space import is_scarce, require_some
from b10_transfer.machine.checks import existing_folder
from b10_transfer.machine.environment import Environment
from b10_transfer.operations.refusals import describe, refusal
from b10_transfer.paths import is_below
from b10_transfer.settings import MEBIBYTE, Settings, check_folder
from b10_transfer.units import count_text, size_text

if TYPE_CHECKING:
    from collections.abc import Generator

_NEEDED = frozenset({"inductor", "triton"})
_FEW_FILES = 100


class Context(NamedTuple):
    """The context that every operation starts from.

    Attributes:
        settings: the user's settings.
        environment: of this host.
        address: its environment key and the namespace.
        roots: the cache roots that this host uses.
        problems: why other cache roots are not used, and what is wrong with these; one line each.
        store: the shared folder.
    """

    settings: Settings
    environment: Environment
    address: Address
    roots: tuple[CacheRoot, ...]
    problems: tuple[str, ...]
    store: Store

    @property
    def roots_by_name(self) -> dict[str, CacheRoot]:
        """The cache roots, by name."""
        return {root.name: root for root in self.roots}


def open_context(settings: Settings | None = None) -> Context:
    """Read the settings, detect the environment, and name the store.

    Raises:
        CacheValidationError: a setting is not acceptable.
        CacheError: a fact about this machine cannot be found out, such as its temporary folder.
    """
    settings = settings or _read_settings()
    with errors_as_cache_errors(settings):
        return _open_context(settings)


def _read_settings() -> Settings:
    try:
        return Settings.from_environment()
    except OSError as error:
        # There is no folder for temporary files, and LOCAL_WORK_DIR names none.
        reason = refusal(error) or f"{error}: set LOCAL_WORK_DIR to a folder that can be written"
        raise CacheError(reason) from error


def _open_context(settings: Settings) -> Context:
    require_some()
    environment = Environment.detect(settings.variables)
    problems: list[str] = []
    roots = resolve_roots(
        settings.variables,
        settings.roots,
        full_headers=settings.full_headers,
        unresolved=problems,
    )
    refused = {root.name for root in roots if not _is_usable(root, settings, problems)}
    limited = with_store(roots, settings.store, is_strict=settings.strict_roots)
    usable = without_refused(limited, refused)
    problems += foreign_lines(usable)
    return Context(
        settings,
        environment,
        Address(environment.key, settings.namespace),
        usable,
        tuple(problems),
        open_store(settings),
    )


def open_store(settings: Settings) -> Store:
    """Return the store that the settings name; nothing is read yet."""
    return Store(FolderRemote(settings.store), settings.scratch, settings.signing_keys)


def worker_count() -> int:
    """Return the number of threads for compression, hashing and file creation."""
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return 1 if is_scarce() else max(1, min(8, available))


def reader_count() -> int:
    """Return the number of threads for reading packs, which mostly wait for the shared folder."""
    return 1 if is_scarce() else PACKS_AT_ONCE


def require_enabled(settings: Settings) -> None:
    """Raise CacheError unless the user turned the cache on."""
    if not settings.enabled:
        raise CacheError("the cache is off: set BASETEN_FS_ENABLED=1 to use it")


def _is_usable(root: CacheRoot, settings: Settings, problems: list[str]) -> bool:
    """Check a cache root.

    Raises:
        CacheValidationError: it cannot be used, but most models need it, or the user chose its
            folder.
    """
    try:
        check_root(root, settings)
    except CacheValidationError as error:
        if root.name in _NEEDED or settings.roots.get(root.name):
            raise
        problems.append(f"{error}; it is left out")
        return False
    planted = find_planted_link(root)
    if planted is not None:
        problems.append(f"{planted.fact} ({planted.advice})")
        return False
    exposed = strict_exposure(root) if settings.strict_roots else exposure(root)
    if exposed is None:
        return True
    if settings.strict_roots:
        problems.append(strict_line(exposed))
        return False
    problems.append(exposure_line(exposed))
    return True


def strict_line(exposed: str) -> str:
    """Return the line that a cache root is not used, given who could write to it."""
    return f"{exposed}: it is left out because of B10_STRICT_ROOTS"


def exposure_line(exposed: str) -> str:
    """Return the line that a cache root is used nevertheless, given who could write to it."""
    return f"{exposed}: whoever can write there can run code here"


def check_root(root: CacheRoot, settings: Settings) -> None:
    """Check that a cache root may be written to and emptied.

    Raises:
        CacheValidationError: it is a folder of the system or the user, or it contains the store or
            lies in it.
    """
    check_folder(_named(root, settings), root.folder)
    folder, store = os.path.realpath(root.folder), os.path.realpath(settings.store)
    if is_below(folder, store) or is_below(store, folder):
        raise CacheValidationError(
            f"the cache root {root.name} ({folder}) and B10FS_CACHE_DIR ({store}) must not "
            "contain each other: give each a folder of its own"
        )
    misplacement = find_misplacement(root)
    if misplacement is not None:
        raise CacheValidationError(
            f"{_named(root, settings)}={root.folder!r} is {misplacement}: give a folder below it"
        )


def _named(root: CacheRoot, settings: Settings) -> str:
    """Return the setting that places a cache root, or its description when there is none."""
    if settings.roots.get(root.name):
        return f"{root.name} in B10_CACHE_ROOTS"
    for name in VARIABLES.get(root.name, ()):
        if name in settings.variables:
            return name
    return f"the folder of the cache root {root.name}"


@contextlib.contextmanager
def errors_as_cache_errors(settings: Settings) -> Generator[None]:
    """Turn errors of the engine and the system into CacheError, with the way out."""
    try:
        yield
    except NoSpaceError as error:
        raise _full_disk(error, settings) from error
    except SizeLimitError as error:
        enough = error.needed // MEBIBYTE + 2  # packs have footers
        raise CacheError(
            f"{error}: set MAX_CACHE_SIZE_MB={enough}, or clear the local cache"
        ) from error
    except CannotSignError as error:
        raise CacheError(
            f"{error}: save on a host that has the private key ({KEY_FILE}), such as a warm-up job"
        ) from error
    except StoreError as error:
        raise CacheError(str(error)) from error
    except (MemoryError, OSError, RuntimeError) as error:
        told = _as_cache_error(error, settings)
        if told is None:
            raise
        raise told from error


def _as_cache_error(error: Exception, settings: Settings) -> CacheError | None:
    reason = refusal(error)
    if reason:
        return CacheError(reason)
    if not isinstance(error, OSError):
        return None
    if error.errno in OUT_OF_SPACE:
        named = str(error.filename or "")
        folder = named if os.path.isabs(named) else ""
        return _full_disk(NoSpaceError(error.strerror or str(error), folder), settings)
    return CacheError(describe(error, settings.store))


def _full_disk(error: NoSpaceError, settings: Settings) -> CacheOperationInterrupted:
    """Return the error for a full folder, with the needed and the free bytes."""
    told = str(error) if error.folder else f"{settings.store}: {error}"
    with contextlib.suppress(OSError):
        free = _free_text(existing_folder(error.folder or settings.store))
        if error.needed:
            told += f" (up to {size_text(error.needed)} needed, {free})"
        elif not error.tells_space:
            told += f" ({free})"
    return CacheOperationInterrupted(f"too little disk space: {told}")


def _free_text(folder: str) -> str:
    free = f"{size_text(shutil.disk_usage(folder).free)} free"
    status = os.statvfs(folder)
    # Some filesystems do not count files.
    if status.f_files and status.f_favail < _FEW_FILES:
        free += f", room for {count_text(status.f_favail, 'further file')}"
    return free
