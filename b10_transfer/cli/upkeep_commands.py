"""`gc`, `check` and `remove`: keep the store in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from b10_store import STAGE_DISTANCE_SECONDS
from b10_transfer.cli import exit_codes
from b10_transfer.cli.addresses import find_address
from b10_transfer.cli.call import NotStoredError
from b10_transfer.cli.progress_display import busy_display, count_display
from b10_transfer.operations import upkeep
from b10_transfer.units import count_text, date_text, size_text, span_text

if TYPE_CHECKING:
    from b10_store import Address, GcReport
    from b10_transfer.cli.call import Call
    from b10_transfer.cli.console import Console
    from b10_transfer.settings import Settings


def gc(call: Call) -> int:
    """Make one visit of the garbage collection, or visits until nothing is left to do."""
    settings, console = call.settings(), call.console
    _require_folder(settings)

    def show(report: GcReport) -> None:
        if call.wants_json:
            # Several visits print a line each, since nobody waits a day for the end of a document.
            console.json(report, in_a_line=is_long)
        else:
            _print_visit(console, report)
            if is_long and report.waiting_files and not report.refused:
                console.note(f"waiting: the next visit is in {span_text(STAGE_DISTANCE_SECONDS)}")

    is_long = call.options.wait and not call.options.dry_run
    if is_long:
        report = upkeep.collect_until_empty(settings, on_visit=show)
    else:
        with busy_display(console, "looking for unreferenced files"):
            report = upkeep.collect(settings, dry_run=call.options.dry_run)
        show(report)
    return exit_codes.PROBLEMS if report.refused or report.damaged else exit_codes.DONE


def check(call: Call) -> int:
    """Look for damage."""
    console, repair, settings = call.console, bool(call.options.repair), call.settings()
    _require_folder(settings)
    with count_display(console, "verifying") as on_progress:
        report = upkeep.check(
            settings,
            read_data=call.options.read_data,
            repair=repair,
            on_progress=on_progress,
        )
    if call.wants_json:
        console.json(report)
        return exit_codes.PROBLEMS if report.faults else exit_codes.DONE
    for fault in report.faults:
        done = f"; {fault.repaired}" if fault.repaired else ""
        console.paragraph(
            (("!!", "red"), " "),
            f"{fault.name}: {fault.damage.value}: {fault.reason}{done}",
        )
    verified = f", {size_text(report.verified_bytes)} verified" * bool(call.options.read_data)
    console.paragraph(
        (),
        f"{count_text(report.manifests, 'manifest')} and {count_text(report.packs, 'pack')} "
        f"intact{verified}; {count_text(len(report.faults), 'fault')}",
    )
    if report.faults and not repair:
        console.paragraph(
            (), "--repair puts back what trash still has, and moves damaged files aside"
        )
    return exit_codes.PROBLEMS if report.faults else exit_codes.DONE


def remove(call: Call) -> int:
    """Take one environment and namespace out of the store, or put it back."""
    settings, is_undo = call.settings(), bool(call.options.undo)
    address = find_address(
        call.options.address,
        upkeep.addresses(settings, in_trash=is_undo),
        namespace=call.options.namespace,
        where="in trash" if is_undo else "stored",
    )
    if is_undo:
        return _restore(call, settings, address)
    moved = upkeep.remove(address, settings)
    if call.wants_json:
        call.console.json({"address": str(address), "manifests": moved})
    else:
        call.console.paragraph(
            (),
            f"{address}: {count_text(moved, 'manifest')} moved to trash; --undo puts them back, "
            "for a day. A host that still has the files in its cache folders saves them again: "
            "run `b10-transfer clear` there first",
        )
    return exit_codes.DONE if moved else exit_codes.NOT_STORED


def _require_folder(settings: Settings) -> None:
    if not os.path.lexists(settings.store):
        raise NotStoredError(f"there is no folder {settings.store}: nothing is stored there")


def _restore(call: Call, settings: Settings, address: Address) -> int:
    restored = upkeep.restore(address, settings)
    if call.wants_json:
        call.console.json(
            {
                "address": str(address),
                "manifests": restored.manifests,
                "packs": restored.packs,
                "missing": restored.missing,
                "unusable": restored.unusable,
            }
        )
    else:
        gone = f"; {count_text(restored.missing, 'pack')} gone" * bool(restored.missing)
        call.console.paragraph(
            (),
            f"{address}: {count_text(restored.manifests, 'manifest')} and "
            f"{count_text(restored.packs, 'pack')} back{gone}",
        )
        for name in restored.unusable:
            call.console.paragraph((("!!", "red"), " "), f"{name}: damaged; it stays in trash")
    is_whole = restored.manifests and not restored.missing and not restored.unusable
    return exit_codes.DONE if is_whole else exit_codes.PROBLEMS


def _print_failures(console: Console, report: GcReport) -> None:
    for reason in report.refused:
        console.paragraph((("!!", "red"), " "), f"nothing was moved to trash or deleted: {reason}")
    for fault in report.damaged:
        console.paragraph((("!!", "red"), " "), f"{fault}: run `check --read-data --repair`")
    for reason in report.unwritten:
        console.paragraph(((" !", "yellow"), " "), f"not repacked: {reason}")


def _print_visit(console: Console, report: GcReport) -> None:
    _print_failures(console, report)
    for text in _visit_lines(report):
        console.paragraph((), text)
    for address in report.expired:
        console.line(f"  expired: {address}")
    if report.waiting_files:
        when = "a day after the next visits"
        if report.free_at is not None:
            when = f"from {date_text(report.free_at)} on"
        console.paragraph(
            (), f"in trash: {count_text(report.waiting_files, 'file')}, to be deleted {when}"
        )
    if not report.is_complete:
        console.line("the time was too short for everything; the next visit goes on")


def _visit_lines(report: GcReport) -> list[str]:
    moved = [
        (
            report.trashed_packs,
            f"{count_text(report.trashed_packs, 'pack')} ({size_text(report.trashed_bytes)})",
        ),
        (report.superseded, count_text(report.superseded, "superseded manifest")),
        (len(report.expired), count_text(len(report.expired), "expired environment")),
    ]
    done = [
        (
            report.freed_files,
            f"deleted {count_text(report.freed_files, 'file')} ({size_text(report.freed_bytes)})",
        ),
        (report.restored, f"put back {count_text(report.restored, 'pack')}"),
        (report.rewritten_bytes, f"repacked {size_text(report.rewritten_bytes)}"),
        (report.verified_bytes, f"verified {size_text(report.verified_bytes)}"),
        (report.fenced, f"fenced {count_text(report.fenced, 'session')}"),
        (report.swept, f"swept {count_text(report.swept, 'leftover')}"),
    ]
    to_trash = ", ".join(text for count, text in moved if count)
    others = ", ".join(text for count, text in done if count)
    return [f"to trash: {to_trash or 'nothing'}", *([others] if others else [])]
