"""What every operation starts from: settings, environment, cache roots, and the store."""

from __future__ import annotations

import os
from typing import NamedTuple

from b10_store.folder_remote import FolderRemote
from b10_store.layout import Address
from b10_store.store import Store
from b10_transfer.cache_roots import CacheRoot, is_below, resolve_roots
from b10_transfer.environment import Environment
from b10_transfer.errors import CacheError, CacheValidationError
from b10_transfer.settings import Settings, check_folder


class Context(NamedTuple):
    """What every operation starts from."""

    settings: Settings
    environment: Environment
    address: Address
    roots: tuple[CacheRoot, ...]
    store: Store

    @property
    def folders(self) -> dict[str, str]:
        """Where each cache root is, by its name."""
        return {root.name: root.folder for root in self.roots}


def open_context(settings: Settings | None = None) -> Context:
    """Read the settings, find out the environment, and name the store.

    Raises:
        CacheValidationError: a setting is not acceptable.
    """
    settings = settings or Settings.from_environment()
    environment = Environment.detect(settings.variables)
    roots = resolve_roots(settings.variables)
    for root in roots:
        check_folder(f"the folder of the cache root {root.name}", root.folder)
        _check_apart(root, settings.store)
    return Context(
        settings,
        environment,
        Address(environment.key, settings.namespace),
        roots,
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


def _check_apart(root: CacheRoot, store: str) -> None:
    folder, store = os.path.realpath(root.folder), os.path.realpath(store)
    if is_below(folder, store) or is_below(store, folder):
        raise CacheValidationError(
            f"the cache root {root.name} ({folder}) and B10FS_CACHE_DIR ({store}) lie in each "
            "other: give them folders of their own"
        )
