"""What others do with the same tree: the sticks that the product is measured with."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.calls import Took, cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Archive(NamedTuple):
    """A way to pack a tree into one file and back.

    Attributes:
        name: in tables.
        pack: the option of tar.
        unpack: the option of tar.
    """

    name: str
    pack: str
    unpack: str


COPY = "cp -r"
ZSTD = Archive("tar | zstd -T2", "--use-compress-program=zstd -T2", "--zstd")
GZIP = Archive("tar czf", "-z", "-z")


def run(*command: str | Path) -> Took:
    """Run a program and say how long it took.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    begin, before = time.perf_counter(), cpu_seconds()
    subprocess.run(command, check=True)
    return Took(time.perf_counter() - begin, cpu_seconds() - before)


def copy(tree: Path, target: Path) -> Took:
    """Copy a tree to a folder that is not there yet, or what is missing into one that is."""
    if not target.exists():
        return run("cp", "-r", tree, target)
    return run("cp", "-r", "--update", f"{tree}/.", target)


def pack(archive: Archive, tree: Path, file: Path) -> Took:
    """Pack a tree, without what the product keeps beside it."""
    left_out = "--exclude=./.b10_transfer"
    return run("tar", archive.pack, left_out, "-cf", file, "-C", tree, ".")


def unpack(archive: Archive, file: Path, target: Path) -> Took:
    """Unpack an archive into a new folder."""
    target.mkdir()
    return run("tar", archive.unpack, "-xf", file, "-C", target)


def chosen(names: Sequence[str]) -> tuple[bool, list[Archive]]:
    """Return whether to measure the copy, and which archives.

    Args:
        names: of `cp`, `zstd` and `gzip`. zstd is left out where there is no such program.
    """
    archives = [GZIP] if "gzip" in names else []
    if "zstd" in names and shutil.which("zstd") is not None:
        archives.insert(0, ZSTD)
    return "cp" in names, archives
