"""`list` and `show`: what is in the store."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from typing import TYPE_CHECKING, Any

from b10_store import StoreError
from b10_transfer.cli import exit_codes
from b10_transfer.cli.addresses import find_address, own_address
from b10_transfer.cli.call import NotStoredError
from b10_transfer.cli.progress_display import busy_display
from b10_transfer.cli.shown_stored import print_shown
from b10_transfer.cli.tables import Column, print_table
from b10_transfer.errors import CacheError
from b10_transfer.operations import inspect as inspection
from b10_transfer.operations.refusals import describe
from b10_transfer.units import short_span_text, size_text

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from b10_store import Address, Problem
    from b10_transfer.cli.call import Call
    from b10_transfer.operations.inspect import Catalogue, Details
    from b10_transfer.operations.listing import Listed
    from b10_transfer.settings import Settings

_SHORTEST_KEY = 12

_COLUMNS = (
    Column(""),
    Column("KEY"),
    Column("NAMESPACE", least=12, rank=1),
    Column("DEVICE", least=8, rank=6),
    Column("TORCH", rank=7),
    Column("AGE", right=True, rank=2),
    Column("USED", right=True, rank=4),
    Column("ARTIFACTS", right=True, rank=5),
    Column("STORED", right=True),
    Column("SHARED", right=True, rank=3),
)


def list_all(call: Call) -> int:
    """List everything."""
    settings = call.settings()
    if call.options.keys:
        return _list_keys(call, settings)
    current = own_address(settings)
    with _errors_of(settings), busy_display(call.console, "reading the store"):
        catalogue = inspection.list_stored(settings, current)
    exists = os.path.lexists(settings.store)
    if call.wants_json:
        call.console.json(_catalogue_as_json(catalogue, settings, current, exists=exists))
    else:
        _print_catalogue(call, catalogue, settings, current, exists=exists)
    return exit_codes.DONE if exists else exit_codes.NOT_STORED


def show(call: Call) -> int:
    """Show one environment and namespace, this machine's by default."""
    settings = call.settings()
    current = own_address(settings)
    address = current
    if call.options.address is not None:
        with _errors_of(settings):
            known = inspection.list_addresses(settings)
        address = find_address(call.options.address, known, namespace=call.options.namespace)
    if address is None:
        raise CacheError("the environment of this machine cannot be found out: give a key")
    with _errors_of(settings), busy_display(call.console, "reading the store"):
        shown = inspection.show_stored(settings, address, current)
    if shown is None:
        raise NotStoredError(
            f"nothing is stored for this environment ({address}): `b10-transfer list` shows what "
            "is stored, and `b10-transfer doctor` explains why this is not"
        )
    if call.wants_json:
        call.console.json(_shown_as_json(shown, settings))
    else:
        print_shown(call.console, shown, settings)
    return exit_codes.DONE


@contextlib.contextmanager
def _errors_of(settings: Settings) -> Generator[None]:
    try:
        yield
    except StoreError as error:
        raise CacheError(str(error)) from error
    except OSError as error:
        raise CacheError(describe(error, settings.store)) from error


def _list_keys(call: Call, settings: Settings) -> int:
    with _errors_of(settings):
        known = [str(address) for address in inspection.list_addresses(settings)]
    if call.wants_json:
        call.console.json(known)
    else:
        for address in known:
            call.console.line(address)
    return exit_codes.DONE if os.path.lexists(settings.store) else exit_codes.NOT_STORED


def _print_catalogue(
    call: Call, catalogue: Catalogue, settings: Settings, current: Address | None, *, exists: bool
) -> None:
    console = call.console
    rows = catalogue.rows
    if rows:
        digits = None if console.width is None else _telling_digits(rows)
        print_table(
            console,
            _COLUMNS,
            [_cells(row, digits) for row in rows],
            highlighted=frozenset(place for place, row in enumerate(rows) if row.is_current),
        )
        console.line()
        packs = (
            "" if catalogue.pack_bytes is None else f", {size_text(catalogue.pack_bytes)} in all"
        )
        console.paragraph((), f"{len(rows)} stored in {settings.store}{packs}")
    elif exists:
        nothing = "nothing usable is" if catalogue.problems else "nothing is"
        console.paragraph((), f"{nothing} stored in {settings.store}")
    else:
        console.paragraph((), f"there is no folder {settings.store} yet; a save makes it")
    if rows and current is not None and not any(row.is_current for row in rows):
        console.paragraph(
            (), f"nothing for this machine ({current}); `b10-transfer doctor` explains why"
        )
    for problem in catalogue.problems:
        console.note(f"{problem.name}: {problem.reason}")
    if not settings.enabled:
        console.note("the cache is off here: set BASETEN_FS_ENABLED=1 to use it")


def _telling_digits(rows: Sequence[Listed]) -> int:
    """Return how many digits tell all keys apart, but no fewer than the usual number."""
    keys = {row.address.environment_key for row in rows}
    for digits in range(_SHORTEST_KEY, 32):
        if len({key[:digits] for key in keys}) == len(keys):
            return digits
    return 32


def _cells(row: Listed, digits: int | None) -> list[str]:
    now = time.time()
    return [
        "*" if row.is_current else "+" if row.is_this_environment else "",
        row.address.environment_key[:digits],
        row.address.namespace or "-",
        _device(row),
        row.environment.get("torch", "?"),
        short_span_text(now - row.saved_at),
        short_span_text(now - row.last_used_at),
        str(row.artifacts),
        size_text(row.stored_bytes),
        "?" if row.shared_bytes is None else size_text(row.shared_bytes),
    ]


def _device(row: Listed) -> str:
    device = row.environment.get("device")
    if device is None:
        return f"CPU {row.environment.get('vector_isa', '')}".strip()
    return device.removeprefix("NVIDIA ")


def _catalogue_as_json(
    catalogue: Catalogue, settings: Settings, current: Address | None, *, exists: bool
) -> dict[str, Any]:
    return {
        "store": settings.store,
        "exists": exists,
        "enabled": settings.enabled,
        "environment_key": None if current is None else current.environment_key,
        "namespace": settings.namespace,
        "pack_bytes": catalogue.pack_bytes,
        "stored": [_row_as_json(row) for row in catalogue.rows],
        "problems": _problems_as_json(catalogue.problems),
    }


def _row_as_json(row: Listed) -> dict[str, Any]:
    fields = {item.name: getattr(row, item.name) for item in dataclasses.fields(row)}
    del fields["address"]
    return {
        "address": str(row.address),
        "environment_key": row.address.environment_key,
        "namespace": row.address.namespace,
        **fields,
    }


def _problems_as_json(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [{"name": problem.name, "reason": problem.reason} for problem in problems]


def _shown_as_json(shown: Details, settings: Settings) -> dict[str, Any]:
    newest = shown.heads[0].lineage
    return {
        **_row_as_json(shown.row),
        "store": settings.store,
        "recorded": dict(newest.recorded),
        "totals": shown.totals,
        "kinds": shown.kinds,
        "manifests": [
            {
                "filename": head.filename,
                "saved_at": head.saved_at,
                "is_signed": head.is_signed,
                "artifacts": head.artifacts,
                "parents": list(head.lineage.parents),
                "ancestors": list(head.lineage.ancestors),
            }
            for head in shown.heads
        ],
        "superseded": shown.superseded,
        "problems": _problems_as_json(shown.problems),
    }
