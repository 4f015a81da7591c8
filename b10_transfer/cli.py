"""The command line, `b10-transfer`: the one place that prints and exits."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import os
import sys
import time
from typing import TYPE_CHECKING

from b10_transfer.errors import CacheError, CacheValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from b10_store.gc_report import GcReport
    from b10_store.layout import Address

DONE, FOUND_PROBLEMS, FAILED = 0, 1, 2
"""Exit codes: done, and nothing is wrong; something is wrong; the command could not be carried
out (argparse ends the process with 2 for arguments that it does not know)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except CacheError as error:
        sys.stderr.write(f"b10-transfer: {error}\n")
        return FAILED
    except BrokenPipeError:
        # Whoever read the output went away; what is left of it would fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="b10-transfer",
        description="Share compiled caches between replicas.",
        epilog="The store is B10FS_CACHE_DIR. Exit codes: 0 done, 1 something is wrong, 2 failed.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[argparse.Namespace], int], summary: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)
        return command

    add("doctor", _doctor, "Say why a load does not help, and what to do.")
    gc = add("gc", _gc, "Move what nothing references to trash; delete what was there for a day.")
    gc.add_argument("--dry-run", action="store_true", help="change nothing")
    gc.add_argument("--wait", action="store_true", help="stay until trash is empty: over a day")
    check = add("check", _check, "Look for damage in the store.")
    check.add_argument("--read-data", action="store_true", help="read every byte of every pack")
    check.add_argument(
        "--repair",
        action="store_true",
        help="put intact packs back from trash, move damaged files to quarantine",
    )
    remove = add("remove", _remove, "Take one environment and namespace out of the store.")
    remove.add_argument(
        "address",
        metavar="KEY[.NAMESPACE]",
        help="environment key, or the first digits of it, and the namespace",
    )
    remove.add_argument("--undo", action="store_true", help="put it back, for a day")
    return parser


def _doctor(options: argparse.Namespace) -> int:
    from b10_transfer.doctor import examine

    findings = examine()
    if options.json:
        _print_json(findings)
    else:
        width = max((len(finding.subject) for finding in findings), default=0)
        for finding in findings:
            mark = "!!" if finding.is_problem else "  "
            _print(f"{mark} {finding.subject:<{width}}  {finding.text}")
    return FOUND_PROBLEMS if any(finding.is_problem for finding in findings) else DONE


def _gc(options: argparse.Namespace) -> int:
    from b10_transfer import upkeep

    show = _print_json if options.json else _print_visit
    if options.wait and not options.dry_run:
        # A line each, since nobody waits for the end of a document for a day.
        report = upkeep.collect_until_empty(on_visit=_print_json_line if options.json else show)
    else:
        report = upkeep.collect(dry_run=options.dry_run)
        show(report)
    return FOUND_PROBLEMS if report.refused else DONE


def _print_visit(report: GcReport) -> None:
    for reason in report.refused:
        _print(f"nothing was condemned or deleted: {reason}")
    _print(
        f"to trash: {report.condemned_packs} packs ({report.condemned_bytes / 1e6:.1f} MB), "
        f"{report.superseded} superseded manifests, {len(report.expired)} expired environments"
    )
    for address in report.expired:
        _print(f"  expired: {address}")
    _print(
        f"deleted: {report.freed_files} files ({report.freed_bytes / 1e6:.1f} MB); "
        f"put back: {report.restored} packs; written anew: {report.rewritten_bytes / 1e6:.1f} MB; "
        f"fenced: {report.fenced} sessions; "
        f"swept: {report.swept} leftovers"
    )
    if report.waiting_files:
        when = "once a visit has closed its folder"
        if report.free_at is not None:
            when = time.strftime("from %Y-%m-%d %H:%M UTC on", time.gmtime(report.free_at))
        _print(f"in trash: {report.waiting_files} files; they may be deleted {when}")
    if not report.is_complete:
        _print("there was no time for everything; the next visit goes on")


def _check(options: argparse.Namespace) -> int:
    from b10_transfer import upkeep

    report = upkeep.check(read_data=options.read_data, repair=options.repair)
    if options.json:
        _print_json(report)
    else:
        for fault in report.faults:
            done = f"; {fault.repaired}" if fault.repaired else ""
            _print(f"!! {fault.name}: {fault.damage.value}: {fault.reason}{done}")
        verified = f", {report.verified_bytes / 1e6:.1f} MB verified" if options.read_data else ""
        _print(
            f"{report.manifests} manifests and {report.packs} packs are intact{verified}; "
            f"{len(report.faults)} faults"
        )
        if report.faults and not options.repair:
            _print("--repair puts back what trash still has, and moves what is damaged aside")
    return FOUND_PROBLEMS if report.faults else DONE


def _remove(options: argparse.Namespace) -> int:
    from b10_transfer import upkeep

    address = _find_address(options.address, in_trash=options.undo)
    if options.undo:
        restored = upkeep.restore(address)
        if options.json:
            _print_json(restored)
        else:
            _print(
                f"{address}: {restored.manifests} manifests and {restored.packs} packs are back; "
                f"{restored.missing} packs are gone"
            )
            for name in restored.unusable:
                _print(f"!! {name}: damaged; it stays in trash")
        is_whole = restored.manifests and not restored.missing and not restored.unusable
        return DONE if is_whole else FOUND_PROBLEMS
    moved = upkeep.remove(address)
    if options.json:
        _print_json({"address": str(address), "manifests": moved})
    else:
        _print(f"{address}: {moved} manifests are in trash; --undo puts them back, for a day")
    return DONE if moved else FOUND_PROBLEMS


def _find_address(text: str, *, in_trash: bool) -> Address:
    """The one stored address that begins so; the namespace has to be given in full."""
    from b10_transfer import upkeep

    key, _, namespace = text.partition(".")
    known = upkeep.addresses(in_trash=in_trash)
    found = [
        address
        for address in known
        if address.environment_key.startswith(key) and address.namespace == namespace
    ]
    if len(found) == 1 and key:
        return found[0]
    if not found:
        there = ", ".join(str(address) for address in known) or "nothing"
        where = "in trash" if in_trash else "stored"
        raise CacheValidationError(f"there is no {text!r} {where}; there is: {there}")
    matching = ", ".join(str(address) for address in found)
    raise CacheValidationError(f"{text!r} could be any of: {matching}")


def _print(line: str) -> None:
    # Folders have any name, and terminals not every letter.
    encoding = sys.stdout.encoding
    sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def _print_json(value: object) -> None:
    _print(json.dumps(value, indent=2, default=_plain))


def _print_json_line(value: object) -> None:
    _print(json.dumps(value, default=_plain))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    return value.name.lower() if isinstance(value, enum.Enum) else str(value)
