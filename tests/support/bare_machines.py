"""Machines with few programs, and what reports say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def programs(folder: Path, *names: str) -> str:
    """A PATH with these programs and no others; none of them does anything."""
    folder.mkdir()
    for name in names:
        program = folder / name
        program.write_text("#!/bin/sh\nexit 1\n")
        program.chmod(0o755)
    return str(folder)


def ordinary_programs(folder: Path) -> str:
    """A PATH with everything that Inductor runs."""
    return programs(folder, "g++", "openssl")


def lines_about(problems: tuple[str, ...], *parts: str) -> list[str]:
    """The lines that have all of the parts in them."""
    return [line for line in problems if all(part in line for part in parts)]
