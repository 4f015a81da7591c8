"""The values of a save: its request and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store.format.names import WAIT_LIMIT_SECONDS
from b10_store.save.use import Use

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from b10_store.digest import Digest
    from b10_store.format.manifest import Identity
    from b10_store.format.names import Address, PackId, SnapshotName
    from b10_store.manifests.problem import Problem
    from b10_store.save.session import Wait
    from b10_store.save.unchanged import StoreState
    from b10_store.tree.frames_ahead import FramesAhead
    from b10_store.tree.scan import Scanned, Skipped


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """A request to save artifacts.

    Attributes:
        address: environment key and namespace.
        environment: (name, value) of the environment's fields, for the manifest's header.
        recorded: (name, value) of other facts that may explain a miss, for the header, too.
        artifacts: the local artifacts.
        ahead: frames of them that were made while they were hashed.
        loaded: the stored digest of an artifact that this host and the store last had in common.
        distrusted: (digest, pack) that could not be read, or failed verification, here twice. These
            packs are verified before anything is planned.
        broken: see `PlanInputs.broken`.
        cold: whether the start was cold on purpose, so that local artifacts replace stored ones.
        use: which artifacts are in use.
        size_limit: the most compressed bytes that one manifest may reference.
        slots: how many saves may run at the same time in the store.
        wait_seconds: how long to let saves that began earlier go first; 0 at shutdown.
        workers: threads that compress.
        scratch: a local folder for the manifest while it is built.
        on_progress: called with the raw bytes that were uploaded so far, and the total.
        on_wait: called when the save has waited for others for a moment.
    """

    address: Address
    environment: tuple[tuple[str, str], ...]
    artifacts: Sequence[Scanned]
    size_limit: int
    slots: int
    workers: int
    scratch: str
    ahead: FramesAhead | None = None
    loaded: Mapping[Identity, Digest] = field(default_factory=dict["Identity", "Digest"])
    distrusted: frozenset[tuple[Digest, PackId]] = frozenset()
    broken: frozenset[tuple[str, str, Digest]] = frozenset()
    cold: bool = False
    use: Use = field(default_factory=Use)
    wait_seconds: float = WAIT_LIMIT_SECONDS
    recorded: tuple[tuple[str, str], ...] = ()
    on_progress: Callable[[int, int], None] = lambda _done, _total: None
    on_wait: Callable[[Wait], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class SaveOutcome:
    """The outcome of a save.

    Attributes:
        published: the new manifest's name; None when nothing was new.
        added: artifacts that no head had.
        superseded: artifacts whose stored bytes were replaced or healed.
        expired: entries that were left out, because nobody used them or there was no space.
        uploaded_bytes: bytes of the new packs.
        stored_bytes: the compressed bytes that the newest manifest accounts for.
        left_out: files of artifacts that should have been added and were not.
        problems: manifests that could not be read.
        store_state: the state of the address in which nothing is left to save.
        stored: the digest that the store now has of each local artifact.
        sound_packs: packs that were written, or suspected and verified, by this save.
    """

    published: SnapshotName | None
    store_state: StoreState
    added: int = 0
    superseded: int = 0
    expired: int = 0
    uploaded_bytes: int = 0
    stored_bytes: int = 0
    left_out: tuple[Skipped, ...] = ()
    problems: tuple[Problem, ...] = ()
    stored: Mapping[Identity, Digest] = field(default_factory=dict["Identity", "Digest"])
    sound_packs: frozenset[PackId] = frozenset()
