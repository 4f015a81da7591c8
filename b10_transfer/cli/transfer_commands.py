"""`load` and `save`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from b10_transfer.cli import exit_codes
from b10_transfer.cli.progress_display import READING_STORE, progress_display
from b10_transfer.operations import transfer
from b10_transfer.status import OperationStatus

if TYPE_CHECKING:
    from b10_transfer.cli.call import Call
    from b10_transfer.operations.reports import LoadReport, SaveReport
    from b10_transfer.settings import Settings


_READING_HERE = "reading the cache roots"


def load(call: Call) -> int:
    """Load what is stored for this machine."""
    settings = call.settings()
    with progress_display(call.console, "loading", READING_STORE) as on_progress:
        report = transfer.load(settings, on_progress=on_progress)
    if call.wants_json:
        call.console.json(_as_json(report, settings))
    else:
        _print(call, settings, report, report.problems)
    is_miss = report.status is OperationStatus.DOES_NOT_EXIST
    return exit_codes.NOT_STORED if is_miss else exit_codes.DONE


def save(call: Call) -> int:
    """Save what is here and not stored yet."""
    settings = call.settings()
    with progress_display(call.console, "saving", _READING_HERE) as on_progress:
        report = transfer.save(
            settings, wait=call.options.wait is not False, on_progress=on_progress
        )
    if call.wants_json:
        counts = {"recompiled": report.recompiled, "left_out": report.left_out}
        call.console.json(_as_json(report, settings) | counts)
    else:
        _print(call, settings, report, report.warnings)
    return exit_codes.DONE


def _print(
    call: Call, settings: Settings, report: LoadReport | SaveReport, problems: tuple[str, ...]
) -> None:
    console = call.console
    console.paragraph((), str(report))
    namespace = f", namespace {settings.namespace}" if settings.namespace else ""
    console.paragraph((), f"environment {report.environment_key}{namespace}")
    console.paragraph((), f"store {settings.store}")
    for line in problems:
        console.paragraph((("!!", "yellow"), " "), line)


def _as_json(report: LoadReport | SaveReport, settings: Settings) -> dict[str, object]:
    # dataclasses.asdict would not use our names for the fields.
    fields = {item.name: getattr(report, item.name) for item in dataclasses.fields(report)}
    return {**fields, "namespace": settings.namespace, "store": settings.store}
