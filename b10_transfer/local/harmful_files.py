"""Files that would do harm on this machine are moved aside, and come to no further harm.

A graph for another width of vectors is a hit for Inductor, and its numbers are wrong: whoever asks
for a load wants the machine ready to compute, so it must not be found. It is the user's all the
same: it goes to `.b10_transfer/aside` in the cache root, under its own path, until a clear.
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
        harmful: what is wrong with each, by path.

    Returns:
        A line on what was done, for each reason.
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
        f"{_named(folder, reason, paths)}: {_WRONG}; moved to {_aside(folder)}, and compiled again"
        for reason, paths in moved.items()
    ]
    return lines + [
        f"{_named(folder, reason, paths)}: {_WRONG}; they cannot be moved aside ({error}): choose "
        "another folder for this cache"
        for reason, paths in kept.items()
    ]


def harm_lines(folder: str, harmful: Mapping[str, str]) -> list[str]:
    """Return what to do about files that would do harm, a line for each reason."""
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
