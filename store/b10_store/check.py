"""Looking for damage in a store, and undoing what can be undone."""

from __future__ import annotations

import enum
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store.digest import digest_of_chunks
from b10_store.errors import CorruptError, LimitError, StoreError, UnsupportedFormatError
from b10_store.format_file import check_format
from b10_store.heads import ManifestReader
from b10_store.layout import (
    FORMAT_FILE,
    PACKS,
    QUARANTINE,
    pack_id_of,
    pack_path,
    parse_pack_name,
)
from b10_store.remote import Range
from b10_store.trash import read_trash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from b10_store.envelope import SigningKey
    from b10_store.layout import PackId, SnapshotName
    from b10_store.manifest import Manifest
    from b10_store.remote import Remote

_BLOCK = 4 << 20
_PARALLEL = 8


class Damage(enum.Enum):
    """What is wrong with a file of a store."""

    UNREADABLE = "cannot be read"
    DAMAGED = "damaged"
    REFUSED = "not signed with a known key"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a file of a store.

    Attributes:
        name: the file, relative to the store.
        damage: what is wrong.
        reason: how that shows.
        repaired: what was done about it; "" when nothing was.
    """

    name: str
    damage: Damage
    reason: str
    repaired: str = ""


@dataclass(slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        manifests: how many are intact.
        packs: how many that manifests reference are there with the right length.
        verified_bytes: how much of them was read and is right.
        faults: what is wrong.
    """

    manifests: int = 0
    packs: int = 0
    verified_bytes: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])


def check(
    remote: Remote,
    scratch: str,
    keys: tuple[SigningKey, ...] = (),
    *,
    read_data: bool = False,
    repair: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> CheckReport:
    """Open every manifest, and look at every pack that one references.

    Nothing is concluded from one reading: what is wrong is read once more through a fresh open,
    since a client's cache may be at fault and not the file.

    Args:
        remote: the store.
        scratch: a local folder for databases while they are read.
        keys: see `Store`.
        read_data: read and verify every byte of the packs, and not their lengths alone.
        repair: put intact packs back from trash and quarantine, and move damaged files to
            quarantine, so that the next save by a host that has the bytes heals them.
        on_progress: called with the bytes verified since the last call.

    Raises:
        OSError: the store cannot be listed.
        StoreError: the scratch folder cannot be used, or the store is of another format.
    """
    return _Check(remote, scratch, keys, repair=repair, on_progress=on_progress).run(
        read_data=read_data
    )


class _Check:
    def __init__(
        self,
        remote: Remote,
        scratch: str,
        keys: tuple[SigningKey, ...],
        *,
        repair: bool,
        on_progress: Callable[[int], None],
    ) -> None:
        self._remote = remote
        self._scratch = scratch
        self._keys = keys
        self._repair = repair
        self._on_progress = on_progress
        self._report = CheckReport()

    def run(self, *, read_data: bool) -> CheckReport:
        if not check_format(self._remote):
            self._note(Fault(FORMAT_FILE, Damage.DAMAGED, "the next save writes it anew"))
        sizes: dict[PackId, int] = {}
        for name in ManifestReader(self._remote, self._scratch, ()).names():
            manifest = self._open(name)
            if manifest is not None:
                for pack, known in manifest.packs.items():
                    sizes[pack] = known.size
        spares = self._spares() if self._repair else {}
        with ThreadPoolExecutor(_PARALLEL, "b10-check") as pool:
            faults = pool.map(lambda pack: self._look(pack, sizes[pack], read_data), sizes)
            for (pack, size), fault in zip(sizes.items(), faults, strict=True):
                if fault is None:
                    self._report.packs += 1
                    self._report.verified_bytes += size if read_data else 0
                else:
                    self._handle_pack(pack, size, fault, spares.get(pack, ()))
        return self._report

    # Manifests.

    def _open(self, name: SnapshotName) -> Manifest | None:
        fault: Fault | None = None
        for _ in range(2):
            reader = ManifestReader(self._remote, self._scratch, ())
            try:
                manifest = reader.read(name)
            except FileNotFoundError:
                return None  # superseded since the listing
            except (CorruptError, LimitError, UnsupportedFormatError) as error:
                fault = Fault(name.manifest_path, Damage.DAMAGED, str(error))
            except OSError as error:
                fault = Fault(name.manifest_path, Damage.UNREADABLE, str(error))
            else:
                if self._is_refused(name):
                    fault = Fault(name.manifest_path, Damage.REFUSED, "loads pass over it")
                    break
                self._report.manifests += 1
                return manifest
        if fault is not None:
            self._note(self._quarantined(fault) if fault.damage is Damage.DAMAGED else fault)
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

    def _look(self, pack: PackId, size: int, read_data: bool) -> Fault | None:
        fault = self._look_once(pack_path(pack), pack, size, read_data=read_data)
        return fault and self._look_once(pack_path(pack), pack, size, read_data=read_data)

    def _look_once(self, name: str, pack: PackId, size: int, *, read_data: bool) -> Fault | None:
        try:
            found = self._remote.stat(name).size
            if found != size:
                return Fault(name, Damage.DAMAGED, f"{found} bytes, {size} expected")
            if read_data:
                ranges = [Range(at, min(_BLOCK, size - at)) for at in range(0, size, _BLOCK)]
                if pack_id_of(digest_of_chunks(self._remote.read(name, ranges))) != pack:
                    return Fault(name, Damage.DAMAGED, "its bytes are not those it was named by")
                self._on_progress(size)
        except FileNotFoundError:
            return Fault(name, Damage.MISSING, "manifests reference it")
        except OSError as error:
            return Fault(name, Damage.UNREADABLE, str(error))
        return None

    def _handle_pack(self, pack: PackId, size: int, fault: Fault, spares: Iterable[str]) -> None:
        if not self._repair or fault.damage is Damage.UNREADABLE:
            self._note(fault)
            return
        if fault.damage is Damage.DAMAGED:
            fault = self._quarantined(fault)
        for spare in spares:
            if self._look_once(spare, pack, size, read_data=True) is None:
                self._remote.rename(spare, pack_path(pack))
                fault = Fault(fault.name, fault.damage, fault.reason, f"put back from {spare}")
                break
        self._note(fault)

    def _spares(self) -> Mapping[PackId, list[str]]:
        """Packs in trash and quarantine, which may be intact."""
        spares: defaultdict[PackId, list[str]] = defaultdict(list)
        for folder in read_trash(self._remote):
            for file in folder.files:
                pack = parse_pack_name(file)
                if pack is not None:
                    spares[pack].append(f"{folder.path}/{file}")
        for file in self._remote.list(QUARANTINE):
            pack = parse_pack_name(file)
            if pack is not None:
                spares[pack].append(f"{QUARANTINE}/{file}")
        return spares

    def _quarantined(self, fault: Fault) -> Fault:
        if not self._repair:
            return fault
        folder, _, base = fault.name.rpartition("/")
        target = f"{QUARANTINE}/{base}"
        try:
            self._remote.rename(fault.name, target)
        except FileNotFoundError:
            return fault  # somebody else moved it
        what = "its artifacts are missed until" if folder == PACKS else "gone until"
        done = f"moved to {target}; {what} a host that has them saves"
        return Fault(fault.name, fault.damage, fault.reason, done)

    def _note(self, fault: Fault) -> None:
        self._report.faults.append(fault)
