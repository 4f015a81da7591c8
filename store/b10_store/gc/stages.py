"""The stages of a trash folder, from filled to deleted; see `b10_store.gc.visit`."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, cast

from b10_store.format.names import (
    OLDEST_SESSION_SECONDS,
    STAGE_DISTANCE_SECONDS,
    STALE_SESSION_SECONDS,
    SnapshotName,
    age,
    new_snapshot_id,
    pack_path,
    parse_pack_name,
    parse_session_name,
)
from b10_store.gc.trash import NOBODY, Stage, TrashFolder
from b10_store.remote.folder_names import FENCED, SESSIONS, TRASH
from b10_store.remote.protocol import exists, read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.format.names import PackId
    from b10_store.gc.report import GcReport
    from b10_store.remote.protocol import Remote

_WITNESS_LIMIT = 16 << 20


class Stages:
    """Advances trash folders, for one visit."""

    def __init__(self, remote: Remote, report: GcReport, may_go_on: Callable[[], bool]) -> None:
        """Do nothing yet.

        Args:
            remote: the store.
            report: counts what is done.
            may_go_on: asked before each file that is deleted.
        """
        self._remote = remote
        self._report = report
        self._may_go_on = may_go_on

    def advance(self, folder: TrashFolder, now: float) -> None:
        """Advance a folder by one stage, if that is witness or fence."""
        # If it is gone, another visit has adopted it and goes on with it.
        with contextlib.suppress(FileNotFoundError):
            if folder.stage is Stage.FILLED:
                self._witness(folder)
            elif folder.stage is Stage.WITNESSED:
                self._fence(folder, now)

    def restart(self, folder: TrashFolder, now: float) -> None:
        """Let a stage that was reached in the future begin now, since it would never end.

        Unlike elsewhere, a time in the future does not count as the past: a stage that is too short
        could lose blobs.
        """
        for stage, reached in folder.marks.items():
            if reached > now + STAGE_DISTANCE_SECONDS:
                with contextlib.suppress(FileNotFoundError):
                    self._remote.touch(f"{folder.path}/{stage.mark}")

    def adopt(self, folder: TrashFolder) -> TrashFolder | None:
        """Adopt a folder for this visit; return None when another visit was faster."""
        name = str(new_snapshot_id(self._remote.now()))
        try:
            self._remote.rename(folder.path, f"{TRASH}/{name}")
        except OSError:
            return None
        return TrashFolder(name, folder.files, folder.marks, folder.leftovers)

    def empty(self, folder: TrashFolder, referenced: frozenset[PackId]) -> None:
        """Delete the files in an adopted folder; put referenced ones back.

        Args:
            folder: the adopted folder.
            referenced: the packs that all manifests, read after the adoption, reference.
        """
        for item in sorted(folder.files):
            if not self._may_go_on():
                return
            pack = parse_pack_name(item)
            if pack is not None and pack in referenced:
                self.put_back(f"{folder.path}/{item}", pack)
            else:
                self._delete(f"{folder.path}/{item}")
        # The marks go last: until then another visit can continue if this one is stopped.
        for item in (*folder.leftovers, *(stage.mark for stage in sorted(folder.marks))):
            with contextlib.suppress(FileNotFoundError):
                self._remote.delete(f"{folder.path}/{item}")
        self._remote.remove_folder(folder.path)

    def mark(self, folder: TrashFolder, stage: Stage, content: bytes = b"") -> None:
        """Note that a folder has reached a stage."""
        self._remote.create(folder.path, stage.mark, [content])

    def _witness(self, folder: TrashFolder) -> None:
        names = sorted(str(name) for name in self._sessions())
        nobody = f"{folder.path}/{NOBODY}"
        if names:
            with contextlib.suppress(FileNotFoundError):
                self._remote.delete(nobody)
            self.mark(folder, Stage.WITNESSED, json.dumps(names).encode())
            return
        # Two empty files mean no session: a full store can hold them, too, and a list that was cut
        # short is not mistaken for them.
        self._remote.create(folder.path, NOBODY, [])
        self.mark(folder, Stage.WITNESSED)

    def _fence(self, folder: TrashFolder, now: float) -> None:
        witnessed = self._witnessed(folder)
        if witnessed is None:
            # It is witnessed again; a later witness does no harm.
            self._witness(folder)
            return
        overdue = now - folder.marks[Stage.WITNESSED] > OLDEST_SESSION_SECONDS
        for name in self._sessions():
            if str(name) in witnessed and (overdue or self._is_stale(name, now)):
                with contextlib.suppress(FileNotFoundError):
                    self._remote.rename(name.session_path, f"{FENCED}/{name}.session")
                    self._report.fenced += 1
        if witnessed.isdisjoint(str(name) for name in self._sessions()):
            self.mark(folder, Stage.FENCED)

    def _is_stale(self, name: SnapshotName, now: float) -> bool:
        try:
            mtime = self._remote.stat(name.session_path).mtime
            return age(mtime, now) > STALE_SESSION_SECONDS
        except FileNotFoundError:
            return False

    def _sessions(self) -> list[SnapshotName]:
        parsed = (parse_session_name(name) for name in self._remote.list(SESSIONS))
        return [name for name in parsed if name is not None]

    def _witnessed(self, folder: TrashFolder) -> frozenset[str] | None:
        """Return the sessions that were written down; None when the list is damaged."""
        mark = f"{folder.path}/{Stage.WITNESSED.mark}"
        try:
            data = read_bounded(self._remote, mark, _WITNESS_LIMIT)
            if not data and exists(self._remote, f"{folder.path}/{NOBODY}"):
                return frozenset()
            names: object = json.loads(data)
        except (ValueError, RecursionError):
            return None
        if not isinstance(names, list):
            return None
        return frozenset(str(name) for name in cast("list[object]", names))

    def put_back(self, source: str, pack: PackId) -> bool:
        """Move a pack from trash back; return whether it is in packs/ now."""
        if exists(self._remote, pack_path(pack)):
            # Somebody wrote it again meanwhile, and that one was verified.
            with contextlib.suppress(FileNotFoundError):
                self._remote.delete(source)
            return True
        try:
            self._remote.rename(source, pack_path(pack))
        except FileNotFoundError:
            # Another visit adopted the folder, or was faster.
            return exists(self._remote, pack_path(pack))
        self._report.restored += 1
        return True

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            size = self._remote.stat(name).size
            self._remote.delete(name)
            self._report.freed_files += 1
            self._report.freed_bytes += size
