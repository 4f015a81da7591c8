"""A store: its folder, its manifests and its packs, wired together."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from b10_store.errors import UNUSABLE, StoreError
from b10_store.format.marker import check_format
from b10_store.format.names import TOUCH_INTERVAL_SECONDS, VISIT_INTERVAL_SECONDS, age
from b10_store.load import PACKS_AT_ONCE, LoadOutcome, load
from b10_store.manifests.headers import (
    HeadListing,
    Seal,
    judge_header,
    list_heads,
    read_pack_sizes,
)
from b10_store.manifests.problem import Problem, problem_of
from b10_store.manifests.reader import Heads, ManifestReader
from b10_store.remote.folder_names import TRASH
from b10_store.remote.patient import PatientRemote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from b10_store.check.check import CheckReport
    from b10_store.format.keys import Key
    from b10_store.format.manifest import Manifest, Pack
    from b10_store.format.manifest_file import Header
    from b10_store.format.names import Address, PackId, SnapshotName
    from b10_store.gc.plan import GcPolicy
    from b10_store.gc.remove import Restored
    from b10_store.gc.report import GcReport
    from b10_store.remote.protocol import Remote
    from b10_store.save.request import SaveOutcome, SaveRequest
    from b10_store.save.unchanged import StoreState
    from b10_store.tree.frames_ahead import FramesAhead
    from b10_store.tree.placement import OpenRoot, RestoreTarget


_PARALLEL_READS = 16
_VISITED = f"{TRASH}/visited"


class Listing(NamedTuple):
    """The content of a store: the newest readable manifest of each address, and the problems."""

    headers: tuple[Header, ...]
    problems: tuple[Problem, ...]


class Store:
    """A shared folder, for one operation. Any number of hosts may use it at once."""

    def __init__(self, remote: Remote, scratch: str, keys: tuple[Key, ...] = ()) -> None:
        """Use a folder; nothing is read yet.

        Args:
            remote: the effects on the folder.
            scratch: a local folder for manifests while they are read or built.
            keys: if any are given, a manifest counts only if one of them sealed it.
        """
        self._remote = remote = PatientRemote(remote)
        self._scratch = scratch
        self._keys = keys
        self._reader = ManifestReader(remote, scratch, keys)

    @property
    def has_keys(self) -> bool:
        """Whether a manifest counts only when it is signed."""
        return bool(self._keys)

    def heads(self, address: Address) -> Heads:
        """The heads of an address, verified.

        Raises:
            UnsupportedFormatError: the store is of another format version.
            OSError: it cannot be read.
        """
        check_format(self._remote)
        return self._reader.heads(address)

    def load(
        self,
        address: Address,
        placements: Sequence[RestoreTarget],
        packs: Mapping[PackId, Pack],
        *,
        watch: Callable[[str, int], None],
        workers: int,
        readers: int = PACKS_AT_ONCE,
        roots: Mapping[str, OpenRoot] | None = None,
    ) -> LoadOutcome:
        """Load artifacts of `address` to this host; see `b10_store.load.load`."""

        def refresh() -> Sequence[Manifest]:
            try:
                return self._reader.heads(address).manifests
            except (OSError, StoreError):
                return ()

        return load(
            self._remote,
            placements,
            packs,
            watch=watch,
            refresh=refresh,
            workers=workers,
            readers=readers,
            roots=roots,
        )

    def note_use(self, heads: Heads) -> None:
        """Refresh the heads' time of last load, at most once a day; a failure is ignored."""
        for head in heads.manifests:
            name = head.name.manifest_path
            with contextlib.suppress(OSError):
                # A wrong local clock causes a needless touch, or delays one by at most a day.
                if abs(time.time() - self._remote.stat(name).mtime) > TOUCH_INTERVAL_SECONDS:
                    self._remote.touch(name)

    def frames_ahead(self, address: Address) -> FramesAhead:
        """Take bytes of artifacts, as a scan reads them, that a save will probably upload."""
        from b10_store.save.foresight import expected_uploads
        from b10_store.tree.frames_ahead import FramesAhead

        return FramesAhead(expected_uploads(self._reader, address), self._scratch)

    def save(self, request: SaveRequest) -> SaveOutcome:
        """Publish new artifacts; see `b10_store.save.save.save`."""
        from b10_store.save.save import save

        return save(self._remote, self._reader, request)

    def collect(
        self, policy: GcPolicy, *, dry_run: bool = False, seconds: float = float("inf")
    ) -> GcReport:
        """Make one visit of the garbage collection; see `b10_store.gc.visit.visit`."""
        from b10_store.gc.report import GcReport
        from b10_store.gc.visit import visit

        if not check_format(self._remote):
            return GcReport(refused=["there is no store here"])
        return visit(
            self._remote,
            self._scratch,
            policy,
            keys=self._keys,
            dry_run=dry_run,
            seconds=seconds,
            rewrites=seconds == float("inf"),
        )

    def is_visit_due(self) -> bool:
        """Return whether `note_visit` has noted no visit within the last day.

        Raises:
            OSError: this cannot be found out.
        """
        try:
            last = self._remote.stat(_VISITED).mtime
        except FileNotFoundError:
            return True
        return age(last, self._remote.now()) > VISIT_INTERVAL_SECONDS

    def note_visit(self) -> None:
        """Note that a visit is about to be made, for other hosts to see.

        Raises:
            OSError: the store cannot be written.
        """
        folder, _, name = _VISITED.rpartition("/")
        self._remote.create(folder, name, [b""])

    def check(
        self,
        *,
        read_data: bool = False,
        repair: bool = False,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> CheckReport:
        """Look for damage; see `b10_store.check.check.check`."""
        from b10_store.check.check import check

        return check(
            self._remote,
            self._scratch,
            self._keys,
            read_data=read_data,
            repair=repair,
            on_progress=on_progress,
        )

    def addresses(self, *, in_trash: bool = False) -> list[Address]:
        """Return every address with a manifest in the store or in trash, sorted.

        Raises:
            UnsupportedFormatError: the store is of another format version.
            OSError: it cannot be read.
        """
        from b10_store.gc.remove import trashed_manifests

        check_format(self._remote)
        names = trashed_manifests(self._remote) if in_trash else self._reader.names()
        return sorted({name.address for name in names})

    def remove(self, address: Address) -> int:
        """Move everything stored for an address to trash; see `b10_store.gc.remove.remove`."""
        from b10_store.gc.remove import remove

        check_format(self._remote)
        return remove(self._remote, self._reader, address)

    def restore(self, address: Address) -> Restored:
        """Undo `remove`, while its manifests are in trash; see `b10_store.gc.remove.restore`."""
        from b10_store.gc.remove import restore

        check_format(self._remote)
        return restore(self._remote, self._scratch, address)

    def sign_again(self, address: Address) -> bool:
        """Sign with the first key what another key signed; see `b10_store.save.resign`."""
        from b10_store.save.resign import sign_again

        check_format(self._remote)
        return sign_again(self._remote, self._reader, self._scratch, address)

    def is_unchanged(self, address: Address, store_state: StoreState) -> bool:
        """Return whether nothing changed since a save with `store_state`; see `save.unchanged`.

        Raises:
            UnsupportedFormatError: the store is of another format version.
            OSError: it cannot be read.
        """
        from b10_store.save.unchanged import is_unchanged

        return check_format(self._remote) and is_unchanged(
            self._remote, self._reader, address, store_state
        )

    def has_format(self) -> bool:
        """Return whether the folder has a store with an intact FORMAT file.

        Raises:
            UnsupportedFormatError: the store is of another format version.
            OSError: it cannot be read.
        """
        return check_format(self._remote)

    def list_heads(self) -> HeadListing:
        """Return the heads of every address, by headers; see `b10_store.manifests.headers`.

        Raises:
            UnsupportedFormatError: the store is of another format version.
            OSError: it cannot be read.
        """
        check_format(self._remote)
        return list_heads(self._remote, self._keys)

    def pack_sizes(
        self, names: Iterable[SnapshotName], seconds: float
    ) -> Mapping[SnapshotName, Mapping[PackId, int] | Problem]:
        """Return the packs that manifests reference; see `b10_store.manifests.headers`."""
        return read_pack_sizes(self._remote, self._scratch, self._keys, names, seconds)

    def names(self) -> list[SnapshotName]:
        """Return the name of every manifest, oldest first.

        Raises:
            OSError: they cannot be listed.
        """
        return self._reader.names()

    def judge_header(self, name: SnapshotName) -> tuple[Header, Seal]:
        """Return a manifest's header, and judge its seal; see `b10_store.manifests.headers`."""
        return judge_header(self._remote, name, self._keys)

    def pack_faults(self, packs: Mapping[PackId, int]) -> Mapping[PackId, OSError | str]:
        """Return why packs cannot be read; see `b10_store.packs.health`."""
        from b10_store.packs.health import pack_faults

        return pack_faults(self._remote, packs)

    def listing(self, address: Address | None = None, newest: int | None = None) -> Listing:
        """Return the newest readable manifest of every address, or of one, by its header.

        Args:
            address: the one to list; by default all.
            newest: how many addresses to read; the last saved come first. By default all.

        Raises:
            UnsupportedFormatError: the store is of another format version.
            OSError: it cannot be read.
        """
        check_format(self._remote)
        by_address: defaultdict[Address, list[SnapshotName]] = defaultdict(list)
        for name in self._reader.names():
            if address in (None, name.address):
                by_address[name.address].append(name)
        headers: list[Header] = []
        problems: list[Problem] = []
        with ThreadPoolExecutor(_PARALLEL_READS, "b10-headers") as pool:
            groups = sorted(by_address.values(), key=lambda names: names[-1].snapshot)
            chosen = groups if newest is None else groups[-newest:]
            for header, wrong in pool.map(self._newest_header, chosen):
                headers += header
                problems += wrong
        return Listing(tuple(headers), tuple(problems))

    def _newest_header(self, names: list[SnapshotName]) -> tuple[list[Header], list[Problem]]:
        problems: list[Problem] = []
        for name in reversed(names):
            try:
                return [self._reader.read_header(name)], problems
            except (*UNUSABLE, OSError) as error:
                problems.append(problem_of(name.manifest_path, error))
        return [], problems
