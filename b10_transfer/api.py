"""The public functions: they return a status, and never raise or print."""

from __future__ import annotations

import contextlib
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from b10_store import StoreError
from b10_transfer.errors import CacheError, CacheValidationError
from b10_transfer.operations.background import BackgroundLoad
from b10_transfer.operations.imports import import_for
from b10_transfer.operations.refusals import refusal
from b10_transfer.printable import spell_out
from b10_transfer.settings import MEBIBYTE, Settings, is_enabled
from b10_transfer.status import OperationStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from b10_store import Listing
    from b10_transfer.operations.context import Context
    from b10_transfer.operations.progress import ProgressCallback

_logger = logging.getLogger("b10_transfer")
_logger.addFilter(spell_out)

_OFF = "the cache is off: set BASETEN_FS_ENABLED=1 to use it"


def load_compile_cache(*, on_progress: ProgressCallback | None = None) -> OperationStatus:
    """Load the artifacts that earlier replicas compiled for this environment.

    Call it before the first compiled call. Files that exist already are left unchanged.

    Args:
        on_progress: called now and then with the bytes that were loaded and the total to load.

    Returns:
        SUCCESS: at least one artifact was loaded.
        SKIPPED: everything that is stored for this host is here already.
        DOES_NOT_EXIST: nothing is stored for this environment, or none of it is for this host.
        ERROR: see the log line; the model compiles as it would without a cache.
    """

    def load() -> OperationStatus:
        from b10_transfer.operations import transfer

        report = transfer.load(on_progress=on_progress)
        _log_report("load", report.environment_key, str(report), report.problems)
        return report.status

    return _guard("load", load)


def load_compile_cache_async(*, on_progress: ProgressCallback | None = None) -> BackgroundLoad:
    """Start a load in the background, and return at once.

    Use it to load while the model's weights are read. Call its `result()` before the first compiled
    call.

    Args:
        on_progress: see `load_compile_cache`.
    """
    # The imports are made in this thread: see b10_transfer.operations.imports. If one fails, the
    # load reports it.
    with contextlib.suppress(Exception):
        import_for("load")
    return BackgroundLoad(partial(load_compile_cache, on_progress=on_progress))


def save_compile_cache(*, on_progress: ProgressCallback | None = None) -> OperationStatus:
    """Save the artifacts that were compiled here and are not stored yet.

    Call it after every warm-up, whatever the load returned: when nothing is new it costs next to
    nothing, and artifacts that a replica compiled beyond the loaded ones are not lost.

    Args:
        on_progress: called now and then with the bytes that were uploaded and the total to upload.

    Returns:
        SUCCESS: new artifacts were published.
        SKIPPED: there is nothing here, or nothing new.
        ERROR: see the log line; nothing was published.
    """

    def save() -> OperationStatus:
        from b10_transfer.operations import transfer

        report = transfer.save(on_progress=on_progress)
        _log_report("save", report.environment_key, str(report), report.warnings)
        return report.status

    return _guard("save", save)


def clear_local_cache(roots: Iterable[str] = ("inductor",)) -> bool:
    """Remove local caches of this host, but neither the store nor files that no compiler wrote.

    Args:
        roots: names of cache roots, such as "inductor", "triton", "vllm" or a user's own; all by
            default.

    Returns:
        True when these caches are empty now; False when something could not be removed.
    """

    def clear() -> OperationStatus:
        names = (roots,) if isinstance(roots, str) else tuple(roots)
        return OperationStatus.SUCCESS if _clear(names) else OperationStatus.ERROR

    return _guard("clear", clear) is OperationStatus.SUCCESS


def get_cache_info() -> dict[str, Any]:
    """Return the sizes of the local cache and of what is stored for this environment.

    Returns:
        environment_key (str), namespace (str), local_cache_exists (bool), b10fs_enabled (bool),
        b10fs_cache_exists (bool), local_cache_size_mb (float), b10fs_cache_size_mb (float, as
        compressed in the store), error (str or None: why something could not be found out, such as
        a cache that is off). Every key is always present; what could not be found out is "", False
        or 0.0. 1 MB is 2**20 bytes.
    """
    info: dict[str, Any] = {
        "environment_key": "",
        "namespace": "",
        "local_cache_exists": False,
        "b10fs_enabled": False,
        "b10fs_cache_exists": False,
        "local_cache_size_mb": 0.0,
        "b10fs_cache_size_mb": 0.0,
        "error": None,
    }
    _fill(info, "environment_key", _fill_info)
    return info


def list_available_caches() -> dict[str, Any]:
    """Return a list of everything that is stored, for all environments and namespaces.

    Returns:
        caches: a list with a dict for each environment and namespace: filename (of its newest
        manifest, relative to the store), environment_key, namespace, size_mb (float, compressed
        bytes that it references), is_current_environment (bool), created_time (float, seconds since
        the epoch), artifacts (int), environment (dict of its fields). current_environment (str),
        total_caches (int), current_cache_exists (bool: this environment and namespace),
        b10fs_enabled (bool), error (str or None). Every key is always present.
    """
    listing: dict[str, Any] = {
        "caches": [],
        "current_environment": "",
        "total_caches": 0,
        "current_cache_exists": False,
        "b10fs_enabled": False,
        "error": None,
    }
    _fill(listing, "current_environment", _fill_listing)
    return listing


def _guard(what: str, operation: Callable[[], OperationStatus]) -> OperationStatus:
    """Turn every failure into ERROR and one line in the log."""
    try:
        import_for(what)
        return operation()
    except (CacheError, StoreError, OSError) as error:
        _logger.error("%s: %s", what, refusal(error) or error)  # noqa: TRY400  # one line is the promise
    except Exception as error:
        # A model server must start whatever is wrong with its cache, so this one place catches
        # everything.
        reason = refusal(error)
        _logger.error(  # noqa: TRY400  # the traceback is there where nobody foresaw it
            "%s: %s",
            what,
            reason or "unexpected failure; please report it",
            exc_info=None if reason else error,
        )
    return OperationStatus.ERROR


def _log_report(what: str, key: str, line: str, problems: tuple[str, ...]) -> None:
    if problems:
        _logger.warning("%s: %s; environment %s; %s", what, line, key, "; ".join(problems))
    else:
        _logger.info("%s: %s; environment %s", what, line, key)


def _clear(names: tuple[str, ...]) -> bool:
    from b10_transfer.caches.roots import ROOT_NAMES, resolve_roots, with_store
    from b10_transfer.errors import CacheValidationError
    from b10_transfer.local.clear import clear_roots
    from b10_transfer.operations.context import check_root

    settings = Settings.from_environment()
    known = dict.fromkeys(ROOT_NAMES, "") | dict(settings.roots)
    for name in names:
        if name not in known:
            raise CacheValidationError(f"no cache root {name!r}: there are {', '.join(known)}")
    roots = resolve_roots(settings.variables, {name: known[name] for name in names})
    for root in roots:
        check_root(root, settings)
    cleared = clear_roots(with_store(roots, settings.store))
    for item in cleared:
        if item.problem:
            _logger.error("clear: %s", item.problem)
        if item.note:
            _logger.warning("clear: %s", item.note)
    return not any(item.problem for item in cleared)


def _fill(
    result: dict[str, Any], key_name: str, fill: Callable[[dict[str, Any], Context], None]
) -> None:
    """Fill in what can be found out, even when the settings cannot be read."""
    try:
        import_for("look")
        from b10_transfer.machine.environment import Environment
        from b10_transfer.operations.context import open_context

        result["b10fs_enabled"] = is_enabled(os.environ)
        try:
            settings = Settings.from_environment()
        except CacheValidationError:
            result[key_name] = Environment.detect(os.environ).key
            raise
        context = open_context(settings)
        result[key_name] = context.environment.key
        fill(result, context)
    except (CacheError, StoreError, OSError) as error:
        result["error"] = refusal(error) or str(error)
    except Exception as error:
        reason = refusal(error)
        if reason is None:
            _logger.exception("unexpected failure; please report it")
        result["error"] = reason or repr(error)


def _fill_info(info: dict[str, Any], context: Context) -> None:
    from b10_transfer.local.scan import walk_roots

    info["namespace"] = context.settings.namespace
    local = [item for _, found in walk_roots(context.roots) for item in found]
    info["local_cache_exists"] = bool(local)
    info["local_cache_size_mb"] = sum(item.fingerprint.size for item in local) / MEBIBYTE
    if not context.settings.enabled:
        info["error"] = _OFF
        return
    found = context.store.listing(context.address)
    for header in found.headers:
        info["b10fs_cache_exists"] = True
        info["b10fs_cache_size_mb"] = header.summary.stored_bytes / MEBIBYTE
    info["error"] = _error_of(found)


def _fill_listing(listing: dict[str, Any], context: Context) -> None:

    if not context.settings.enabled:
        listing["error"] = _OFF
        return
    found = context.store.listing()
    listing["caches"] = [
        {
            "filename": header.name.manifest_path,
            "environment_key": header.name.address.environment_key,
            "namespace": header.name.address.namespace,
            "size_mb": header.summary.stored_bytes / MEBIBYTE,
            "is_current_environment": (
                header.name.address.environment_key == context.environment.key
            ),
            "created_time": header.name.begun_at,
            "artifacts": header.summary.artifacts,
            "environment": dict(header.lineage.environment),
        }
        for header in found.headers
    ]
    listing["total_caches"] = len(listing["caches"])
    listing["current_cache_exists"] = any(
        header.name.address == context.address for header in found.headers
    )
    listing["error"] = _error_of(found)


def _error_of(found: Listing) -> str | None:
    from b10_transfer.operations.reports import problem_lines

    return "; ".join(problem_lines(found.problems)) or None
