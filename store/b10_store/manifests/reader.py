"""Find and read the heads of an address.

With keys, a manifest that none of them sealed for its name is a problem and not a head (I11).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from b10_store.errors import UNUSABLE
from b10_store.format.manifest_file import decode_header, decode_manifest
from b10_store.format.names import SnapshotName, parse_manifest_name
from b10_store.format.reading_budget import ReadingBudget
from b10_store.format.seal import open_body
from b10_store.format.sealed_file import read_sealed
from b10_store.manifests.headers import read_header
from b10_store.manifests.merge import superseded_by
from b10_store.manifests.problem import Damage, Problem, problem_of
from b10_store.remote.folder_names import MANIFESTS
from b10_store.remote.second_look import decoded_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from b10_store.format.keys import Key
    from b10_store.format.manifest import Manifest
    from b10_store.format.manifest_file import Header
    from b10_store.format.names import Address, SnapshotId
    from b10_store.remote.protocol import Remote

_PARALLEL_READS = 16


class Heads(NamedTuple):
    """The heads of one address, as read at one moment.

    Attributes:
        manifests: the heads, verified; none supersedes another.
        listed: every manifest of the address that was listed.
        read: every manifest that was read and verified, heads or not.
        problems: manifests that could not be read; they supersede nothing.
    """

    manifests: tuple[Manifest, ...]
    listed: tuple[SnapshotName, ...]
    read: tuple[Manifest, ...]
    problems: tuple[Problem, ...]


class ManifestReader:
    """Lists and reads the manifests of a store, for one operation."""

    def __init__(
        self,
        remote: Remote,
        scratch: str,
        keys: tuple[Key, ...],
        budget: ReadingBudget | None = None,
    ) -> None:
        """Read from one store.

        Args:
            remote: the store.
            scratch: a local folder for databases while they are read.
            keys: if any are given, a manifest counts only if one of them sealed it.
            budget: how much may be read; by default as much as in any operation.
        """
        self._remote = remote
        self._budget = budget or ReadingBudget()
        self._scratch = scratch
        self.keys = keys
        # A manifest never changes, so a verified one need not be read again. Each time the listing
        # tells whether it is still there.
        self._verified: dict[SnapshotName, Manifest] = {}

    def names(self) -> list[SnapshotName]:
        """Return every manifest in the store, oldest first."""
        parsed = (parse_manifest_name(name) for name in self._remote.list(MANIFESTS))
        return sorted(
            (name for name in parsed if name is not None),
            key=lambda name: (name.snapshot, name.address),
        )

    def read(self, name: SnapshotName) -> Manifest:
        """Read and verify one manifest.

        Raises:
            CorruptError, LimitError, UnsupportedFormatError: it cannot be used.
            BudgetError: the budget is used up.
            OSError: it cannot be read.
            NoSpaceError, StoreError: the scratch folder cannot take its database.
        """
        manifest = self._verified.get(name)
        if manifest is None:
            manifest = decoded_file(
                partial(self._read_file, name), partial(self._decode, name=name)
            )
            self._verified[name] = manifest
        return manifest

    def apart(self, budget: ReadingBudget) -> ManifestReader:
        """Return a reader of the same store, with its own memory and budget."""
        return ManifestReader(self._remote, self._scratch, self.keys, budget)

    def verify(self, name: SnapshotName) -> None:
        """Read one manifest and verify its seal and digests, without opening its database.

        Raises:
            CorruptError, LimitError, UnsupportedFormatError: it cannot be used.
            OSError: it cannot be read.
        """
        data = self._read_file(name)
        prefix, _ = decode_header(data, name, self.keys)
        open_body(prefix, data)

    def read_header(self, name: SnapshotName) -> Header:
        """Read and verify the header of one manifest, without its body.

        Raises:
            CorruptError, LimitError, UnsupportedFormatError: it cannot be used.
            OSError: it cannot be read.
        """
        return read_header(self._remote, name, self.keys)

    def heads(self, address: Address) -> Heads:
        """Read the heads of an address: normally one file.

        A manifest is not read if one that was read supersedes it. A manifest that vanishes between
        the listing and the reading was superseded meanwhile, so the listing is repeated once.
        """
        heads = self._read_heads(address)
        if any(problem.damage is Damage.MISSING for problem in heads.problems):
            heads = self._read_heads(address)
        return heads

    def _read_heads(self, address: Address) -> Heads:
        listed = tuple(name for name in self.names() if name.address == address)
        read: list[Manifest] = []
        problems: list[Problem] = []
        # They are read newest first, in growing waves, so that each tells which ones the next can
        # skip.
        waiting = list(reversed(listed))
        done = 0
        while done < len(waiting) and all(item.damage is not Damage.UNREAD for item in problems):
            wave = max(1, min(len(read) + len(problems), _PARALLEL_READS))
            news = self._read_some(waiting[done : done + wave], read, problems)
            done += wave
            if news:
                superseded = superseded_by(read)
                waiting = [name for name in waiting[done:] if name.snapshot not in superseded]
                done = 0
        left = len(waiting) - done
        if left > 0:
            more = f"{left} older manifests were not read either"
            problems.append(Problem(MANIFESTS, Damage.UNREAD, more))
        return Heads(_only_heads(read), listed, tuple(read), tuple(problems))

    def _read_some(
        self, names: Sequence[SnapshotName], read: list[Manifest], problems: list[Problem]
    ) -> bool:
        """Read some manifests; return whether any could be used."""
        before = len(read)
        for result in self.read_many(names):
            if isinstance(result, Problem):
                problems.append(result)
            else:
                read.append(result)
        return len(read) > before

    def read_many(self, names: Sequence[SnapshotName]) -> list[Manifest | Problem]:
        """Read several manifests in parallel; return a problem for each unusable one."""
        if len(names) < 2:
            return [self.try_read(name) for name in names]
        with ThreadPoolExecutor(min(_PARALLEL_READS, len(names)), "b10-manifests") as pool:
            return list(pool.map(self.try_read, names))

    def try_read(self, name: SnapshotName) -> Manifest | Problem:
        """Read one manifest; return a problem when it cannot be used."""
        try:
            return self.read(name)
        except (*UNUSABLE, OSError) as error:
            return problem_of(name.manifest_path, error)

    def _decode(self, data: bytes, name: SnapshotName) -> Manifest:
        return decode_manifest(data, name, self._scratch, self.keys, self._budget)

    def _read_file(self, name: SnapshotName) -> bytes:
        return read_sealed(self._remote, name.manifest_path, self.keys, self._budget)


def _only_heads(read: Iterable[Manifest]) -> tuple[Manifest, ...]:
    manifests = list(read)
    superseded: frozenset[SnapshotId] = superseded_by(manifests)
    return tuple(item for item in manifests if item.name.snapshot not in superseded)
