"""The folders in trash/, each between filled and deleted."""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from b10_store.format.names import (
    STAGE_DISTANCE_SECONDS,
    TRASH_SECONDS,
    is_leftover,
    parse_manifest_name,
    parse_pack_name,
)
from b10_store.remote.folder_names import TRASH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from b10_store.remote.protocol import Remote


NOBODY = "nobody"
"""The name of an empty file beside an empty list of witnessed sessions."""


class Stage(enum.IntEnum):
    """The stage of a trash folder. Each stage except the first leaves a file of its name.

    Attributes:
        FILLING: files are moved into it.
        FILLED: no more files are moved into it.
        WITNESSED: the sessions that might rely on its files are written down.
        FENCED: none of these sessions exists any more.
    """

    FILLING = 0
    FILLED = 1
    WITNESSED = 2
    FENCED = 3

    @property
    def mark(self) -> str:
        """The name of the file that marks the stage."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class TrashFolder:
    """A trash folder, as read at one moment.

    Attributes:
        name: its name below trash/.
        files: packs and manifests in it.
        marks: when each stage was reached, in seconds since the epoch, by the store's filesystem.
        leftovers: temporary files of processes that died.
    """

    name: str
    files: frozenset[str]
    marks: Mapping[Stage, float]
    leftovers: frozenset[str] = frozenset()

    @property
    def stage(self) -> Stage:
        """The last stage reached."""
        return max(self.marks, default=Stage.FILLING)

    @property
    def path(self) -> str:
        """The folder's name in the store."""
        return f"{TRASH}/{self.name}"

    def due_at(self) -> float:
        """When its next stage may be taken (I6), in seconds since the epoch."""
        if self.stage is Stage.FILLING:
            return 0.0
        due = self.marks[self.stage] + STAGE_DISTANCE_SECONDS
        if self.stage is Stage.FILLED:
            due += STAGE_DISTANCE_SECONDS
        if self.stage is Stage.FENCED:
            filled = self.marks.get(Stage.FILLED, self.marks[self.stage])
            due = max(due, filled + TRASH_SECONDS)
        return due

    def is_due(self, now: float) -> bool:
        """Whether its next stage may be taken."""
        return now >= self.due_at()


def read_trash(remote: Remote, may_go_on: Callable[[], bool] = lambda: True) -> list[TrashFolder]:
    """Return the folders in trash/ by name, the oldest first.

    Args:
        remote: the store.
        may_go_on: asked before each folder; when it returns False, the rest is left out.

    Raises:
        OSError: a folder cannot be listed.
    """
    names = sorted(name[:-1] for name in remote.list(TRASH) if name.endswith("/"))
    folders: list[TrashFolder] = []
    for name in names:
        if not may_go_on():
            break
        # If it vanishes meanwhile, another visit has adopted it and goes on with it.
        with contextlib.suppress(FileNotFoundError):
            folders.append(_read_folder(remote, name))
    return folders


def _read_folder(remote: Remote, name: str) -> TrashFolder:
    listed = remote.list(f"{TRASH}/{name}")
    stages = [stage for stage in Stage if stage and stage.mark in listed]
    return TrashFolder(
        name=name,
        files=frozenset(
            item
            for item in listed
            if parse_pack_name(item) is not None or parse_manifest_name(item) is not None
        ),
        marks={stage: remote.stat(f"{TRASH}/{name}/{stage.mark}").mtime for stage in stages},
        leftovers=frozenset(item for item in listed if item == NOBODY or is_leftover(item)),
    )
