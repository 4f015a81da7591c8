"""What a save changes: a function from what is stored, here and known to a plan."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from b10_store.manifest import Entry, Group, Identity, Location

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store.digest import Digest
    from b10_store.layout import PackId
    from b10_store.manifest import Pack
    from b10_store.union import Union

GROUP_LIMIT = 8
"""Most members of a variant group; the oldest go first."""

GENERATION_LIMIT = (1 << 32) - 1
"""Largest generation that the format holds."""

SMALL_PACK_SIZE = 4 << 20
"""Packs below this many bytes are worth putting together."""

SMALL_PACK_LIMIT = 8
"""How many small packs one manifest may reference before they are put together."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An artifact that is here and could be saved.

    Attributes:
        identity: which artifact it is.
        digest: of its canonical bytes.
        size: of its canonical bytes.
        executable: whether its file has the execute bits.
        mtime_ns: to be restored by loads, or None.
        group_length: see `Entry.group_length`.
        bundle: artifacts of one root and bundle are of use only together; "" for none.
    """

    identity: Identity
    digest: Digest
    size: int
    executable: bool = False
    mtime_ns: int | None = None
    group_length: int = 0
    bundle: str = ""

    @property
    def group(self) -> Group | None:
        """The variant group that the artifact is a member of."""
        root, path, requirement = self.identity
        return Group(root, path[: self.group_length], requirement) if self.group_length else None


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a saver knows beside the manifests.

    Attributes:
        good_packs: packs that are in the store, by a listing made while the token existed.
        loaded: the stored digest of an artifact that this host and the store last had in common.
        distrusted: (digest, pack) that failed verification here twice.
        elsewhere: blobs of other environments' manifests that may be referenced.
        cold: the user started without the cache on purpose, so that what is here replaces it.
    """

    good_packs: frozenset[PackId]
    loaded: Mapping[Identity, Digest] = field(default_factory=dict[Identity, "Digest"])
    distrusted: frozenset[tuple[Digest, PackId]] = frozenset()
    elsewhere: Mapping[Digest, Location] = field(default_factory=dict["Digest", Location])
    cold: bool = False

    def trusts(self, entry: Entry) -> bool:
        """Whether a load could be given the entry's bytes, as far as is known here."""
        pack = entry.location.pack
        return pack in self.good_packs and (entry.digest, pack) not in self.distrusted


@dataclass(frozen=True, slots=True)
class Addition:
    """An artifact that the new manifest lists otherwise than the heads do.

    Attributes:
        candidate: what is here.
        generation: see `Entry.generation`.
        location: where its bytes are already, or None when they are to be uploaded.
    """

    candidate: Candidate
    generation: int
    location: Location | None


@dataclass(frozen=True, slots=True)
class SavePlan:
    """The difference between the heads and the manifest to be published.

    Attributes:
        kept: entries carried on untouched, unless an addition takes their place.
        additions: what is new, supersedes, or is healed.
        moves: size of blobs that the store has, in packs so small that they are written anew.
    """

    kept: Mapping[Identity, Entry]
    additions: tuple[Addition, ...]
    moves: Mapping[Digest, int] = field(default_factory=dict["Digest", int])

    @property
    def uploads(self) -> dict[Digest, int]:
        """Size of each blob that is to be written, each once."""
        new = {
            addition.candidate.digest: addition.candidate.size
            for addition in self.additions
            if addition.location is None
        }
        return {**self.moves, **new}

    @property
    def upload_bytes(self) -> int:
        """Raw bytes of the uploads."""
        return sum(self.uploads.values())

    def realized(self, uploaded: Mapping[Digest, Location]) -> list[tuple[Addition, Location]]:
        """The additions whose bytes are in the store, and where.

        One whose file changed before it could be uploaded is missing, with its whole bundle.
        """
        found = [
            (addition, addition.location or uploaded.get(addition.candidate.digest))
            for addition in self.additions
        ]
        torn = {_bundle_of(addition) for addition, location in found if location is None}
        return [
            (addition, location)
            for addition, location in found
            if location is not None
            and not (addition.candidate.bundle and _bundle_of(addition) in torn)
        ]


def _bundle_of(addition: Addition) -> tuple[str, str]:
    return addition.candidate.identity.root, addition.candidate.bundle


def plan_save(stored: Union, local: Sequence[Candidate], knowledge: Knowledge) -> SavePlan:
    """Decide what a save adds.

    - An artifact that no head has is added. A member of a variant group only when the group is new
      or all its members that can be had are here: else this host compiled beside a cache that it
      never loaded. It takes the place of members whose bytes failed verification here, since no
      compiler makes those again.
    - Of an artifact stored with other bytes the stored ones stay, since compilers do not write the
      same bytes twice and fifty replicas must not store fifty variants; unless the compiler
      replaced what this host had loaded, or the stored ones cannot be had, or the start was cold
      on purpose.
    - An artifact whose stored bytes cannot be had is uploaded again.
    """
    known_blobs = _trusted_locations(stored, knowledge)
    groups = _GroupPolicy(stored, local, knowledge)
    additions: list[Addition] = []
    for candidate in local:
        present = stored.entries.get(candidate.identity)
        if present is None:
            generation = groups.generation_of_new(candidate)
        elif _stays(present, candidate, knowledge):
            continue
        else:
            generation = min(present.generation + 1, GENERATION_LIMIT)
        if generation is not None:
            additions.append(Addition(candidate, generation, known_blobs.get(candidate.digest)))
    return SavePlan(groups.without_replaced(), tuple(additions))


def _stays(present: Entry, candidate: Candidate, knowledge: Knowledge) -> bool:
    if not knowledge.trusts(present):
        return False
    if present.digest == candidate.digest or present.group_length:
        return True
    return not knowledge.cold and knowledge.loaded.get(candidate.identity) != present.digest


class _GroupPolicy:
    """Which new artifacts variant groups take, and which members make room for them."""

    def __init__(self, stored: Union, local: Sequence[Candidate], knowledge: Knowledge) -> None:
        self._stored = stored
        self._here = {candidate.identity for candidate in local}
        self._knowledge = knowledge
        self._members: defaultdict[Group, list[Entry]] = defaultdict(list)
        for entry in stored.entries.values():
            group = entry.group
            if group is not None:
                self._members[group].append(entry)
        self._added: Counter[Group] = Counter()
        self._replaced: set[Group] = set()

    def generation_of_new(self, candidate: Candidate) -> int | None:
        """0 for an artifact to be added, more if it replaces others, None if it is not added."""
        group = candidate.group
        if group is None:
            return 0
        members = self._members.get(group, [])
        if any(self._is_missed(entry) for entry in members):
            if not self._knowledge.cold:
                return None
            self._replaced.add(group)
            return min(max(entry.generation for entry in members) + 1, GENERATION_LIMIT)
        # What was stored before and made room for others is not offered again: two hosts would
        # push out each other's variants for ever.
        full = len(members) >= GROUP_LIMIT or self._added[group] >= GROUP_LIMIT
        if full and (not members or candidate.identity in self._knowledge.loaded):
            return None
        self._added[group] += 1
        return 0

    def without_replaced(self) -> dict[Identity, Entry]:
        """The stored entries, less those that make room for new members of their group."""
        return {
            identity: entry
            for identity, entry in self._stored.entries.items()
            if identity in self._here or not self._makes_room(entry)
        }

    def _is_missed(self, entry: Entry) -> bool:
        """Whether the member could be had and is not here."""
        return entry.identity not in self._here and self._knowledge.trusts(entry)

    def _makes_room(self, entry: Entry) -> bool:
        group = entry.group
        if group is None:
            return False
        failed = (entry.digest, entry.location.pack) in self._knowledge.distrusted
        return group in self._replaced or (failed and self._added[group] > 0)


def _trusted_locations(stored: Union, knowledge: Knowledge) -> dict[Digest, Location]:
    locations = dict(knowledge.elsewhere)
    for entry in stored.entries.values():
        if knowledge.trusts(entry):
            locations[entry.digest] = entry.location
    return locations


def finish_entries(
    plan: SavePlan, uploaded: Mapping[Digest, Location], saved_ms: int
) -> dict[Identity, Entry]:
    """The entries of the manifest to be published."""
    entries = dict(plan.kept)
    for identity, entry in plan.kept.items():
        if entry.digest in plan.moves and entry.digest in uploaded:
            entries[identity] = replace(entry, location=uploaded[entry.digest])
    for addition, location in plan.realized(uploaded):
        candidate = addition.candidate
        entries[candidate.identity] = Entry(
            identity=candidate.identity,
            digest=candidate.digest,
            size=candidate.size,
            executable=candidate.executable,
            mtime_ns=candidate.mtime_ns,
            group_length=candidate.group_length,
            generation=addition.generation,
            saved_ms=saved_ms,
            location=location,
        )
    return _limit_groups(entries)


def move_small_packs(
    plan: SavePlan, packs: Mapping[PackId, Pack], local: Iterable[Candidate]
) -> SavePlan:
    """Write the blobs of many small packs anew, so that loads stay few reads.

    Only of packs of which everything is here: of the others a remainder would stay behind, and be
    written anew by each save.
    """
    here = {candidate.digest for candidate in local}
    used = {entry.location.pack for entry in plan.kept.values()}
    partly_elsewhere = {
        entry.location.pack for entry in plan.kept.values() if entry.digest not in here
    }
    small = {pack for pack in used - partly_elsewhere if packs[pack].size < SMALL_PACK_SIZE}
    if len(small) <= SMALL_PACK_LIMIT:
        return plan
    moves = {
        entry.digest: entry.size for entry in plan.kept.values() if entry.location.pack in small
    }
    return replace(plan, moves=moves)


def _limit_groups(entries: dict[Identity, Entry]) -> dict[Identity, Entry]:
    members: defaultdict[Group, list[Entry]] = defaultdict(list)
    for entry in entries.values():
        group = entry.group
        if group is not None:
            members[group].append(entry)
    for group_entries in members.values():
        if len(group_entries) > GROUP_LIMIT:
            group_entries.sort(key=lambda entry: (entry.saved_ms, entry.identity))
            for entry in group_entries[:-GROUP_LIMIT]:
                del entries[entry.identity]
    return entries
