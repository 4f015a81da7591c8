"""The planning half of a save, without a store: what a manifest holds after hosts saved in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from b10_store.format.manifest import Location
from b10_store.manifests.merge import MergedView
from b10_store.save.facts import PlanInputs
from b10_store.save.plan import SavePlan, finish_entries, plan_save
from tests.support.values import pack, pack_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from b10_store.digest import Digest
    from b10_store.format.manifest import Entry, Identity
    from b10_store.format.names import PackId
    from b10_store.tree.scan import Scanned


def stored(entries: Iterable[Entry]) -> MergedView:
    """The union of one head."""
    listed = list(entries)
    packs = {item.location.pack: pack(raw=10_000) for item in listed}
    return MergedView({item.identity: item for item in listed}, packs)


def knowledge(
    *,
    good: Iterable[int] = (1,),
    loaded: dict[Identity, Digest] | None = None,
    distrusted: Iterable[tuple[Digest, PackId]] = (),
    elsewhere: dict[Digest, Location] | None = None,
    cold: bool = False,
) -> PlanInputs:
    """What a saver knows; pack 1 is in the store by default."""
    return PlanInputs(
        frozenset(pack_id(number) for number in good),
        loaded=loaded or {},
        distrusted=frozenset(distrusted),
        elsewhere=elsewhere or {},
        cold=cold,
    )


def carried_out(plan: SavePlan, saved_ms: int, pack_number: int = 1) -> MergedView:
    """What the manifest holds after the plan was carried out."""
    uploaded = {digest: Location(pack_id(pack_number), 0) for digest in plan.uploads}
    return stored(finished(plan, uploaded, saved_ms).values())


def finished(
    plan: SavePlan, uploaded: Mapping[Digest, Location], saved_ms: int
) -> dict[Identity, Entry]:
    """The entries of the manifest after these blobs were uploaded."""
    return finish_entries(plan, plan.realized(uploaded), uploaded, saved_ms)


def saved(
    before: MergedView, local: Sequence[Scanned], known: PlanInputs, saved_ms: int
) -> MergedView:
    """The union after a save."""
    return carried_out(plan_save(before, local, known), saved_ms)


def in_common(after: MergedView, local: Sequence[Scanned]) -> dict[Identity, Digest]:
    """What a host remembers after a save: which of its artifacts are stored as they are here."""
    return {
        item.identity: item.digest
        for item in local
        if item.identity in after.entries and after.entries[item.identity].digest == item.digest
    }


def saves_until_rest(
    before: MergedView, local: Sequence[Scanned], known: PlanInputs
) -> list[MergedView]:
    """The unions after each save of one host, until one finds nothing to do; at most 9."""
    unions: list[MergedView] = []
    for saved_ms in range(100, 109):
        plan = plan_save(before, local, known)
        if not plan.additions:
            break
        before = carried_out(plan, saved_ms)
        unions.append(before)
        known = replace(known, loaded={**known.loaded, **in_common(before, local)})
    return unions
