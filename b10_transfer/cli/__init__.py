"""The command line, `b10-transfer`: the only place that prints and exits."""

from __future__ import annotations

from b10_transfer.cli.program import main

__all__ = ["main"]
