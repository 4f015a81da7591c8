"""Keep the store in order: garbage collection, checks, removal of a harmful cache."""

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
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from b10_store import Address, CheckReport, GcPolicy, GcReport, Restored, Store
    from b10_transfer.operations.context import Context

_logger = logging.getLogger("b10_transfer")

_VISIT_SECONDS = 5.0
"""The time limit, in seconds, of a visit after a save."""


def collect(
    settings: Settings | None = None, *, dry_run: bool = False, seconds: float = float("inf")
) -> GcReport:
    """Make one visit of the garbage collection, which moves unreferenced files one stage on.

    Args:
        settings: read from the environment variables by default.
        dry_run: change nothing, and report what would be moved to trash.
        seconds: stop after about this time; the next visit goes on.

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
    """Make visits until everything in trash is deleted, which takes at least a day.

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
    """Return every environment and namespace with manifests in the store or in trash.

    Raises:
        CacheError: the store cannot be used.
    """
    with _open_store(settings) as (store, _):
        return store.addresses(in_trash=in_trash)


def remove(address: Address, settings: Settings | None = None) -> int:
    """Remove one environment and namespace from the store; `restore` undoes it for a day.

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
        signed: the environments and namespaces that the first key has signed now.
        unchanged: how many had nothing that another key of this host had signed.
        failed: why an address could not be signed, by the address.
    """

    signed: list[Address] = field(default_factory=list["Address"])
    unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])


def sign_again(settings: Settings | None = None) -> SignReport:
    """Sign with the first key what the other keys of this host signed.

    An operator who changes a key does this before removing the old one. Manifests that no key of
    this host signed are left alone.

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
    """Make a short visit, if no host made one today. Never raises, since the save is done."""
    if not context.settings.auto_gc:
        return
    # RuntimeError: no thread can be started, as at the interpreter's shutdown.
    with contextlib.suppress(OSError, StoreError, RuntimeError):
        if not context.store.is_visit_due():
            return
        import_for("collect")
        context.store.note_visit()
        report = context.store.collect(_policy(context.settings), seconds=_VISIT_SECONDS)
        _logger.debug("gc: %s", report)
        if report.damaged:
            _logger.warning(
                "gc: %s in the store: run `b10-transfer check --read-data --repair` (%s)",
                count_text(len(report.damaged), "damaged pack"),
                report.damaged[0],
            )


@contextlib.contextmanager
def _open_store(settings: Settings | None) -> Generator[tuple[Store, Settings]]:
    """Open only the store: a host that cleans it up need not be able to use its content."""
    used = settings or Settings.from_environment()
    with errors_as_cache_errors(used):
        yield open_store(used), used


def _policy(settings: Settings) -> GcPolicy:
    from b10_store import GcPolicy

    return GcPolicy(settings.max_age_days * 86400.0, settings.max_store_bytes)
