"""What the functions that return a status answer and log, checked for its form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import b10_transfer

if TYPE_CHECKING:
    import logging

    import pytest

_INFO_TYPES = {
    "environment_key": str,
    "namespace": str,
    "local_cache_exists": bool,
    "b10fs_enabled": bool,
    "b10fs_cache_exists": bool,
    "local_cache_size_mb": float,
    "b10fs_cache_size_mb": float,
    "error": (str, type(None)),
}
_LISTING_TYPES = {
    "caches": list,
    "current_environment": str,
    "total_caches": int,
    "current_cache_exists": bool,
    "b10fs_enabled": bool,
    "error": (str, type(None)),
}
_CACHE_TYPES = {
    "filename": str,
    "environment_key": str,
    "namespace": str,
    "size_mb": float,
    "is_current_environment": bool,
    "created_time": float,
    "artifacts": int,
    "environment": dict,
}


def _assert_types(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, kind in expected.items():
        assert isinstance(found[name], kind), (name, found[name])
        # True is an int too, and would pass for a count.
        assert isinstance(found[name], bool) == (kind is bool), (name, found[name])


def info() -> dict[str, Any]:
    """The answer of `get_cache_info`."""
    found = b10_transfer.get_cache_info()
    _assert_types(found, _INFO_TYPES)
    return found


def listing() -> dict[str, Any]:
    """The answer of `list_available_caches`."""
    found = b10_transfer.list_available_caches()
    _assert_types(found, _LISTING_TYPES)
    assert found["total_caches"] == len(found["caches"])
    for cache in found["caches"]:
        _assert_types(cache, _CACHE_TYPES)
    return found


def only_record(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """The one line that was logged."""
    (record,) = caplog.records
    assert record.name == "b10_transfer"
    return record
