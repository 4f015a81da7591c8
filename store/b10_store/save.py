"""The save protocol: from artifacts that are here to a manifest that every host can load."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from b10_store.basis import Basis, look_at_packs
from b10_store.dedup import WORTHWHILE_BYTES, find_elsewhere
from b10_store.errors import FencedError
from b10_store.layout import (
    FENCED_ATTEMPTS,
    FORMAT_FILE,
    MANIFESTS,
    SUPERSEDE_AGE_SECONDS,
    TRASH,
    PackId,
    SnapshotId,
    SnapshotName,
    check_format_line,
    format_line,
    snapshot_milliseconds,
)
from b10_store.manifest import Lineage, Manifest, Pack, referenced_packs, stored_bytes
from b10_store.manifest_file import encode_manifest
from b10_store.pack import Written, write_packs
from b10_store.remote import read_bounded
from b10_store.save_plan import (
    Knowledge,
    SavePlan,
    expire_oldest,
    finish_entries,
    move_small_packs,
    plan_save,
)
from b10_store.session import open_session
from b10_store.union import union

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from b10_store.digest import Digest
    from b10_store.envelope import SigningKey
    from b10_store.heads import Heads, ManifestReader, Problem
    from b10_store.layout import Address
    from b10_store.manifest import Identity
    from b10_store.remote import Remote
    from b10_store.scan import Scanned
    from b10_store.session import Session
    from b10_store.union import Union


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """What is to be saved, and how.

    Attributes:
        address: environment key and namespace.
        environment: (name, value) of the environment's fields, for the manifest's header.
        artifacts: what is here.
        loaded: the digest that this host last loaded for an artifact.
        distrusted: (digest, pack) that failed verification here twice.
        cold: the start was cold on purpose: what is here replaces what is stored.
        size_limit: most compressed bytes that one manifest may reference.
        slots: how many saves may run at the same time in the store.
        wait: whether to let saves that began earlier go first.
        workers: threads that compress.
        scratch: a local folder for the manifest while it is built.
        key: seals the manifest, when given.
    """

    address: Address
    environment: tuple[tuple[str, str], ...]
    artifacts: Sequence[Scanned]
    size_limit: int
    slots: int
    workers: int
    scratch: str
    loaded: Mapping[Identity, Digest] = field(default_factory=dict["Identity", "Digest"])
    distrusted: frozenset[tuple[Digest, PackId]] = frozenset()
    cold: bool = False
    wait: bool = True
    key: SigningKey | None = None


@dataclass(frozen=True, slots=True)
class SaveOutcome:
    """What a save did.

    Attributes:
        published: the new manifest's name, or None when nothing was new.
        added: artifacts that no head had.
        superseded: artifacts of which the stored bytes were replaced or healed.
        uploaded_bytes: bytes of the new packs.
        stored_bytes: compressed bytes that the newest manifest accounts for.
        changed: artifacts left out because their file changed meanwhile.
        problems: manifests that could not be read.
        basis: the state of the address in which nothing is left to save.
    """

    published: SnapshotName | None
    basis: Basis
    added: int = 0
    superseded: int = 0
    uploaded_bytes: int = 0
    stored_bytes: int = 0
    changed: int = 0
    problems: tuple[Problem, ...] = ()


class _View(NamedTuple):
    """The store as read at one moment, and the plan made of it."""

    heads: Heads
    stored: Union
    knowledge: Knowledge
    plan: SavePlan


def save(remote: Remote, reader: ManifestReader, request: SaveRequest) -> SaveOutcome:
    """Publish what is new.

    Raises:
        StoreError: see its subclasses; nothing was published.
        OSError: the store cannot be read or written; nothing was published.
    """
    check_format(remote)
    view = _look(remote, reader, request)
    if not view.plan.additions:
        return _nothing_new(view)
    write_format(remote)
    for attempt in range(FENCED_ATTEMPTS):
        session = open_session(remote, request.address)
        try:
            return _save_in_session(remote, reader, request, session)
        except FencedError:
            if attempt == FENCED_ATTEMPTS - 1:
                raise
        except BaseException:
            session.abandon()
            raise
    raise AssertionError("unreachable")


def check_format(remote: Remote) -> bool:
    """Whether the store has an intact FORMAT file of this release's version.

    Returns:
        False when there is none, or a damaged one; the other files name their format themselves.

    Raises:
        UnsupportedFormatError: the store is of another version.
        OSError: the store cannot be read.
    """
    try:
        return check_format_line(read_bounded(remote, FORMAT_FILE, 1 << 10))
    except FileNotFoundError:
        return False


def write_format(remote: Remote) -> None:
    """Write the FORMAT file where it is missing or damaged."""
    if not check_format(remote):
        remote.create("", FORMAT_FILE, [format_line()])


def _save_in_session(
    remote: Remote, reader: ManifestReader, request: SaveRequest, session: Session
) -> SaveOutcome:
    # Everything believed from here on is read after the token was created: gc, which lists the
    # tokens after it has moved packs away, then either sees this one or its moves are seen here.
    if request.wait and not session.wait_for_turn(
        request.slots, lambda: bool(_look(remote, reader, request).plan.additions)
    ):
        session.abandon()
        return _nothing_new(_look(remote, reader, request))
    view = _look(remote, reader, request)
    elsewhere_packs: Mapping[PackId, Pack] = {}
    if view.plan.upload_bytes > WORTHWHILE_BYTES:
        view, elsewhere_packs = _with_elsewhere(remote, reader, request, view)
    if not view.plan.additions:
        session.abandon()
        return _nothing_new(view)
    plan = move_small_packs(
        view.plan, view.stored.packs, [item.candidate for item in request.artifacts]
    )
    written = _upload(remote, request, plan)
    packs = {**view.stored.packs, **elsewhere_packs, **written.packs}
    if not plan.realized(written.locations):
        # Every file that was to be added changed meanwhile: the next save takes them.
        session.abandon()
        return _nothing_new(view)
    saved_ms = snapshot_milliseconds(session.name.snapshot)
    here = {item.candidate.identity for item in request.artifacts}
    entries = expire_oldest(
        finish_entries(plan, written.locations, saved_ms), packs, here, request.size_limit
    )
    manifest = Manifest(
        session.name,
        _lineage(view.heads, request.environment),
        referenced_packs(entries.values(), packs),
        entries,
    )
    session.publish([encode_manifest(manifest, request.scratch, request.key)])
    _trash_superseded(remote, view.heads, session.name.snapshot)
    return _outcome(view, plan, written, manifest)


def _look(remote: Remote, reader: ManifestReader, request: SaveRequest) -> _View:
    heads = reader.heads(request.address)
    stored = union(heads.manifests)
    packs = look_at_packs(remote, _pack_sizes(stored.packs))
    knowledge = Knowledge(
        good_packs=packs.good,
        broken_packs=packs.broken,
        loaded=request.loaded,
        distrusted=request.distrusted,
        cold=request.cold,
    )
    return _View(heads, stored, knowledge, _plan(stored, request, knowledge))


def _plan(stored: Union, request: SaveRequest, knowledge: Knowledge) -> SavePlan:
    return plan_save(stored, [item.candidate for item in request.artifacts], knowledge)


def _with_elsewhere(
    remote: Remote, reader: ManifestReader, request: SaveRequest, view: _View
) -> tuple[_View, Mapping[PackId, Pack]]:
    locations, packs = find_elsewhere(
        remote, reader, request.address, view.plan.uploads, view.knowledge.good_packs
    )
    knowledge = replace(view.knowledge, elsewhere=locations)
    return view._replace(knowledge=knowledge, plan=_plan(view.stored, request, knowledge)), packs


def _upload(remote: Remote, request: SaveRequest, plan: SavePlan) -> Written:
    by_digest = {item.digest: item for item in request.artifacts}
    uploads = sorted(
        (by_digest[digest] for digest in plan.uploads),
        key=lambda item: _kind(item.candidate.identity),
    )
    if not uploads:
        return Written()
    return write_packs(remote, uploads, workers=request.workers, limit=request.size_limit)


def _kind(identity: Identity) -> tuple[str, str, str]:
    """Blobs are laid out by suffix, then by name: like beside like compresses better."""
    folder, _, name = identity.path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    kind = suffix if dot else folder.split("/", 1)[0]
    return kind, stem, identity.path


def _lineage(heads: Heads, environment: tuple[tuple[str, str], ...]) -> Lineage:
    parents = {head.name.snapshot for head in heads.manifests}
    listed = {name.snapshot for name in heads.listed}
    ancestors = {snapshot for manifest in heads.read for snapshot in manifest.lineage.supersedes}
    return Lineage(
        parents=tuple(sorted(parents)),
        ancestors=tuple(sorted((ancestors & listed) - parents)),
        environment=environment,
    )


def _trash_superseded(remote: Remote, heads: Heads, own: SnapshotId) -> None:
    """Move manifests to trash that an old enough manifest supersedes, the oldest first.

    Old enough: a listing that runs at the same time must see one of the two. Whether this succeeds
    is of no consequence: gc does the same.
    """
    old_enough = snapshot_milliseconds(own) - SUPERSEDE_AGE_SECONDS * 1000
    superseded: set[SnapshotId] = set()
    for manifest in heads.read:
        snapshot = manifest.name.snapshot
        if snapshot_milliseconds(snapshot) < old_enough:
            superseded |= {older for older in manifest.lineage.supersedes if older < snapshot}
    for name in sorted(heads.listed):
        if name.snapshot in superseded:
            target = name.manifest_path.replace(MANIFESTS, f"{TRASH}/{own}", 1)
            with contextlib.suppress(OSError):
                remote.rename(name.manifest_path, target)


def _nothing_new(view: _View) -> SaveOutcome:
    return SaveOutcome(
        published=None,
        basis=Basis(
            listed=frozenset(view.heads.listed),
            heads=frozenset(head.name for head in view.heads.manifests),
            packs=_pack_sizes(view.stored.packs),
        ),
        stored_bytes=stored_bytes(view.stored.entries.values(), view.stored.packs),
        problems=view.heads.problems,
    )


def _outcome(view: _View, plan: SavePlan, written: Written, manifest: Manifest) -> SaveOutcome:
    replaced = [
        addition.candidate.identity in view.stored.entries
        for addition, _ in plan.realized(written.locations)
    ]
    return SaveOutcome(
        published=manifest.name,
        basis=Basis(
            listed=frozenset({*view.heads.listed, manifest.name}),
            heads=frozenset({manifest.name}),
            packs=_pack_sizes(manifest.packs),
        ),
        added=replaced.count(False),
        superseded=replaced.count(True),
        uploaded_bytes=written.stored_bytes,
        stored_bytes=stored_bytes(manifest.entries.values(), manifest.packs),
        changed=len(written.changed),
        problems=view.heads.problems,
    )


def _pack_sizes(packs: Mapping[PackId, Pack]) -> dict[PackId, int]:
    return {pack: known.size for pack, known in packs.items()}
