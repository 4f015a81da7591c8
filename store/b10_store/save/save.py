"""The save protocol: from local artifacts to a manifest that every host can load."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from b10_store.collector import paused_collector
from b10_store.errors import (
    OUT_OF_SPACE,
    FencedError,
    NoSpaceError,
    SizeLimitError,
    StoreError,
)
from b10_store.format.keys import signer_of
from b10_store.format.manifest import Manifest, referenced_packs, stored_bytes, summarize
from b10_store.format.manifest_file import encode_manifest
from b10_store.format.marker import check_format, write_format
from b10_store.format.names import FENCED_ATTEMPTS, snapshot_milliseconds
from b10_store.manifests.lineage import lineage_of
from b10_store.manifests.merge import merge, with_good_packs
from b10_store.manifests.problem import Damage
from b10_store.packs.health import Packs, look_at_packs
from b10_store.packs.writer import Written, write_packs
from b10_store.save.dedup import WORTHWHILE_BYTES, find_elsewhere
from b10_store.save.expiry import (
    expire_oldest,
    expire_unused,
    is_renewal_due,
    limit_crowds,
    renew,
)
from b10_store.save.facts import PlanInputs
from b10_store.save.mergeable import unite_rewritten
from b10_store.save.plan import finish_entries, move_small_packs, plan_save
from b10_store.save.request import SaveOutcome, SaveRequest
from b10_store.save.session import open_session
from b10_store.save.unchanged import StoreState
from b10_store.tree.scan import CHANGED, INCOMPLETE, Skipped, layout_order

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from b10_store.digest import Digest
    from b10_store.format.keys import Key
    from b10_store.format.manifest import Entry, Identity, Location, Pack
    from b10_store.format.names import PackId, SnapshotName
    from b10_store.format.pack_footer import StoredFrame
    from b10_store.manifests.merge import MergedView
    from b10_store.manifests.reader import Heads, ManifestReader
    from b10_store.remote.protocol import Remote
    from b10_store.save.plan import Addition, SavePlan
    from b10_store.save.session import Session
    from b10_store.tree.scan import Scanned

_NAMED_FILES = 3
_CREDIBLE_MS = 86_400_000


class _View(NamedTuple):
    """The store as read at one moment, and the resulting plan.

    Attributes:
        heads: the heads of the address, as read.
        parents: the heads that this saver may carry on.
        stored: the merged parents.
        packs: the packs that can be relied on.
        artifacts: the local artifacts; those that a compiler rewrites are merged with the stored
            ones.
        plan: the plan of the save.
        is_renewal_due: whether the use of local artifacts must be noted, so that they do not
            expire.
    """

    heads: Heads
    parents: tuple[Manifest, ...]
    stored: MergedView
    packs: Packs
    artifacts: tuple[Scanned, ...]
    plan: SavePlan
    is_renewal_due: bool

    @property
    def has_work(self) -> bool:
        """Whether there is anything to publish."""
        return self.is_renewal_due or bool(self.plan.additions)


def save(remote: Remote, reader: ManifestReader, request: SaveRequest) -> SaveOutcome:
    """Publish what is new.

    Raises:
        StoreError: see its subclasses; nothing was published.
        OSError: the store cannot be read or written; nothing was published.
    """
    check_format(remote)
    view = _look(remote, reader, request, time.time_ns() // 1_000_000)
    if not view.has_work:
        return _nothing_new(view, request)
    try:
        # Check before anything is written whether this host can sign.
        signer_of(reader.keys)
        return _publish(remote, reader, request, view)
    except (StoreError, OSError):
        if view.plan.additions:
            raise
        # This host has nothing to save, so it does not matter whether it could write.
        return _nothing_new(view, request)


def _publish(
    remote: Remote, reader: ManifestReader, request: SaveRequest, view: _View
) -> SaveOutcome:
    with _naming_needs(view.plan.upload_bytes):
        return _publish_in_sessions(remote, reader, request, view)


@contextlib.contextmanager
def _naming_needs(size: int) -> Generator[None]:
    """Add the size of the upload to the error of a full store."""
    try:
        yield
    except OSError as error:
        if error.errno in OUT_OF_SPACE:
            raise NoSpaceError(error.strerror or str(error), needed=size) from error
        raise


def _publish_in_sessions(
    remote: Remote, reader: ManifestReader, request: SaveRequest, first: _View
) -> SaveOutcome:
    write_format(remote)
    # Only verified manifests count: anybody can give a file a name with a future time.
    newest = max((head.name.snapshot for head in first.heads.read), default=None)
    for attempt in range(FENCED_ATTEMPTS):
        session = open_session(remote, request.address, newest)
        try:
            return _save_in_session(remote, reader, request, session, first)
        except FencedError:
            if attempt == FENCED_ATTEMPTS - 1:
                raise
        except BaseException:
            session.abandon()
            raise
    raise AssertionError("unreachable")


def _save_in_session(
    remote: Remote,
    reader: ManifestReader,
    request: SaveRequest,
    session: Session,
    first: _View,
) -> SaveOutcome:
    # Everything believed from here on is read after the token was created (I4): gc, which lists the
    # tokens after it has moved packs away, then either sees this one or its moves are seen here.
    view: _View | None = None
    now_ms = snapshot_milliseconds(session.name.snapshot)

    def has_work() -> bool:
        nonlocal view
        view = _look(remote, reader, request, now_ms, first)
        return view.has_work

    if session.wait_for_turn(request.slots, has_work, request.wait_seconds, request.on_wait):
        view = _look(remote, reader, request, now_ms, first)
    elif view is None:
        raise AssertionError("a session that has nothing to do has looked")
    elsewhere: Mapping[PackId, Pack] = {}
    if view.plan.upload_bytes > WORTHWHILE_BYTES:
        view, elsewhere = _with_elsewhere(remote, reader, request, view)
    if not view.has_work:
        session.abandon()
        return _nothing_new(view, request)
    plan = move_small_packs(view.plan, view.stored.packs, view.artifacts)
    written = _upload(remote, request, view.artifacts, plan)
    done = plan.realized(written.locations)
    if view.plan.additions and not done:
        # Every file to add changed meanwhile; the next save takes them.
        session.abandon()
        return replace(_nothing_new(view, request), left_out=_left_out(view, done, written))
    with paused_collector():
        entries = finish_entries(plan, done, written.locations, now_ms)
        packs = {**view.stored.packs, **elsewhere, **written.packs}
        manifest = _compose(session, request, view, packs, entries, reader.keys)
        summary = summarize(manifest)
        data = encode_manifest(manifest, request.scratch, signer_of(reader.keys), summary)
    session.publish([data])
    return replace(
        _outcome(request, view, manifest, done, written),
        expired=len(entries) - len(manifest.entries),
        stored_bytes=summary.stored_bytes,
    )


def _look(
    remote: Remote,
    reader: ManifestReader,
    request: SaveRequest,
    now_ms: int,
    before: _View | None = None,
) -> _View:
    """Read the store and plan.

    Args:
        remote: the store.
        reader: of its manifests.
        request: what to save.
        now_ms: the time by the store's clock, ms since the epoch.
        before: an earlier view. Its plan is taken over where all that it was made of is read again
            and is the same: a plan is a function of these values.
    """
    heads = reader.heads(request.address)
    for problem in heads.problems:
        if problem.damage is Damage.UNREADABLE:
            # It may hold everything: planning around it would upload all of that again (I7).
            raise StoreError(f"{problem.name} cannot be read: {problem.reason}")
    # Manifests that only others can verify are neither carried on nor moved away.
    parents = tuple(head for head in heads.manifests if reader.keys or not head.signed)
    suspects = {pack for _, pack in request.distrusted}
    is_same = before is not None and _names(before.parents) == _names(parents)
    stored = before.stored if before is not None and is_same else merge(parents)
    packs = look_at_packs(remote, _pack_sizes(stored.packs), suspects)
    if before is not None and is_same and packs == before.packs:
        is_due = _is_renewal_due(stored, request, now_ms)
        return before._replace(heads=heads, is_renewal_due=is_due)
    stored = with_good_packs(merge(parents), parents, packs.good)
    artifacts = unite_rewritten(
        remote, stored, request.artifacts, packs.good, parents=parents, cold=request.cold
    )
    plan = _plan(stored, artifacts, request, packs, {})
    is_due = _is_renewal_due(stored, request, now_ms)
    return _View(heads, parents, stored, packs, artifacts, plan, is_due)


def _is_renewal_due(stored: MergedView, request: SaveRequest, now_ms: int) -> bool:
    return is_renewal_due(stored.entries, _identities(request), request.use, now_ms)


def _names(manifests: Iterable[Manifest]) -> frozenset[SnapshotName]:
    return frozenset(manifest.name for manifest in manifests)


@paused_collector()
def _plan(
    stored: MergedView,
    artifacts: Sequence[Scanned],
    request: SaveRequest,
    packs: Packs,
    elsewhere: Mapping[Digest, Location],
) -> SavePlan:
    inputs = PlanInputs(
        good_packs=packs.good,
        loaded=request.loaded,
        distrusted=frozenset(item for item in request.distrusted if item[1] not in packs.verified),
        broken=request.broken,
        elsewhere=elsewhere,
        dormant=request.use.dormant,
        cold=request.cold,
        now_ms=time.time_ns() // 1_000_000,
    )
    return plan_save(stored, artifacts, inputs)


def _with_elsewhere(
    remote: Remote, reader: ManifestReader, request: SaveRequest, view: _View
) -> tuple[_View, Mapping[PackId, Pack]]:
    locations, packs = find_elsewhere(
        remote, reader, request.address, view.plan.uploads, view.packs.good
    )
    if not packs:
        return view, packs
    distrusted = set(request.distrusted)
    # Packs that this address has not relied on yet are read first, which costs no more than
    # uploading them.
    sound = look_at_packs(remote, _pack_sizes(packs), packs).good
    trusted = {
        digest: location
        for digest, location in locations.items()
        if location.pack in sound and (digest, location.pack) not in distrusted
    }
    plan = _plan(view.stored, view.artifacts, request, view.packs, trusted)
    return view._replace(plan=plan), packs


def _upload(
    remote: Remote, request: SaveRequest, artifacts: Sequence[Scanned], plan: SavePlan
) -> Written:
    wanted = plan.uploads
    if not wanted:
        return Written()
    in_frames: set[Digest] = set()
    ready: Iterable[StoredFrame] = ()
    if request.ahead is not None:
        in_frames, ready = request.ahead.take(wanted)
    by_digest = {item.digest: item for item in artifacts if item.digest in wanted}
    uploads = [item for digest, item in by_digest.items() if digest not in in_frames]
    uploads.sort(key=lambda item: layout_order(item.identity.path))
    total = sum(wanted.values())
    done = 0

    def note(size: int) -> None:
        nonlocal done
        done += size
        request.on_progress(done, total)

    note(0)
    try:
        return write_packs(
            remote,
            uploads,
            workers=request.workers,
            limit=request.size_limit,
            ready=ready,
            on_written=note,
        )
    except SizeLimitError as error:
        what = f"what is to be uploaded, the largest of it {_largest(by_digest.values())},"
        raise SizeLimitError(what, error.needed, request.size_limit) from error


def _largest(uploads: Iterable[Scanned]) -> str:
    """Name the largest files of an upload, with their sizes before compression."""
    largest = sorted(uploads, key=lambda item: -item.size)[:_NAMED_FILES]
    return ", ".join(
        f"{item.file.found.location} ({item.size / (1 << 20):.1f} MB)" for item in largest
    )


def _compose(
    session: Session,
    request: SaveRequest,
    view: _View,
    packs: Mapping[PackId, Pack],
    entries: Mapping[Identity, Entry],
    keys: Sequence[Key],
) -> Manifest:
    now_ms = snapshot_milliseconds(session.name.snapshot)
    kept = _without_expired(entries, packs, request, now_ms)
    environment = request.environment, request.recorded
    return Manifest(
        session.name,
        lineage_of(view.heads, view.parents, keys, environment),
        referenced_packs(kept.values(), packs),
        kept,
    )


def _without_expired(
    entries: Mapping[Identity, Entry],
    packs: Mapping[PackId, Pack],
    request: SaveRequest,
    now_ms: int,
) -> dict[Identity, Entry]:
    here, use = _identities(request), request.use
    entries = renew(entries, here, use, now_ms)
    # If this host's clock and the store's differ by days, one of them is wrong, and every age may
    # be wrong.
    if abs(time.time_ns() // 1_000_000 - now_ms) < _CREDIBLE_MS:
        entries = expire_unused(entries, here, use, now_ms)
    return expire_oldest(limit_crowds(entries, here, use), packs, here, use, request.size_limit)


def _identities(request: SaveRequest) -> frozenset[Identity]:
    return frozenset(file.identity for file, *_ in request.artifacts)


def _nothing_new(view: _View, request: SaveRequest) -> SaveOutcome:
    return SaveOutcome(
        published=None,
        store_state=StoreState(
            listed=frozenset(view.heads.listed),
            heads=frozenset(head.name for head in view.parents),
            packs=_pack_sizes(view.stored.packs),
        ),
        stored_bytes=stored_bytes(view.stored.entries.values(), view.stored.packs),
        problems=view.heads.problems,
        stored=_stored_digests(request, view.stored.entries),
        sound_packs=view.packs.verified,
    )


def _outcome(
    request: SaveRequest,
    view: _View,
    manifest: Manifest,
    done: Sequence[Addition],
    written: Written,
) -> SaveOutcome:
    before = view.stored.entries
    superseded = sum(item.candidate.identity in before for item in done) if before else 0
    return SaveOutcome(
        published=manifest.name,
        store_state=StoreState(
            listed=frozenset({*view.heads.listed, manifest.name}),
            heads=frozenset({manifest.name}),
            packs=_pack_sizes(manifest.packs),
        ),
        added=len(done) - superseded,
        superseded=superseded,
        uploaded_bytes=written.stored_bytes,
        left_out=_left_out(view, done, written),
        problems=view.heads.problems,
        stored=_stored_digests(request, manifest.entries),
        sound_packs=view.packs.verified | frozenset(written.packs),
    )


def _left_out(view: _View, done: Sequence[Addition], written: Written) -> tuple[Skipped, ...]:
    """Return the files that changed between being hashed and being uploaded, and their bundles."""
    if not written.changed:
        return ()
    added = {item.candidate.identity for item in done}
    lacking = {item.candidate.identity for item in view.plan.additions} - added
    changed = set(written.changed)
    return tuple(
        Skipped(item.file.found.location, CHANGED if item.digest in changed else INCOMPLETE)
        for item in view.artifacts
        if item.identity in lacking
    )


def _stored_digests(
    request: SaveRequest, entries: Mapping[Identity, Entry]
) -> dict[Identity, Digest]:
    stored: dict[Identity, Digest] = {}
    for file, *_ in request.artifacts:
        entry = entries.get(file.identity)
        if entry is not None:
            stored[file.identity] = entry.digest
    return stored


def _pack_sizes(packs: Mapping[PackId, Pack]) -> dict[PackId, int]:
    return {pack: known.size for pack, known in packs.items()}
