"""Warm starts for compiled models: one replica compiles, and every later one loads.

Importing this package imports neither torch nor the engine: that happens at the first call.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from b10_transfer.api import (
    clear_local_cache,
    get_cache_info,
    list_available_caches,
    load_compile_cache,
    load_compile_cache_async,
    save_compile_cache,
)
from b10_transfer.errors import CacheError, CacheOperationInterrupted, CacheValidationError
from b10_transfer.operations.imports import import_for
from b10_transfer.operations.refusals import refusal
from b10_transfer.servers.vllm import save_vllm_compile_cache
from b10_transfer.settings import Settings
from b10_transfer.status import OperationStatus

if TYPE_CHECKING:
    __version__: str
    from b10_transfer.machine.environment import Environment
    from b10_transfer.operations.background import BackgroundLoad
    from b10_transfer.operations.progress import Progress
    from b10_transfer.operations.reports import LoadReport, SaveReport
    from b10_transfer.operations.transfer import load, save

__all__ = [
    "BackgroundLoad",
    "CacheError",
    "CacheOperationInterrupted",
    "CacheValidationError",
    "Environment",
    "LoadReport",
    "OperationStatus",
    "Progress",
    "SaveReport",
    "Settings",
    "clear_local_cache",
    "get_cache_info",
    "list_available_caches",
    "load",
    "load_compile_cache",
    "load_compile_cache_async",
    "save",
    "save_compile_cache",
    "save_vllm_compile_cache",
]

_LAZY = {
    "BackgroundLoad": "b10_transfer.operations.background",
    "Environment": "b10_transfer.machine.environment",
    "LoadReport": "b10_transfer.operations.reports",
    "Progress": "b10_transfer.operations.progress",
    "SaveReport": "b10_transfer.operations.reports",
    "load": "b10_transfer.operations.transfer",
    "save": "b10_transfer.operations.transfer",
}


def __getattr__(name: str) -> object:
    """Import the engine at first use of a name that needs it.

    Raises:
        CacheError: the system refuses something that an import needs, as at the interpreter's end.
    """
    if name == "__version__":
        from importlib import metadata

        return metadata.version("b10-transfer")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import_for(name if name in ("load", "save") else "look")
        return getattr(importlib.import_module(_LAZY[name]), name)
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise CacheError(reason) from error


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
