"""`info` and `doctor`: this machine."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from b10_store import StoreError
from b10_transfer.cli import exit_codes
from b10_transfer.cli.progress_display import busy_display
from b10_transfer.cli.root_sizes import measure
from b10_transfer.cli.shown_stored import print_pairs
from b10_transfer.machine.checks import existing_folder
from b10_transfer.machine.filesystems import filesystem_of
from b10_transfer.operations.refusals import describe
from b10_transfer.operations.setting_values import setting_values
from b10_transfer.units import ago_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from b10_store import Header
    from b10_transfer.cli.call import Call
    from b10_transfer.cli.console import Part
    from b10_transfer.cli.root_sizes import RootSize
    from b10_transfer.doctor import Finding
    from b10_transfer.machine.environment import Field
    from b10_transfer.operations.context import Context


_USUAL_ROOTS = frozenset({"inductor", "triton"})
"""Roots that are shown even when they do not exist: nearly every model needs them."""


def info(call: Call) -> int:
    """Show this machine, its store and its cache roots."""
    from b10_transfer.operations.context import open_context

    context = open_context(call.settings())
    roots = [measure(root, context.settings) for root in context.roots]
    found, error = _own_header(context)
    if call.wants_json:
        call.console.json(_info_as_json(context, roots, found, error))
    else:
        _print_info(call, context, roots, found, error)
    return exit_codes.FAILED if error else exit_codes.DONE


def doctor(call: Call) -> int:
    """Explain why a load does not help."""
    from b10_transfer.doctor import examine

    # It reads the settings by itself: a setting that is wrong is a finding, too.
    os.environ.update(call.changed_variables())
    with busy_display(call.console, "looking at settings, store, mount and machine"):
        findings = examine()
    if call.wants_json:
        call.console.json([finding.as_json() for finding in findings])
    else:
        _print_findings(call, findings)
    has_problem = any(finding.is_problem for finding in findings)
    return exit_codes.PROBLEMS if has_problem else exit_codes.DONE


def _own_header(context: Context) -> tuple[Header | None, str]:
    """Return what is stored for this machine, or why that is unknown."""
    try:
        listing = context.store.listing(context.address)
    except StoreError as error:
        return None, str(error)
    except OSError as error:
        return None, describe(error, context.settings.store)
    if listing.headers:
        return listing.headers[0], ""
    return None, "; ".join(f"{item.name}: {item.reason}" for item in listing.problems)


def _info_as_json(
    context: Context, roots: list[RootSize], header: Header | None, error: str
) -> dict[str, Any]:
    settings = context.settings
    return {
        "environment_key": context.environment.key,
        "namespace": settings.namespace,
        "environment": _fields_as_json(context.environment.fields),
        "recorded": _fields_as_json(context.environment.recorded),
        "requirement": context.environment.requirement,
        "enabled": settings.enabled,
        "store": settings.store,
        "store_exists": os.path.isdir(settings.store),
        "store_writable": os.access(settings.store, os.W_OK | os.X_OK),
        "stored": None if header is None else _header_as_json(header),
        "roots": roots,
        "problems": list(context.problems),
        "error": error or None,
        "settings": [item._asdict() for item in setting_values(settings)],
        "python": sys.executable,
        "store_filesystem": _filesystem(settings.store),
    }


def _filesystem(folder: str) -> str | None:
    mounted = filesystem_of(os.path.realpath(existing_folder(folder)))
    return None if mounted is None else str(mounted)


def _fields_as_json(fields: Iterable[Field]) -> list[dict[str, str]]:
    return [{"name": item.name, "value": item.value, "source": item.source} for item in fields]


def _header_as_json(header: Header) -> dict[str, Any]:
    return {
        "filename": header.name.manifest_path,
        "saved_at": header.name.begun_at,
        "artifacts": header.summary.artifacts,
        "raw_bytes": header.summary.raw_bytes,
        "stored_bytes": header.summary.stored_bytes,
    }


def _print_info(
    call: Call,
    context: Context,
    roots: Sequence[RootSize],
    header: Header | None,
    error: str,
) -> None:
    console, settings = call.console, context.settings
    environment = context.environment
    state = "" if os.path.isdir(settings.store) else " (no such folder yet; a save makes it)"
    if not state and not os.access(settings.store, os.W_OK | os.X_OK):
        state = " (read-only here)"
    print_pairs(
        console,
        [
            ("environment key", environment.key),
            ("namespace", settings.namespace or "none"),
            ("store", f"{settings.store}{state}"),
            ("filesystem", _filesystem(settings.store) or "unknown"),
            ("python", sys.executable),
            ("cache", "on" if settings.enabled else "off: set BASETEN_FS_ENABLED=1 to use it"),
            ("stored", error or _stored_text(header)),
        ],
    )
    for title, fields in (
        ("Environment (what the key is made of)", environment.fields),
        ("Recorded (a difference may cause misses, never wrong results)", environment.recorded),
    ):
        console.line()
        console.line((title, "bold"))
        print_pairs(console, [(f"  {item.name}", item.value) for item in fields])
    console.line()
    console.line(("Settings", "bold"))
    print_pairs(console, [(f"  {item.name}", str(item)) for item in setting_values(settings)])
    console.line()
    console.line(("Cache roots", "bold"))
    shown = [item for item in roots if item.exists or item.name in _USUAL_ROOTS]
    print_pairs(console, [(f"  {item.name}", str(item)) for item in shown])
    absent = ", ".join(item.name for item in roots if item not in shown)
    if absent:
        console.paragraph(("  ",), f"do not exist yet: {absent}")
    for line in context.problems:
        console.paragraph((("!!", "yellow"), " "), line)


def _stored_text(header: Header | None) -> str:
    if header is None:
        return "nothing for this environment and namespace yet"
    summary = header.summary
    return (
        f"{summary.artifacts} artifacts, {size_text(summary.stored_bytes)} compressed, saved "
        f"{ago_text(header.name.begun_at, time.time())}"
    )


def _print_findings(call: Call, findings: Sequence[Finding]) -> None:
    from b10_transfer.doctor.findings import Severity

    marks: dict[Severity, Part] = {
        Severity.PROBLEM: ("!!", "red"),
        Severity.NOTE: (" !", "yellow"),
    }
    order = list(marks)
    width = max((len(item.subject) for item in findings), default=0)
    for item in sorted(findings, key=lambda item: order.index(item.severity)):
        first = (marks[item.severity], f" {item.subject:<{width}}  ")
        call.console.paragraph(first, item.text)
        call.console.paragraph((" " * (width + 5), "-> "), item.advice)
    if not findings:
        call.console.line("everything is in order; `b10-transfer info` shows the details")
