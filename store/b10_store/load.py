"""Restore artifacts from packs into local cache roots."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store.collector import paused_collector
from b10_store.format.names import pack_path
from b10_store.packs.reader import Fetched, Fetcher, Wanted
from b10_store.remote.folder_names import TRASH
from b10_store.tree.placement import Placed
from b10_store.tree.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from b10_store.digest import Digest
    from b10_store.format.frame import FrameTable
    from b10_store.format.manifest import Entry, Manifest, Pack
    from b10_store.format.names import PackId
    from b10_store.remote.protocol import Remote
    from b10_store.tree.placement import OpenRoot, RestoreTarget

PACKS_AT_ONCE = 8
_FRAMES_IN_FLIGHT_PER_WORKER = 8
_PATIENCE_SECONDS = 0.1
"""How long, after Ctrl-C, to wait for files that are being written, and then for their removal."""


@dataclass(slots=True)
class LoadOutcome:
    """The result for the artifacts that were to be loaded.

    Attributes:
        placed: see `Placed`.
        damaged: blobs that failed verification twice, the second time through a fresh open, and the
            pack that each lies in.
        unread: blobs that could not be read, and why; FileNotFoundError if the pack is lost.
    """

    placed: Placed
    damaged: dict[Digest, PackId] = field(default_factory=dict["Digest", "PackId"])
    unread: dict[Digest, OSError] = field(default_factory=dict["Digest", OSError])


@dataclass(slots=True)
class _Outcome:
    """The blobs of one pack that are left after every way to read them was tried."""

    damaged: set[Digest]
    unread: dict[Digest, OSError]


def load(
    remote: Remote,
    placements: Sequence[RestoreTarget],
    packs: Mapping[PackId, Pack],
    *,
    watch: Callable[[str, int], None],
    refresh: Callable[[], Sequence[Manifest]],
    workers: int,
    readers: int = PACKS_AT_ONCE,
    roots: Mapping[str, OpenRoot] | None = None,
) -> LoadOutcome:
    """Read, verify, stage and place artifacts.

    An unreadable blob is not an error: its artifacts are in neither list of `Placed`.

    Args:
        remote: the store.
        placements: artifacts that are not here yet.
        packs: the packs that hold their entries.
        watch: see `Staging`.
        refresh: reads the heads again; called at most once, when a blob could not be read.
        workers: threads that decompress and write.
        readers: how many packs are read at once, in a thread each.
        roots: see `Staging`.

    Raises:
        NoSpaceError: the local disk is full; nothing is left behind.
        OSError: a cache root cannot be written; nothing is left behind.
    """
    staging = Staging(watch, roots)
    try:
        with paused_collector():
            staging.expect(placements)
        pool = ThreadPoolExecutor(workers, "b10-decompress")
        fetcher = Fetcher(remote, pool, _FRAMES_IN_FLIGHT_PER_WORKER * workers)
        result = LoadOutcome(Placed())
        with _ending_soon(pool, fetcher):
            _PackReader(remote, fetcher, staging, readers).read_all(
                [placement.entry for placement in placements], packs, refresh, result
            )
        with paused_collector():
            result.placed = staging.place()
    except (KeyboardInterrupt, SystemExit):
        staging.abandon(_PATIENCE_SECONDS)
        raise
    except BaseException:
        staging.close()
        raise
    staging.close()
    return result


@contextlib.contextmanager
def _ending_soon(pool: ThreadPoolExecutor, fetcher: Fetcher) -> Generator[None]:
    """Wait for the threads of a pool at the end, but not after Ctrl-C.

    A read from a slow mount may take long, and its result would be dropped.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        fetcher.stop(_PATIENCE_SECONDS)
        pool.shutdown(wait=False)
        raise
    except BaseException:
        pool.shutdown()
        raise
    pool.shutdown()


class _PackReader:
    def __init__(self, remote: Remote, fetcher: Fetcher, staging: Staging, readers: int) -> None:
        self._remote = remote
        self._readers = readers
        self._fetcher = fetcher
        self._staging = staging

    def read_all(
        self,
        entries: Iterable[Entry],
        packs: Mapping[PackId, Pack],
        refresh: Callable[[], Sequence[Manifest]],
        result: LoadOutcome,
    ) -> None:
        """Read every entry's blob; look again if one is missing or damaged."""
        wanted = {entry.digest: entry for entry in entries}
        self._read(wanted, packs, result)
        if not (result.damaged or result.unread):
            return
        # Another head may have the same blob in another pack, or a saver may have moved it since.
        tried = {(digest, entry.location) for digest, entry in wanted.items()}
        for head in refresh():
            lacking = result.damaged.keys() | result.unread.keys()
            elsewhere = {
                entry.digest: entry
                for entry in head.entries.values()
                if entry.digest in lacking and (entry.digest, entry.location) not in tried
            }
            tried |= {(digest, entry.location) for digest, entry in elsewhere.items()}
            for digest in elsewhere:
                result.damaged.pop(digest, None)
                result.unread.pop(digest, None)
            self._read(elsewhere, head.packs, result)

    def _read(
        self, wanted: Mapping[Digest, Entry], packs: Mapping[PackId, Pack], result: LoadOutcome
    ) -> None:
        by_pack: defaultdict[PackId, list[Wanted]] = defaultdict(list)
        for digest, entry in wanted.items():
            by_pack[entry.location.pack].append(Wanted(digest, entry.location.offset, entry.size))
        if not by_pack:
            return

        def read(pack: PackId) -> _Outcome:
            return self._read_pack(pack, packs[pack].frames, by_pack[pack])

        readers = ThreadPoolExecutor(min(self._readers, len(by_pack)), "b10-read")
        with _ending_soon(readers, self._fetcher):
            for pack, outcome in zip(by_pack, readers.map(read, by_pack), strict=True):
                result.damaged.update(dict.fromkeys(outcome.damaged, pack))
                result.unread.update(outcome.unread)

    def _read_pack(self, pack: PackId, frames: FrameTable, wanted: Sequence[Wanted]) -> _Outcome:
        """Read from the pack, then through a fresh open, then from where gc may have put it."""
        left, fetched = self._try(pack_path(pack), frames, wanted)
        if left and not isinstance(fetched.error, FileNotFoundError):
            left, fetched = self._try(pack_path(pack), frames, left)
        damaged = set(fetched.damaged)
        if isinstance(fetched.error, FileNotFoundError):
            for folder in self._trash_folders():
                left, found = self._try(f"{TRASH}/{folder}{pack}.pack", frames, left)
                damaged |= found.damaged
                if not left:
                    break
            if left:
                # gc puts referenced packs back, and a client's "no such file" may be stale.
                left, fetched = self._try(pack_path(pack), frames, left)
                damaged |= fetched.damaged
        remaining = {item.digest for item in left}
        if fetched.error is None:
            return _Outcome(remaining, {})
        damaged &= remaining
        return _Outcome(damaged, dict.fromkeys(remaining - damaged, fetched.error))

    def _try(
        self, name: str, frames: FrameTable, wanted: Sequence[Wanted]
    ) -> tuple[list[Wanted], Fetched]:
        if self._fetcher.is_stopped:
            return [*wanted], Fetched()
        fetched = self._fetcher.fetch(name, frames, wanted, self._staging)
        return [item for item in wanted if item.digest not in fetched.delivered], fetched

    def _trash_folders(self) -> list[str]:
        try:
            return [name for name in self._remote.list(TRASH) if name.endswith("/")]
        except OSError:
            return []
