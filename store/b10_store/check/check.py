"""Look for damage in a store."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store.check.repair import Repair
from b10_store.errors import UNUSABLE, StoreError
from b10_store.format.marker import check_format
from b10_store.format.names import FORMAT_FILE, SnapshotName, pack_path
from b10_store.gc.repack import move_blobs
from b10_store.manifests.problem import Damage, Problem, problem_of
from b10_store.manifests.reader import ManifestReader
from b10_store.packs.health import is_intact
from b10_store.remote.folder_names import FOLDERS, NO_FOLDER
from b10_store.remote.protocol import Range, exists
from b10_store.remote.second_look import wrong_twice

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.format.keys import Key
    from b10_store.format.names import PackId
    from b10_store.remote.protocol import Remote

_PARALLEL = 8


@dataclass(slots=True)
class CheckReport:
    """The result of a check.

    Attributes:
        manifests: how many manifests are intact.
        packs: how many of the referenced packs exist with the right length.
        verified_bytes: how many of their bytes were read and are right.
        faults: what is wrong.
    """

    manifests: int = 0
    packs: int = 0
    verified_bytes: int = 0
    faults: list[Problem] = field(default_factory=list[Problem])


def check(
    remote: Remote,
    scratch: str,
    keys: tuple[Key, ...] = (),
    *,
    read_data: bool = False,
    repair: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> CheckReport:
    """Open every manifest, and look at every pack that one references.

    Nothing is concluded from one reading: a file that seems wrong is read again through a fresh
    open, since a client's cache may be at fault instead of the file.

    Args:
        remote: the store.
        scratch: a local folder for databases while they are read.
        keys: see `Store`.
        read_data: read and verify every byte of the packs, instead of only their lengths.
        repair: put intact packs back from trash and quarantine, copy intact blobs out of damaged
            ones, and move damaged files to quarantine, so that the next save by a host that has the
            missing bytes uploads them.
        on_progress: called with the bytes verified since the last call.

    Raises:
        OSError: the store cannot be listed.
        StoreError: the scratch folder cannot be used, or the store is of another format.
    """
    checking = _Check(remote, scratch, keys, read_data=read_data, on_progress=on_progress)
    return checking.run(repair=repair)


class _Check:
    def __init__(
        self,
        remote: Remote,
        scratch: str,
        keys: tuple[Key, ...],
        *,
        read_data: bool,
        on_progress: Callable[[int], None],
    ) -> None:
        self._remote = remote
        self._scratch = scratch
        self._keys = keys
        self._read_data = read_data
        self._on_progress = on_progress
        self._report = CheckReport()
        # The size of each pack, and which manifest says so.
        self._sizes: dict[PackId, int] = {}
        self._referrers: defaultdict[PackId, set[SnapshotName]] = defaultdict(set)
        self._superseded: set[SnapshotName] = set()

    def run(self, *, repair: bool) -> CheckReport:
        repairing = Repair(self._remote, self._copy_out) if repair else None
        self._look_at_folders()
        self._look_at_format()
        for name in self._names():
            fault = self._look_at_manifest(name)
            if fault is not None:
                self._note(fault if repairing is None else repairing.repair_manifest(fault))
        for pack, fault in self._look_at_packs():
            done = repairing and repairing.repair_pack(pack, self._sizes[pack], fault)
            self._note(done or fault)
        return self._report

    def _look_at_folders(self) -> None:
        for name in sorted(set(FOLDERS).intersection(self._remote.list(""))):
            self._note(Problem(name, Damage.NO_FOLDER, NO_FOLDER))

    def _copy_out(self, pack: PackId) -> tuple[int, int]:
        """Copy the intact blobs of a pack for every address that references it."""
        copied = lost = 0
        for address in sorted({name.address for name in self._referrers[pack]}):
            heads = ManifestReader(self._remote, self._scratch, self._keys).heads(address)
            if not self._keys and any(
                head.signed and pack in head.packs for head in heads.manifests
            ):
                raise StoreError(f"what {address} has in it is signed, and no key is set here")
            moved = move_blobs(self._remote, self._scratch, self._keys, address, [pack])
            copied, lost = copied + moved.blobs, lost + moved.lost
        return copied, lost

    def _look_at_format(self) -> None:
        # It is read twice, because a client may not see the file yet, or not all of it.
        if not wrong_twice(lambda: not check_format(self._remote)):
            return
        if not exists(self._remote, FORMAT_FILE):
            what = "the next save writes it" if self._names() else "there is no store here"
            self._note(Problem(FORMAT_FILE, Damage.MISSING, what))
        else:
            self._note(Problem(FORMAT_FILE, Damage.DAMAGED, "the next save writes it again"))

    # Manifests.

    def _names(self) -> list[SnapshotName]:
        return ManifestReader(self._remote, self._scratch, ()).names()

    def _look_at_manifest(self, name: SnapshotName) -> Problem | None:
        return wrong_twice(lambda: self._read_manifest(name))

    def _read_manifest(self, name: SnapshotName) -> Problem | None:
        path = name.manifest_path
        try:
            manifest = ManifestReader(self._remote, self._scratch, ()).read(name)
            if self._is_refused(name):
                return Problem(path, Damage.REFUSED, "loads ignore it")
        except FileNotFoundError:
            return None  # superseded since the listing
        except (*UNUSABLE, OSError) as error:
            return problem_of(path, error)
        self._report.manifests += 1
        self._superseded |= {
            SnapshotName(name.address, snapshot) for snapshot in manifest.lineage.supersedes
        }
        for pack, known in manifest.packs.items():
            self._sizes[pack] = known.size
            self._referrers[pack].add(name)
        return None

    def _is_refused(self, name: SnapshotName) -> bool:
        if not self._keys:
            return False
        try:
            ManifestReader(self._remote, self._scratch, self._keys).verify(name)
        except StoreError:
            return True
        return False

    # Packs.

    def _look_at_packs(self) -> list[tuple[PackId, Problem]]:
        """Check all referenced packs; return what is wrong."""
        with ThreadPoolExecutor(_PARALLEL, "b10-check") as pool:
            looked = list(zip(self._sizes, pool.map(self._look, self._sizes), strict=True))
        wrong = [(pack, fault) for pack, fault in looked if fault is not None]
        sound = [pack for pack, fault in looked if fault is None]
        self._report.packs = len(sound)
        if self._read_data:
            self._report.verified_bytes = sum(self._sizes[pack] for pack in sound)
        if any(fault.damage is Damage.MISSING for _, fault in wrong):
            # No load reads a superseded manifest, and its packs may have been collected.
            listed = frozenset(self._names()) - self._superseded
            wrong = [
                (pack, fault)
                for pack, fault in wrong
                if fault.damage is not Damage.MISSING
                or not listed.isdisjoint(self._referrers[pack])
            ]
        return wrong

    def _look(self, pack: PackId) -> Problem | None:
        return wrong_twice(lambda: self._look_once(pack))

    def _look_once(self, pack: PackId) -> Problem | None:
        name, size = pack_path(pack), self._sizes[pack]
        try:
            found = self._remote.stat(name).size
            if found != size:
                return Problem(name, Damage.DAMAGED, f"{found} bytes, {size} expected")
            if self._read_data:
                if not is_intact(self._remote, name, pack, size):
                    return Problem(name, Damage.DAMAGED, "its bytes are not those it was named by")
                self._on_progress(size)
            else:
                # The length is known even of a file that this user may not open.
                next(self._remote.read(name, [Range(0, 1)]))
        except FileNotFoundError:
            return Problem(name, Damage.MISSING, "manifests reference it")
        except OSError as error:
            return problem_of(name, error)
        return None

    def _note(self, fault: Problem) -> None:
        self._report.faults.append(fault)
