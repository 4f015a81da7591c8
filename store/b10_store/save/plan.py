"""The plan of a save: a function of the stored and the local artifacts and known facts.

All entries of the parents are kept, unless an addition replaces them (I2).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from b10_store.format.manifest import GENERATION_LIMIT, Entry, Identity, Location
from b10_store.save.variants import GroupPolicy, limit_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store.digest import Digest
    from b10_store.format.manifest import Pack
    from b10_store.format.names import PackId
    from b10_store.manifests.merge import MergedView
    from b10_store.save.facts import PlanInputs
    from b10_store.tree.scan import Scanned

_REPLACED_FREELY = 4
"""How often an artifact is superseded without delay. Otherwise an artifact that a compiler rewrites
at each start would be uploaded each time, and help nobody."""

SMALL_PACK_SIZE = 4 << 20
"""Packs below this size, in bytes, are worth combining."""

SMALL_PACK_LIMIT = 8
"""How many small packs one manifest may reference before they are combined."""


class Addition(NamedTuple):
    """An artifact that the new manifest lists differently from the heads.

    Attributes:
        candidate: the local artifact.
        generation: see `Entry.generation`.
        location: where its bytes are stored already; None when they must be uploaded.
    """

    candidate: Scanned
    generation: int
    location: Location | None


@dataclass(frozen=True)
class SavePlan:
    """The difference between the heads and the manifest to publish.

    Attributes:
        kept: entries that are carried on unchanged, unless an addition replaces them.
        additions: artifacts that are new, supersede others, or are healed.
        moves: the sizes of stored blobs whose packs are so small that they are repacked.
    """

    kept: Mapping[Identity, Entry]
    additions: tuple[Addition, ...]
    moves: Mapping[Digest, int] = field(default_factory=dict["Digest", int])

    @cached_property
    def uploads(self) -> dict[Digest, int]:
        """Return the size of each blob to write, each once."""
        uploads = dict(self.moves)
        for candidate, _, location in self.additions:
            if location is None:
                uploads[candidate.digest] = candidate.size
        return uploads

    @property
    def upload_bytes(self) -> int:
        """Return the raw bytes of the uploads."""
        return sum(self.uploads.values())

    def realized(self, uploaded: Mapping[Digest, Location]) -> list[Addition]:
        """The additions whose bytes are in the store, with where they are.

        An addition whose file changed before its upload is missing, with its whole bundle.
        """
        found = [
            Addition(candidate, generation, location or uploaded.get(candidate.digest))
            for candidate, generation, location in self.additions
        ]
        torn = {_bundle_of(item) for item in found if item.location is None}
        if not torn:
            return found
        return [
            item
            for item in found
            if item.location and not (item.candidate.file.bundle and _bundle_of(item) in torn)
        ]


def _bundle_of(addition: Addition) -> tuple[str, str]:
    file = addition.candidate.file
    return file.identity.root, file.bundle


def plan_save(stored: MergedView, local: Sequence[Scanned], inputs: PlanInputs) -> SavePlan:
    """Decide what a save adds.

    - An artifact that no head has is added. A member of a variant group only when the group is new
    or all its members that can be read are here: else this host compiled beside a cache that it
    never loaded. It takes the place of members whose bytes failed verification here, since no
    compiler makes those again. - An artifact that is stored with other bytes stays as stored, since
    compilers do not write the same bytes twice and fifty replicas must not store fifty variants;
    unless the compiler replaced what this host had loaded, or the stored bytes cannot be read, or
    the start was cold on purpose, or the local bytes hold all that the stored ones do. An artifact
    that is replaced again and again is replaced ever more rarely, once a day in the end. - An
    artifact that was loaded and that nothing uses is not added again after the store dropped it. -
    An artifact whose stored bytes cannot be read is uploaded again. One whose bytes are broken is
    no longer carried on, whether or not something replaces it.
    """
    groups = GroupPolicy(stored, local, inputs)
    additions: list[Addition] = []
    for candidate in local:
        present = stored.entries.get(candidate.identity)
        if present is None and stored.entries and candidate.identity in inputs.dormant:
            # Savers let it expire. If it were saved again, it would push out what others need, in
            # turns.
            continue
        if present is None:
            generation = groups.generation_of_new(candidate)
        elif _stays(present, candidate, inputs):
            continue
        else:
            generation = min(present.generation + 1, GENERATION_LIMIT)
        if generation is not None:
            additions.append(Addition(candidate, generation, None))
    return SavePlan(groups.kept_entries(), _located(additions, stored, inputs))


def _stays(present: Entry, candidate: Scanned, inputs: PlanInputs) -> bool:
    if not inputs.trusts(present):
        return False
    if present.digest == candidate.digest or present.group_length:
        return True
    if inputs.cold or candidate.is_united:
        return False
    was_loaded = inputs.loaded.get(candidate.identity) == present.digest
    return not was_loaded or inputs.is_too_young(present, present.generation - _REPLACED_FREELY)


def _located(
    additions: Sequence[Addition], stored: MergedView, inputs: PlanInputs
) -> tuple[Addition, ...]:
    """Return the additions with where their bytes are, where these are stored already."""
    wanted = {addition.candidate.digest for addition in additions}
    locations = {
        digest: location for digest, location in inputs.elsewhere.items() if digest in wanted
    }
    for entry in stored.entries.values():
        if entry.digest in wanted and inputs.trusts(entry):
            locations[entry.digest] = entry.location
    if not locations:
        return tuple(additions)
    return tuple(
        Addition(candidate, generation, locations.get(candidate.digest))
        for candidate, generation, _ in additions
    )


def finish_entries(
    plan: SavePlan, done: Iterable[Addition], uploaded: Mapping[Digest, Location], saved_ms: int
) -> dict[Identity, Entry]:
    """Return the entries of the manifest to publish.

    Args:
        plan: the plan.
        done: what `SavePlan.realized` returned.
        uploaded: where the uploaded blobs are.
        saved_ms: when, see `Entry.saved_ms`.
    """
    entries = dict(plan.kept)
    if plan.moves:
        for identity, entry in plan.kept.items():
            if entry.digest in plan.moves and entry.digest in uploaded:
                entries[identity] = entry._replace(location=uploaded[entry.digest])
    for candidate, generation, location in done:
        file = candidate.file
        if location is not None:
            entries[file.identity] = Entry(
                file.identity,
                candidate.digest,
                candidate.size,
                file.found.executable,
                file.mtime_ns,
                file.group_length,
                generation,
                saved_ms,
                location,
            )
    return limit_groups(entries)


def _smallest(small: Iterable[PackId], packs: Mapping[PackId, Pack]) -> set[PackId]:
    ordered = sorted(small, key=lambda pack: (packs[pack].size, pack))
    chosen: set[PackId] = set()
    total = 0
    for place, pack in enumerate(ordered):
        others = len(ordered) - place
        if len(chosen) > 1 and packs[pack].size > total and others < SMALL_PACK_LIMIT:
            break
        chosen.add(pack)
        total += packs[pack].size
    return chosen


def move_small_packs(
    plan: SavePlan, packs: Mapping[PackId, Pack], local: Iterable[Scanned]
) -> SavePlan:
    """Repack many small packs into few, so that loads need few reads.

    Only packs whose every blob is local; otherwise a remainder would be repacked by each save. And
    only the smallest, none larger than those before it together (beyond what the limit asks for):
    so a blob is repacked as often as its pack doubles, not at every eighth save.
    """
    here = {candidate.digest for candidate in local}
    used = {entry.location.pack for entry in plan.kept.values()}
    partly_elsewhere = {
        entry.location.pack for entry in plan.kept.values() if entry.digest not in here
    }
    small = {pack for pack in used - partly_elsewhere if packs[pack].size < SMALL_PACK_SIZE}
    if len(small) <= SMALL_PACK_LIMIT:
        return plan
    small = _smallest(small, packs)
    moves = {
        entry.digest: entry.size for entry in plan.kept.values() if entry.location.pack in small
    }
    return replace(plan, moves=moves)
