from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b10_store.format.manifest import GENERATION_LIMIT, Group, Location
from b10_store.manifests.merge import MergedView
from b10_store.save.plan import plan_save
from b10_store.save.variants import GROUP_LIMIT
from tests.support.saves import carried_out, finished, knowledge, saved, saves_until_rest, stored
from tests.support.values import candidate, digest, entry, pack_id

if TYPE_CHECKING:
    from b10_store.save.facts import PlanInputs
    from b10_store.save.plan import SavePlan
    from b10_store.tree.scan import Scanned

GROUP = "fxgraph/aa/key"
NOTHING = MergedView({}, {})


def added(plan: SavePlan) -> dict[str, int]:
    """Generation of each addition, by path."""
    return {item.candidate.identity.path: item.generation for item in plan.additions}


def kept(plan: SavePlan) -> set[str]:
    return {identity.path for identity in plan.kept}


def test_what_a_load_brought_and_the_store_let_go_is_not_added_again() -> None:
    before = stored([entry("kept")])
    local = [candidate("kept"), candidate("gone"), candidate("made")]
    gone = candidate("gone").identity
    known = dataclasses.replace(knowledge(), dormant=frozenset({gone}))
    assert added(plan_save(before, local, known)) == {"made": 0}
    assert len(plan_save(stored([]), local, known).additions) == 3


def test_into_an_empty_store_everything_is_uploaded_once() -> None:
    local = [candidate("a", "same"), candidate("b", "same"), candidate("c", size=50)]
    plan = plan_save(NOTHING, local, knowledge())
    assert added(plan) == {"a": 0, "b": 0, "c": 0}
    assert plan.uploads == {digest("same"): 1000, digest("c"): 50}
    assert plan.upload_bytes == 1050


def test_what_is_stored_already_is_no_news() -> None:
    before = stored([entry("a"), entry("b")])
    plan = plan_save(before, [candidate("a"), candidate("b")], knowledge())
    assert plan.additions == ()
    assert plan.kept == before.entries


def test_what_this_host_does_not_have_is_carried_on_untouched() -> None:
    before = stored([entry("a", generation=3, saved_ms=5), entry("b", root="other")])
    plan = plan_save(before, [candidate("new")], knowledge())
    result = finished(plan, {digest("new"): Location(pack_id(1), 0)}, saved_ms=9)
    assert {key: result[key] for key in before.entries} == before.entries
    assert len(result) == 3


def test_an_entry_whose_pack_is_not_found_is_never_removed() -> None:
    before = stored([entry("a", pack=2)])
    assert plan_save(before, [candidate("b")], knowledge()).kept == before.entries


def test_a_blob_that_is_stored_under_another_path_is_not_uploaded_again() -> None:
    before = stored([entry("a", "same", offset=7)])
    (addition,) = plan_save(before, [candidate("b", "same")], knowledge()).additions
    assert addition.location == Location(pack_id(1), 7)


def test_a_blob_in_a_pack_that_is_gone_is_uploaded_for_another_path() -> None:
    before = stored([entry("a", "same", pack=2)])
    plan = plan_save(before, [candidate("b", "same")], knowledge())
    assert plan.uploads == {digest("same"): 1000}


def test_a_blob_known_elsewhere_is_referenced() -> None:
    place = Location(pack_id(5), 3)
    plan = plan_save(NOTHING, [candidate("a")], knowledge(elsewhere={digest("a"): place}))
    assert plan.uploads == {}
    assert plan.realized({})[0].location == place


def test_the_own_packs_are_preferred_to_those_of_others() -> None:
    before = stored([entry("a", "same", offset=7)])
    known = knowledge(elsewhere={digest("same"): Location(pack_id(5), 3)})
    (addition,) = plan_save(before, [candidate("b", "same")], known).additions
    assert addition.location == Location(pack_id(1), 7)


def test_of_other_bytes_the_first_good_ones_stay() -> None:
    before = stored([entry("a", "stored")])
    assert plan_save(before, [candidate("a", "local")], knowledge()).additions == ()


@pytest.mark.parametrize(
    "known",
    [
        knowledge(loaded={entry("a").identity: digest("stored")}),
        knowledge(cold=True),
        knowledge(good=[]),
        knowledge(distrusted=[(digest("stored"), pack_id(1))]),
    ],
    ids=["replaced after a load", "cold on purpose", "gone", "failed here twice"],
)
def test_other_bytes_supersede_when_there_is_a_reason(known: PlanInputs) -> None:
    before = stored([entry("a", "stored", generation=4)])
    plan = plan_save(before, [candidate("a", "local")], known)
    assert added(plan) == {"a": 5}
    assert set(plan.uploads) == {digest("local")}
    after = carried_out(plan, saved_ms=9)
    assert after.entries[entry("a").identity].digest == digest("local")


@pytest.mark.parametrize(
    "known",
    [
        knowledge(loaded={entry("a").identity: digest("another")}),
        knowledge(distrusted=[(digest("another"), pack_id(1))]),
        knowledge(distrusted=[(digest("stored"), pack_id(2))]),
    ],
    ids=["loaded another", "distrusts another", "distrusts another pack"],
)
def test_what_is_known_of_something_else_is_no_reason(known: PlanInputs) -> None:
    before = stored([entry("a", "stored")])
    assert plan_save(before, [candidate("a", "local")], known).additions == ()


def test_the_same_bytes_are_no_news_even_when_the_start_was_cold() -> None:
    before = stored([entry("a")])
    known = knowledge(cold=True, loaded={entry("a").identity: digest("a")})
    assert plan_save(before, [candidate("a")], known).additions == ()


@pytest.mark.parametrize(
    "known",
    [knowledge(good=[]), knowledge(distrusted=[(digest("a"), pack_id(1))])],
    ids=["gone", "damaged"],
)
def test_bytes_that_cannot_be_had_are_uploaded_again(known: PlanInputs) -> None:
    plan = plan_save(stored([entry("a")]), [candidate("a")], known)
    assert added(plan) == {"a": 1}
    assert set(plan.uploads) == {digest("a")}


def test_bytes_that_cannot_be_had_are_healed_from_where_they_can() -> None:
    before = stored([entry("a", "same", pack=2), entry("b", "same", pack=1, offset=7)])
    (addition,) = plan_save(before, [candidate("a", "same")], knowledge()).additions
    assert addition.location == Location(pack_id(1), 7)


def test_a_healed_store_has_nothing_left_to_heal() -> None:
    local = [candidate("a"), candidate("b")]
    before = stored([entry("a", pack=2), entry("b", pack=2)])
    after = carried_out(plan_save(before, local, knowledge()), saved_ms=9)
    assert plan_save(after, local, knowledge()).additions == ()


def test_an_addition_keeps_what_the_candidate_says() -> None:
    local = candidate("x", group=GROUP)
    plan = plan_save(NOTHING, [local], knowledge())
    (item,) = carried_out(plan, saved_ms=77).entries.values()
    assert (item.identity, item.digest, item.size) == (local.identity, local.digest, local.size)
    assert (item.group, item.saved_ms) == (Group("inductor", GROUP, ""), 77)


def test_an_addition_whose_file_changed_meanwhile_is_left_out() -> None:
    before = stored([entry("a", "stored", pack=2)])
    local = [candidate("a", "local"), candidate("b")]
    plan = plan_save(before, local, knowledge())
    uploaded = {digest("b"): Location(pack_id(1), 0)}
    assert [item.candidate.identity.path for item in plan.realized(uploaded)] == ["b"]
    result = finished(plan, uploaded, saved_ms=9)
    assert result[entry("a").identity] == entry("a", "stored", pack=2)


def test_the_largest_generation_is_never_exceeded() -> None:
    before = stored(
        [
            entry("a", "stored", generation=GENERATION_LIMIT),
            entry("x", group=GROUP, generation=GENERATION_LIMIT),
        ]
    )
    local = [candidate("a", "local"), candidate("z", group=GROUP)]
    plan = plan_save(before, local, knowledge(cold=True))
    assert added(plan) == {"a": GENERATION_LIMIT, f"{GROUP}/z": GENERATION_LIMIT}


def test_of_a_bundle_of_which_a_file_changed_nothing_is_added() -> None:
    torn = [candidate(name, bundle="one") for name in ("one/a", "one/b", "one/c")]
    whole = [candidate("two/a", bundle="two"), candidate("d"), candidate("e")]
    plan = plan_save(NOTHING, [*torn, *whole], knowledge())
    uploaded = {
        digest: Location(pack_id(1), 0)
        for digest in plan.uploads
        if digest not in (torn[1].digest, whole[2].digest)
    }
    after = finished(plan, uploaded, saved_ms=9)
    assert {path for _, path, _ in after} == {"two/a", "d"}


_NAMES = st.sampled_from("abcdefghij")
_CONTENTS = st.sampled_from(["one", "two"])
_GROUPS = st.sampled_from(["", GROUP])
_LOCAL = st.lists(
    st.builds(candidate, _NAMES, _CONTENTS, group=_GROUPS),
    unique_by=lambda item: item.identity,
    max_size=12,
)
_STORED = st.lists(
    st.builds(
        entry,
        _NAMES,
        _CONTENTS,
        pack=st.integers(1, 2),
        generation=st.integers(0, 2),
        saved_ms=st.integers(0, 5),
        group=_GROUPS,
    ),
    max_size=GROUP_LIMIT,
).map(stored)
_KNOWLEDGE = st.builds(
    knowledge,
    good=st.sampled_from([[1], [1, 2]]),
    cold=st.booleans(),
    distrusted=st.sampled_from([[], [(digest("one"), pack_id(2))]]),
)


@given(_STORED, _LOCAL, _KNOWLEDGE)
def test_every_host_comes_to_rest(
    before: MergedView, local: list[Scanned], known: PlanInputs
) -> None:
    assert len(saves_until_rest(before, local, known)) <= 3


@given(_STORED, _LOCAL, _KNOWLEDGE)
def test_what_is_outside_groups_is_never_lost(
    before: MergedView, local: list[Scanned], known: PlanInputs
) -> None:
    after = saved(before, local, known, saved_ms=9)
    alone = [item.identity for item in before.entries.values() if not item.group_length]
    here = [item.identity for item in local if not item.file.group_length]
    assert after.entries.keys() >= {*alone, *here}


@given(_STORED, _LOCAL, _KNOWLEDGE)
def test_no_entry_goes_back_a_generation(
    before: MergedView, local: list[Scanned], known: PlanInputs
) -> None:
    after = saved(before, local, known, saved_ms=9)
    for identity, item in after.entries.items():
        older = before.entries.get(identity)
        assert older is None or item == older or item.generation == older.generation + 1
