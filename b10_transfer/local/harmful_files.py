"""Move files aside that would do harm on this machine.

A graph for another vector width is a hit for Inductor, and its numbers are wrong. A user who loads
wants a machine that computes, so the compiler must not find it. Since the file still belongs to the
user, it is moved, under its own path, to `.b10_transfer/aside` in the cache root, until a clear.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

from b10_store import RECORD_FOLDER, open_folder
from b10_transfer.local.lock import make_own_folder
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from collections.abc import Mapping

ASIDE = "aside"
_PRIVATE = 0o700
_WRONG = "they give wrong numbers here, or end the process"


def move_aside(folder: str, harmful: Mapping[str, str]) -> list[str]:
    """Move files out of a cache root, to where no compiler looks.

    Args:
        folder: the cache root.
        harmful: what is wrong with each file, by path.

    Returns:
        A line about what was done, for each reason.
    """
    moved: defaultdict[str, list[str]] = defaultdict(list)
    kept: defaultdict[str, list[str]] = defaultdict(list)
    error = ""
    for path, reason in sorted(harmful.items()):
        try:
            _move(folder, path)
        except FileNotFoundError:
            continue
        except OSError as failure:
            error = failure.strerror or str(failure)
            kept[reason].append(path)
        else:
            moved[reason].append(path)
    lines = [
        f"{_named(folder, reason, paths)}: {_WRONG}; they were moved to {_aside(folder)}, and "
        "will be compiled again"
        for reason, paths in moved.items()
    ]
    return lines + [
        f"{_named(folder, reason, paths)}: {_WRONG}; they cannot be moved aside ({error}): choose "
        "another folder for this cache"
        for reason, paths in kept.items()
    ]


def harm_lines(folder: str, harmful: Mapping[str, str]) -> list[str]:
    """Return a line for each reason about files that would do harm, with what to do."""
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for path, reason in sorted(harmful.items()):
        paths[reason].append(path)
    return [
        f"{_named(folder, reason, those)}: {_WRONG}; `b10-transfer load` moves them aside"
        for reason, those in paths.items()
    ]


def _aside(folder: str) -> str:
    return os.path.join(folder, RECORD_FOLDER, ASIDE)


def _named(folder: str, reason: str, paths: list[str]) -> str:
    return f"{count_text(len(paths), 'file')} in {folder} (first: {paths[0]}) {reason}"


def _move(folder: str, path: str) -> None:
    above, _, name = path.rpartition("/")
    place = os.path.join(make_own_folder(folder), ASIDE, above)
    os.makedirs(place, _PRIVATE, exist_ok=True)
    with open_folder(place) as target, open_folder(folder) as root, root.enter(above) as source:
        os.rename(
            source.at(name), target.at(name), src_dir_fd=source.handle, dst_dir_fd=target.handle
        )
