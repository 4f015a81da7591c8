"""Findings about files in the cache roots that another machine made."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from b10_transfer.doctor.findings import note, problem
from b10_transfer.local.harmful_files import harm_lines
from b10_transfer.local.root_origin import peek
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from b10_transfer.doctor.findings import Finding
    from b10_transfer.doctor.roots import LocalRoot
    from b10_transfer.machine.environment import Environment


def origin_findings(roots: Iterable[LocalRoot], environment: Environment) -> Iterator[Finding]:
    """Report files that would do harm here, and files that are not saved for their origin."""
    for root, found in roots:
        origin = peek(root, found, environment)
        for line in harm_lines(root.folder, origin.harmful):
            fact, _, advice = line.rpartition("; ")
            yield problem("root.harmful", root.name, fact, advice, files=sorted(origin.harmful))
        counts = Counter(
            reason for path, reason in origin.left_out.items() if path not in origin.harmful
        )
        for reason, count in sorted(counts.items()):
            yield note(
                "root.other_machine",
                root.name,
                f"{count_text(count, 'file')} in {root.folder}: {reason}; not saved",
                "run `b10-transfer clear`: the compilers then make everything here",
                files=count,
            )
