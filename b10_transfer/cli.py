"""The command line, `b10-transfer`: the one place that prints and exits."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from b10_transfer.errors import CacheError

if TYPE_CHECKING:
    from collections.abc import Sequence

_DONE, _FOUND_PROBLEMS, _FAILED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Returns:
        0: done, and nothing is wrong. 1: the command found problems. 2: it could not be carried out
        (argparse ends the process with 2 for arguments it does not know).
    """
    parser = argparse.ArgumentParser(
        prog="b10-transfer", description="Share compiled caches between replicas."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="say why a load does not help, and what to do")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        return _doctor(as_json=options.json)
    except CacheError as error:
        sys.stderr.write(f"b10-transfer: {error}\n")
        return _FAILED


def _doctor(*, as_json: bool) -> int:
    from b10_transfer.doctor import examine

    findings = examine()
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        width = max(len(finding.subject) for finding in findings)
        for finding in findings:
            mark = "!!" if finding.is_problem else "  "
            sys.stdout.write(f"{mark} {finding.subject:<{width}}  {finding.text}\n")
    return _FOUND_PROBLEMS if any(finding.is_problem for finding in findings) else _DONE
