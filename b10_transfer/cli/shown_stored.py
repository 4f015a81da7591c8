"""One environment and namespace, described for people."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from b10_transfer.cli.tables import Column, print_table
from b10_transfer.units import ago_text, count_text, date_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b10_transfer.cli.console import Console
    from b10_transfer.operations.inspect import Details
    from b10_transfer.settings import Settings

_COLUMNS = (
    Column("ROOT", least=8),
    Column("KIND", least=8),
    Column("ARTIFACTS", right=True),
    Column("SIZE", right=True, rank=1),
    Column("STORED", right=True),
)


def print_shown(console: Console, shown: Details, settings: Settings) -> None:
    """Print everything that is known about it."""
    row = shown.row
    print_pairs(console, list(_facts(shown, settings)))
    _title(console, "Environment")
    print_pairs(console, [(f"  {name}", value) for name, value in row.environment.items()])
    recorded = shown.heads[0].lineage.recorded
    if recorded:
        _title(console, "Recorded by the last save (a difference may cause misses)")
        print_pairs(console, [(f"  {name}", value) for name, value in recorded])
    _title(console, "Artifacts")
    cells = [
        (
            item.root,
            item.kind,
            str(item.artifacts),
            size_text(item.raw_bytes),
            size_text(item.stored_bytes),
        )
        for item in shown.kinds
    ]
    print_table(console, _COLUMNS, cells, indent="  ")
    _title(console, count_text(len(shown.heads), "manifest"))
    for head in shown.heads:
        signed = ", signed" if head.is_signed else ""
        console.paragraph(("  ",), head.filename)
        console.paragraph(
            ("    ",), f"{head.artifacts} artifacts, saved {date_text(head.saved_at)}{signed}"
        )
        for parent in head.lineage.parents:
            console.paragraph(("    ",), f"parent {parent}")
    for problem in shown.problems:
        console.note(f"{problem.name}: {problem.reason}")


def print_pairs(console: Console, pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, in two columns."""
    listed = list(pairs)
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        console.paragraph(((name.ljust(width), "dim"), "  "), value)


def _facts(shown: Details, settings: Settings) -> Iterable[tuple[str, str]]:
    row, totals, now = shown.row, shown.totals, time.time()
    here = " (this machine's)" if row.is_this_environment else ""
    yield "environment key", f"{row.address.environment_key}{here}"
    yield "namespace", row.address.namespace or "none"
    yield "store", settings.store
    yield "saved", f"{ago_text(row.saved_at, now)}, {date_text(row.saved_at)}"
    if row.last_load_at is None:
        yield "last load", "none noted; loads within a day of the save are not noted"
    else:
        yield "last load", f"{ago_text(row.last_load_at, now)}, {date_text(row.last_load_at)}"
    yield "signed", "yes" if row.is_signed else "no"
    yield "artifacts", f"{totals.artifacts}, {size_text(totals.raw_bytes)}"
    repeated = totals.artifacts - totals.blobs
    spared = size_text(totals.raw_bytes - totals.blob_bytes)
    once = f"; {repeated} have the same bytes as others ({spared} spared)" if repeated else ""
    yield (
        "stored as",
        (f"{count_text(totals.blobs, 'blob')}, {size_text(totals.stored_bytes)} compressed{once}"),
    )
    yield "packs", f"{totals.packs}, {size_text(totals.pack_bytes)}"
    if row.shared_bytes is not None and row.exclusive_bytes is not None:
        yield (
            "shared",
            (
                f"{size_text(row.shared_bytes)} in packs that others reference too; removing this "
                f"frees {size_text(row.exclusive_bytes)}"
            ),
        )
    if shown.superseded:
        yield "superseded", f"{count_text(shown.superseded, 'older manifest')}, until the next gc"


def _title(console: Console, text: str) -> None:
    console.line()
    console.line((text, "bold"))
