"""Loading and saving: the product's policy meets the engine. Raises CacheError, returns reports."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from b10_store.errors import NoSpaceError, SizeLimitError, StoreError
from b10_transfer.context import open_context, require_enabled
from b10_transfer.errors import CacheError, CacheOperationInterrupted
from b10_transfer.loading import load_artifacts
from b10_transfer.local_space import NO_ROOM
from b10_transfer.saving import save_artifacts

if TYPE_CHECKING:
    from collections.abc import Generator

    from b10_transfer.reports import LoadReport, SaveReport
    from b10_transfer.settings import Settings


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
    require_enabled(context.settings)
    with _errors_as_cache_errors(context.settings):
        return load_artifacts(context, started)


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
    require_enabled(context.settings)
    with _errors_as_cache_errors(context.settings):
        return save_artifacts(context, started, wait=wait)


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
    except RuntimeError as error:
        # No thread can be started: at the interpreter's shutdown, or beyond the system's limit.
        raise CacheError(f"{error}; call it before the interpreter shuts down") from error
    except OSError as error:
        if error.errno in NO_ROOM:
            raise CacheOperationInterrupted(f"too little disk space: {error}") from error
        raise CacheError(f"{error} (store {settings.store})") from error
