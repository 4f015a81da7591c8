from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.manifests.merge import MergedView
from b10_store.save.plan import plan_save
from b10_store.save.variants import GROUP_LIMIT
from tests.support.saves import carried_out, knowledge, saved, saves_until_rest, stored
from tests.support.values import candidate, digest, entry, pack_id

if TYPE_CHECKING:
    from b10_store.save.plan import SavePlan
    from b10_store.tree.scan import Scanned

GROUP = "fxgraph/aa/key"
NOTHING = MergedView({}, {})


def added(plan: SavePlan) -> dict[str, int]:
    """Generation of each addition, by path."""
    return {item.candidate.identity.path: item.generation for item in plan.additions}


def kept(plan: SavePlan) -> set[str]:
    return {identity.path for identity in plan.kept}


def test_a_new_group_is_added_whole() -> None:
    local = [candidate("x", group=GROUP), candidate("y", group=GROUP)]
    assert len(plan_save(NOTHING, local, knowledge()).additions) == 2


def test_a_group_takes_a_member_when_all_its_stored_members_are_here() -> None:
    before = stored([entry("x", group=GROUP), entry("y", group=GROUP)])
    local = [candidate(name, group=GROUP) for name in "xyz"]
    plan = plan_save(before, local, knowledge())
    assert added(plan) == {f"{GROUP}/z": 0}
    assert len(carried_out(plan, 9).entries) == 3


def test_a_group_takes_no_member_from_a_host_that_never_loaded_it() -> None:
    before = stored([entry("x", group=GROUP), entry("y", group=GROUP)])
    local = [candidate("x", group=GROUP), candidate("z", group=GROUP)]
    assert plan_save(before, local, knowledge()).additions == ()


def test_a_group_of_another_folder_or_requirement_is_not_concerned() -> None:
    before = stored([entry("x", group=GROUP)])
    local = [candidate("z", group=f"{GROUP}2"), candidate("z", group=GROUP, requirement="avx2")]
    assert len(plan_save(before, local, knowledge()).additions) == 2


def test_a_cold_start_replaces_a_group_as_a_whole() -> None:
    before = stored([entry("x", group=GROUP, generation=2), entry("y", group=GROUP), entry("b")])
    local = [candidate("y", group=GROUP), candidate("z", group=GROUP)]
    plan = plan_save(before, local, knowledge(cold=True))
    assert added(plan) == {f"{GROUP}/z": 3}
    assert kept(plan) == {f"{GROUP}/y", "b"}


def test_a_member_of_other_bytes_stays_as_it_is_stored() -> None:
    before = stored([entry("x", "stored", group=GROUP)])
    for known in (knowledge(), knowledge(cold=True)):
        assert plan_save(before, [candidate("x", "local", group=GROUP)], known).additions == ()


def test_a_damaged_member_makes_room_for_what_was_compiled_in_its_place() -> None:
    before = stored([entry("x", group=GROUP), entry("y", group=GROUP)])
    local = [candidate("y", group=GROUP), candidate("z", group=GROUP)]
    known = knowledge(distrusted=[(digest(f"{GROUP}/x"), pack_id(1))])
    plan = plan_save(before, local, known)
    assert added(plan) == {f"{GROUP}/z": 0}
    assert kept(plan) == {f"{GROUP}/y"}


def test_a_member_that_is_only_gone_is_kept_beside_a_new_one() -> None:
    before = stored([entry("x", group=GROUP, pack=2), entry("y", group=GROUP)])
    local = [candidate("y", group=GROUP), candidate("z", group=GROUP)]
    plan = plan_save(before, local, knowledge())
    assert added(plan) == {f"{GROUP}/z": 0}
    assert kept(plan) == {f"{GROUP}/x", f"{GROUP}/y"}


def grown(count: int) -> list[Scanned]:
    return [candidate(f"{number:02}", group=GROUP) for number in range(count)]


def test_a_group_keeps_its_newest_members() -> None:
    before: MergedView = NOTHING
    for number in range(1, GROUP_LIMIT + 4):
        here = [candidate(path.rpartition("/")[2], group=GROUP) for _, path, _ in before.entries]
        before = saved(before, [*here, grown(number)[-1]], knowledge(), saved_ms=number)
    names = sorted(path.rpartition("/")[2] for _, path, _ in before.entries)
    assert names == [f"{number:02}" for number in range(3, GROUP_LIMIT + 3)]


@pytest.mark.parametrize("cold", [False, True])
def test_a_host_with_more_variants_than_a_group_takes_comes_to_rest(cold: bool) -> None:
    after = saves_until_rest(NOTHING, grown(GROUP_LIMIT + 2), knowledge(cold=cold))
    assert len(after) <= 2
    assert {len(one.entries) for one in after} == {GROUP_LIMIT}


def test_a_new_group_uploads_no_more_members_than_it_keeps() -> None:
    assert len(plan_save(NOTHING, grown(GROUP_LIMIT + 2), knowledge()).uploads) == GROUP_LIMIT


def test_a_variant_compiled_after_a_load_takes_the_place_of_the_oldest_once() -> None:
    before = stored(
        entry(f"{number:02}", group=GROUP, saved_ms=number) for number in range(GROUP_LIMIT)
    )
    loaded = {identity: item.digest for identity, item in before.entries.items()}
    after = saves_until_rest(before, grown(GROUP_LIMIT + 1), knowledge(loaded=loaded))
    assert len(after) == 1
    names = sorted(path.rpartition("/")[2] for _, path, _ in after[0].entries)
    assert names == [f"{number:02}" for number in range(1, GROUP_LIMIT + 1)]
