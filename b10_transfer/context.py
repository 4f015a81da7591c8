"""What every operation starts from: settings, environment, cache roots, and the store."""

from __future__ import annotations

import os
from typing import NamedTuple

from b10_store.folder_remote import FolderRemote
from b10_store.layout import Address
from b10_store.store import Store
from b10_transfer.cache_folders import is_below
from b10_transfer.cache_roots import CacheRoot, resolve_roots, without_refused
from b10_transfer.environment import Environment
from b10_transfer.errors import CacheError, CacheValidationError
from b10_transfer.host_checks import exposure
from b10_transfer.settings import Settings, check_folder

_NEEDED = frozenset({"inductor", "triton"})


class Context(NamedTuple):
    """What every operation starts from.

    Attributes:
        settings: as the user set them.
        environment: of this host.
        address: its environment key and the namespace.
        roots: the cache roots that are used.
        problems: why other cache roots are not used, or what is wrong with these, a line each.
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
    """Read the settings, find out the environment, and name the store.

    Raises:
        CacheValidationError: a setting is not acceptable.
    """
    settings = settings or Settings.from_environment()
    environment = Environment.detect(settings.variables)
    roots = resolve_roots(settings.variables, settings.roots, full_headers=settings.full_headers)
    problems: list[str] = []
    refused = {root.name for root in roots if not _is_usable(root, settings, problems)}
    return Context(
        settings,
        environment,
        Address(environment.key, settings.namespace),
        without_refused(roots, refused),
        tuple(problems),
        Store(FolderRemote(settings.store), settings.scratch),
    )


def worker_count() -> int:
    """Threads for work that is mostly compression, hashing and file creation."""
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(8, available))


def require_enabled(settings: Settings) -> None:
    """Raise CacheError unless the user turned the cache on."""
    if not settings.enabled:
        raise CacheError("the cache is off: set BASETEN_FS_ENABLED=1 to use it")


def _is_usable(root: CacheRoot, settings: Settings, problems: list[str]) -> bool:
    """Check a cache root.

    Raises:
        CacheValidationError: it cannot be used, and is one of those that most models need, or that
            the user placed.
    """
    try:
        check_folder(f"the folder of the cache root {root.name}", root.folder)
        _check_apart(root, settings.store)
    except CacheValidationError as error:
        if root.name in _NEEDED or settings.roots.get(root.name):
            raise
        problems.append(f"{error}; it is left out")
        return False
    exposed = exposure(root)
    if exposed is None:
        return True
    if settings.strict_roots:
        problems.append(f"{exposed}: it is left out, as B10_STRICT_ROOTS says")
        return False
    problems.append(f"{exposed}: whoever can write there can run code here")
    return True


def _check_apart(root: CacheRoot, store: str) -> None:
    folder, store = os.path.realpath(root.folder), os.path.realpath(store)
    if is_below(folder, store) or is_below(store, folder):
        raise CacheValidationError(
            f"the cache root {root.name} ({folder}) and B10FS_CACHE_DIR ({store}) lie in each "
            "other: give them folders of their own"
        )
