"""Keeping the store in order: garbage collection, checks, and taking a poisoned cache out."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store import STAGE_DISTANCE_SECONDS, CannotSignError, StoreError
from b10_transfer.errors import CacheError
from b10_transfer.keys import KEY_FILE
from b10_transfer.operations.context import errors_as_cache_errors, open_store
from b10_transfer.operations.imports import import_for
from b10_transfer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from b10_store import Address, CheckReport, GcPolicy, GcReport, Restored, Store
    from b10_transfer.operations.context import Context

_logger = logging.getLogger("b10_transfer")

_VISIT_SECONDS = 5.0
"""The longest that a visit after a save takes."""


def collect(
    settings: Settings | None = None, *, dry_run: bool = False, seconds: float = float("inf")
) -> GcReport:
    """Make one visit of the garbage collection: what nothing references comes a stage further.

    Args:
        settings: read from the environment variables by default.
        dry_run: change nothing, and tell what would be condemned.
        seconds: stop after about this long; the next visit goes on.

    Raises:
        CacheError: the store cannot be used.
    """
    with _open_store(settings) as (store, used):
        return store.collect(_policy(used), dry_run=dry_run, seconds=seconds)


def collect_until_empty(
    settings: Settings | None = None,
    *,
    on_visit: Callable[[GcReport], None] = lambda _: None,
    pause_seconds: float = STAGE_DISTANCE_SECONDS,
) -> GcReport:
    """Make visits until everything in trash is deleted: a day, at least, if there is anything.

    Args:
        settings: read from the environment variables by default.
        on_visit: called after each visit.
        pause_seconds: between two visits.

    Raises:
        CacheError: the store cannot be used.
    """
    while True:
        report = collect(settings)
        on_visit(report)
        if report.refused or not report.waiting_files:
            return report
        time.sleep(pause_seconds)


def check(
    settings: Settings | None = None,
    *,
    read_data: bool = False,
    repair: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> CheckReport:
    """Look for damage in the store; see `b10_store.check.check.check`.

    Raises:
        CacheError: the store cannot be used.
    """
    with _open_store(settings) as (store, _):
        return store.check(read_data=read_data, repair=repair, on_progress=on_progress)


def addresses(settings: Settings | None = None, *, in_trash: bool = False) -> list[Address]:
    """Every environment and namespace that something is stored for, or is in trash for.

    Raises:
        CacheError: the store cannot be used.
    """
    with _open_store(settings) as (store, _):
        return store.addresses(in_trash=in_trash)


def remove(address: Address, settings: Settings | None = None) -> int:
    """Take one environment and namespace out of the store; `restore` undoes it for a day.

    Returns:
        How many manifests went to trash.

    Raises:
        CacheError: the store cannot be used.
    """
    with _open_store(settings) as (store, _):
        return store.remove(address)


def restore(address: Address, settings: Settings | None = None) -> Restored:
    """Undo `remove`.

    Raises:
        CacheError: the store cannot be used.
    """
    with _open_store(settings) as (store, _):
        return store.restore(address)


@dataclass(slots=True)
class SignReport:
    """The result of signing a store again.

    Attributes:
        signed: environments and namespaces that the first key has signed now.
        unchanged: how many had nothing that another key of this host signed.
        failed: why an address could not be signed, by its name.
    """

    signed: list[Address] = field(default_factory=list["Address"])
    unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])


def sign_again(settings: Settings | None = None) -> SignReport:
    """Sign with the first key what the other keys of this host signed.

    An operator who changes a key does this before the old one goes. Manifests that no key of this
    host vouches for are left alone.

    Raises:
        CacheError: the store cannot be used, or there is no key here that can sign.
    """
    with _open_store(settings) as (store, used):
        if not used.signing_keys:
            raise CacheError(f"there is no key to sign with: set {KEY_FILE}")
        report = SignReport()
        for address in store.addresses():
            try:
                if store.sign_again(address):
                    report.signed.append(address)
                else:
                    report.unchanged += 1
            except CannotSignError:
                raise
            except (StoreError, OSError) as error:
                report.failed[str(address)] = str(error)
        return report


def visit_after_save(context: Context) -> None:
    """Make a short visit, if no host made one today. Never raises: the save is done."""
    if not context.settings.auto_gc:
        return
    # A RuntimeError: no thread can be started, at the interpreter's shutdown for instance.
    with contextlib.suppress(OSError, StoreError, RuntimeError):
        if not context.store.is_visit_due():
            return
        import_for("collect")
        context.store.note_visit()
        report = context.store.collect(_policy(context.settings), seconds=_VISIT_SECONDS)
        _logger.debug("gc: %s", report)


@contextlib.contextmanager
def _open_store(settings: Settings | None) -> Generator[tuple[Store, Settings]]:
    """The store alone: a host that only looks after it need not be able to use what is in it."""
    used = settings or Settings.from_environment()
    with errors_as_cache_errors(used):
        yield open_store(used), used


def _policy(settings: Settings) -> GcPolicy:
    from b10_store import GcPolicy

    return GcPolicy(settings.max_age_days * 86400.0, settings.max_store_bytes)
