"""Garbage collection: move unreferenced packs to trash; delete them a day later.

No run waits. Each visit advances every trash folder by at most one stage, and any host may make the
next visit. The stages, each at least ten minutes after the one before (the second twenty):

1. fill: packs and manifests are renamed into a folder of this visit's own;
2. witness: the sessions that exist now are written down. A session that is born later cannot have
   seen in packs/ what was moved, so it does not rely on it;
3. fence: of these sessions, the silent ones are renamed to fenced/, so that they cannot publish any
   more; the stage is reached when none of them is left;
4. delete: at least a day after the first stage the folder is adopted by a rename, so that no other
   visit works on it; all manifests are read again, what one references goes back, and the rest is
   deleted.

A visit that dies leaves a folder with which the next visit goes on. The stages keep I1 and I6. A
manifest that cannot be read ends the visit before it moves or deletes anything, which keeps I7.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from b10_store.errors import StoreError
from b10_store.format.names import (
    LEFTOVER_SECONDS,
    QUARANTINE_SECONDS,
    TRASH_SECONDS,
    age,
    is_leftover,
    is_quarantined,
    is_snapshot_id,
    new_snapshot_id,
    pack_path,
    parse_pack_name,
    parse_session_name,
)
from b10_store.gc.plan import choose_packs, plan_gc, referenced_packs
from b10_store.gc.references import survey
from b10_store.gc.repack import rewrite_packs
from b10_store.gc.report import GcReport
from b10_store.gc.stages import Stages
from b10_store.gc.trash import NOBODY, Stage, TrashFolder, read_trash
from b10_store.gc.verify import verify_some
from b10_store.remote.folder_names import (
    FENCED,
    MANIFESTS,
    PACKS,
    QUARANTINE,
    SESSIONS,
    TEMPORARY_MARK,
    TRASH,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.format.keys import Key
    from b10_store.format.names import PackId, SnapshotName
    from b10_store.gc.plan import GcPlan, GcPolicy
    from b10_store.gc.references import References
    from b10_store.remote.protocol import FileStat, Remote


def visit(
    remote: Remote,
    scratch: str,
    policy: GcPolicy,
    *,
    keys: tuple[Key, ...] = (),
    dry_run: bool = False,
    seconds: float = float("inf"),
    rewrites: bool = True,
) -> GcReport:
    """Advance every trash folder by one stage, and move to trash what may go.

    Args:
        remote: the store.
        scratch: a local folder for databases while they are read.
        policy: what is kept.
        keys: of this host; see `Store`.
        dry_run: change nothing; report what would go to trash.
        seconds: stop after about this long; the next visit goes on.
        rewrites: repack packs that are at least half unused, which may take long.

    Raises:
        OSError: the store cannot be read or written.
        StoreError: the scratch folder cannot be used.
    """
    deadline = time.monotonic() + seconds
    visiting = _Visit(remote, scratch, policy, keys, lambda: time.monotonic() < deadline)
    return visiting.ask() if dry_run else visiting.run(rewrites=rewrites)


class _Visit:
    def __init__(
        self,
        remote: Remote,
        scratch: str,
        policy: GcPolicy,
        keys: tuple[Key, ...],
        may_go_on: Callable[[], bool],
    ) -> None:
        self._remote = remote
        self._scratch = scratch
        self._policy = policy
        self._keys = keys
        self._has_time = may_go_on
        self._report = GcReport()
        self._stages = Stages(remote, self._report, self._may_go_on)

    def _may_go_on(self) -> bool:
        """Return whether there is time left; if not, the visit counts as incomplete."""
        if not self._has_time():
            self._report.is_complete = False
        return self._report.is_complete

    def ask(self) -> GcReport:
        """Find out what would go to trash; without writing, only the local clock is available."""
        now = time.time()
        found = self._survey(now)
        if self._is_sound(found):
            plan = plan_gc(found, self._policy, now)
            self._count(plan, self._unreferenced(found, plan, now))
        self._tell_waiting()
        return self._report

    def run(self, *, rewrites: bool) -> GcReport:
        """Make the visit."""
        if not self._renames_are_atomic():
            self._report.refused.append("the mount does not rename as it should")
            return self._report
        now = self._remote.now()
        folders = read_trash(self._remote, self._may_go_on)
        due = [folder for folder in folders if folder.is_due(now)]
        for folder in folders:
            self._stages.restart(folder, now)
        for folder in due:
            if self._may_go_on():
                self._stages.advance(folder, now)
        fenced = [folder for folder in due if folder.stage is Stage.FENCED and self._may_go_on()]
        adopted = [folder for folder in map(self._stages.adopt, fenced) if folder is not None]
        # This is read after the adoption, and at least ten minutes after the last fence: everything
        # that a fenced or ended session published shows.
        found = self._survey(now)
        if self._is_sound(found):
            for folder in adopted:
                self._stages.empty(folder, referenced_packs(found))
            filling = [folder for folder in folders if folder.stage is Stage.FILLING]
            self._move_to_trash(found, filling, now)
            self._sweep(now)
            verify_some(self._remote, referenced_packs(found), self._report, now, self._has_time)
            # This comes last, because it may take long, and may fail when this host has too little
            # space.
            if rewrites:
                self._rewrite(found)
        self._tell_waiting()
        return self._report

    def _survey(self, now: float) -> References:
        return survey(
            self._remote,
            self._scratch,
            self._keys,
            self._may_go_on,
            now=now,
            measures=bool(self._policy.max_store_bytes),
        )

    def _is_sound(self, found: References) -> bool:
        """Return whether conclusions may be drawn from the manifests."""
        refused = self._report.refused
        refused += [f"{problem.name}: {problem.reason}" for problem in found.problems]
        if not found.referrers:
            refused.append(
                "there is no manifest: this may be the wrong folder, or an empty mount (if the "
                "store is no longer needed, delete its folder)"
            )
        self._may_go_on()
        return not refused

    def _renames_are_atomic(self) -> bool:
        """Try what everything depends on: a rename moves, and fails if its source was moved."""
        mark = f"probe{TEMPORARY_MARK}{os.urandom(8).hex()}"
        first, second = f"{SESSIONS}/{mark}-1", f"{SESSIONS}/{mark}-2"
        try:
            self._remote.open_token(first).close()
            self._remote.rename(first, second)
            try:
                self._remote.rename(first, f"{second}-lost")
            except FileNotFoundError:
                return self._remote.stat(second).size == 0
            return False
        finally:
            for name in (first, second, f"{second}-lost"):
                with contextlib.suppress(OSError):
                    self._remote.delete(name)

    # Move to trash.

    def _move_to_trash(self, found: References, filling: list[TrashFolder], now: float) -> None:
        plan = plan_gc(found, self._policy, now)
        packs = self._unreferenced(found, plan, now)
        own = TrashFolder(str(new_snapshot_id(now)), frozenset(), {})
        # The order matters if this visit dies: a manifest goes before its packs, and only after its
        # packs that another visit had moved to trash are back.
        held_back = self._put_back_packs(found, plan)
        gone = {
            name
            for name in plan.names
            if name not in held_back
            and self._moves(name.manifest_path, f"{own.path}/{name}.manifest")
        }
        moved = {
            pack: known
            for pack, known in packs.items()
            if self._moves(pack_path(pack), f"{own.path}/{pack}.pack")
        }
        # These are files that a removal, or a visit that died, left in its folders.
        taken = [
            file
            for item in filling
            for file in sorted(item.files)
            if self._moves(f"{item.path}/{file}", f"{own.path}/{file}")
        ]
        if gone or moved or taken:
            self._stages.mark(own, Stage.FILLED)
        for folder in filling:
            self._remove_empty(folder)
        self._count(plan.only(gone), moved)

    def _put_back_packs(self, found: References, plan: GcPlan) -> frozenset[SnapshotName]:
        """Put back packs in trash that are referenced by manifests which will be removed.

        A session that nobody witnessed for the pack's folder may have read such a manifest, and
        carry on its entries. While the manifest is listed, the pack is not deleted; and when it is
        moved to trash again, that session is witnessed.

        Returns:
            The manifests that must stay, because a pack of theirs could not be put back.
        """
        if not plan.names:
            return frozenset()
        in_trash = {
            pack: f"{folder.path}/{item}"
            for folder in read_trash(self._remote)
            for item in folder.files
            if (pack := parse_pack_name(item)) is not None
        }
        needed = {item.name: in_trash.keys() & item.packs.keys() for item in found.referrers}
        wanted = {pack for name in plan.names for pack in needed[name]}
        away = {pack for pack in sorted(wanted) if not self._stages.put_back(in_trash[pack], pack)}
        return frozenset(name for name in plan.names if needed[name] & away)

    def _moves(self, source: str, target: str) -> bool:
        """Move a file, if there is time and it still exists; return whether it was moved."""
        if not self._may_go_on():
            return False
        try:
            self._remote.rename(source, target)
        except FileNotFoundError:
            return False
        return True

    def _unreferenced(self, found: References, plan: GcPlan, now: float) -> dict[PackId, FileStat]:
        """Return the packs that may be removed, with their sizes."""
        referenced = referenced_packs(found, plan.names)
        known: dict[PackId, FileStat] = {}
        for name in self._remote.list(PACKS):
            pack = parse_pack_name(name)
            if not self._may_go_on():
                break
            if pack is not None and pack not in referenced:
                with contextlib.suppress(FileNotFoundError):
                    known[pack] = self._remote.stat(f"{PACKS}/{name}")
        return {pack: known[pack] for pack in choose_packs(known, now)}

    def _count(self, plan: GcPlan, packs: dict[PackId, FileStat]) -> None:
        self._report.superseded = len(plan.superseded)
        self._report.expired = plan.addresses
        self._report.trashed_packs = len(packs)
        self._report.trashed_bytes = sum(known.size for known in packs.values())

    def _rewrite(self, found: References) -> None:
        """Move the used blobs of half-dead packs into new ones; a later visit trashes the old."""
        for address, referrers in found.by_address().items():
            packs = found.half_dead.intersection(pack for item in referrers for pack in item.packs)
            if not packs or not self._may_go_on():
                continue
            try:
                written = rewrite_packs(self._remote, self._scratch, self._keys, address, packs)
            except (OSError, StoreError) as error:
                self._report.unwritten.append(f"{address}: {error}")
            else:
                self._report.rewritten_bytes += written

    # Sweep what dead processes leave.

    def _sweep(self, now: float) -> None:
        self._fence_the_dead(now)
        for folder in ("", PACKS, MANIFESTS, SESSIONS, TRASH):
            self._sweep_folder(folder, is_leftover, now, LEFTOVER_SECONDS)
        for item in read_trash(self._remote):
            self._sweep_folder(item.path, _is_left_in_trash, now, LEFTOVER_SECONDS)
            if not item.files and not item.marks:
                self._remove_empty(item)
        self._sweep_folder(FENCED, _is_session, now, LEFTOVER_SECONDS)
        self._sweep_folder(QUARANTINE, is_quarantined, now, QUARANTINE_SECONDS)

    def _fence_the_dead(self, now: float) -> None:
        """Fence sessions silent for a day, which no folder of trash may be waiting for."""
        for listed in self._remote.list(SESSIONS):
            name = parse_session_name(listed)
            if name is None or not self._may_go_on():
                continue
            with contextlib.suppress(FileNotFoundError):
                mtime = self._remote.stat(name.session_path).mtime
                if age(mtime, now) > LEFTOVER_SECONDS:
                    self._remote.rename(name.session_path, f"{FENCED}/{listed}")
                    self._report.fenced += 1

    def _remove_empty(self, folder: TrashFolder) -> None:
        if is_snapshot_id(folder.name):
            self._remote.remove_folder(folder.path)

    def _sweep_folder(
        self, folder: str, is_own: Callable[[str], bool], now: float, older_than: float
    ) -> None:
        """Delete old files, but only those with names that only this engine gives."""
        for name in self._remote.list(folder):
            if not self._may_go_on():
                return
            if not is_own(name.rstrip("/")):
                continue
            path = f"{folder}/{name}" if folder else name
            if name.endswith("/"):
                # A folder in use is not empty, or is created again.
                self._remote.remove_folder(path[:-1])
                continue
            with contextlib.suppress(FileNotFoundError):
                if age(self._remote.stat(path).mtime, now) > older_than:
                    self._remote.delete(path)
                    self._report.swept += 1

    def _tell_waiting(self) -> None:
        waiting = [item for item in read_trash(self._remote, self._may_go_on) if item.files]
        self._report.waiting_files = sum(len(folder.files) for folder in waiting)
        filled = [folder.marks.get(Stage.FILLED) for folder in waiting]
        times = [time_ + TRASH_SECONDS for time_ in filled if time_ is not None]
        self._report.free_at = max(times, default=None)


def _is_session(name: str) -> bool:
    return parse_session_name(name) is not None


def _is_left_in_trash(name: str) -> bool:
    return name == NOBODY or is_leftover(name)
