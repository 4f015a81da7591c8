"""The older import name of `b10_transfer`: the same names, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import b10_transfer
from b10_transfer import (
    CacheError,
    CacheOperationInterrupted,
    CacheValidationError,
    OperationStatus,
    Settings,
    clear_local_cache,
    get_cache_info,
    list_available_caches,
    load_compile_cache,
    load_compile_cache_async,
    save_compile_cache,
    save_vllm_compile_cache,
)

if TYPE_CHECKING:
    from b10_transfer import (
        BackgroundLoad,
        Environment,
        LoadReport,
        Progress,
        SaveReport,
        load,
        save,
    )

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


def __getattr__(name: str) -> object:
    """Leave to `b10_transfer` when it imports what a name needs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(b10_transfer, name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
