"""`b10-compile-cache`: the program that is started beside a model server, or around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_transfer.cli.command_table import COMPANION
from b10_transfer.cli.program import main_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return main_of(COMPANION, arguments)
