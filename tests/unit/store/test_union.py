from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b10_store.format.manifest import Entry, Manifest, Pack
from b10_store.manifests.merge import MergedView, merge, superseded_by
from tests.support.values import digest, entry, manifest, pack, pack_id, snapshot

if TYPE_CHECKING:
    import random

GROUP = "fxgraph/aa/key"


def contents(result: MergedView) -> dict[str, Entry]:
    return {identity.path: item for identity, item in result.entries.items()}


def test_no_heads_hold_nothing() -> None:
    assert merge([]) == MergedView({}, {})


def test_a_single_head_is_its_own_union() -> None:
    head = manifest(1, [entry("a"), entry("b", group=GROUP)], packs={7: pack()})
    assert merge([head]) == MergedView(head.entries, head.packs)


def test_what_only_one_head_has_is_in_the_union() -> None:
    heads = [manifest(1, [entry("a", pack=1)]), manifest(2, [entry("b", pack=2)])]
    result = merge(heads)
    assert contents(result).keys() == {"a", "b"}
    assert result.packs.keys() == {pack_id(1), pack_id(2)}


def test_of_unrelated_heads_the_older_wins_artifact_by_artifact() -> None:
    older = manifest(1, [entry("a", "old a"), entry("b", "old b")])
    younger = manifest(2, [entry("b", "new b"), entry("c", "new c")])
    found = {path: item.digest for path, item in contents(merge([younger, older])).items()}
    assert found == {"a": digest("old a"), "b": digest("old b"), "c": digest("new c")}


def test_what_superseded_wins_over_what_it_superseded_in_the_older_head() -> None:
    older = manifest(1, [entry("a", "first")])
    younger = manifest(2, [entry("a", "healed", generation=1)])
    assert contents(merge([older, younger]))["a"].digest == digest("healed")


@pytest.mark.parametrize("generations", [(0, 0), (1, 0), (0, 1)])
@pytest.mark.parametrize("times", [(3, 7), (7, 3)])
def test_the_same_bytes_are_as_young_as_whoever_found_them_in_use_last_says(
    times: tuple[int, int], generations: tuple[int, int]
) -> None:
    heads = [
        manifest(number, [entry("a", saved_ms=time, generation=generation)])
        for number, (time, generation) in enumerate(zip(times, generations, strict=True), 1)
    ]
    for order in (heads, heads[::-1]):
        found = contents(merge(order))["a"]
        assert (found.saved_ms, found.generation) == (7, max(generations))


def test_other_bytes_have_a_time_of_their_own() -> None:
    older = manifest(1, [entry("a", "one", saved_ms=3)])
    younger = manifest(2, [entry("a", "two", saved_ms=7)])
    assert contents(merge([younger, older]))["a"].saved_ms == 3


def test_what_superseded_wins_from_the_older_head_too() -> None:
    older = manifest(1, [entry("a", "healed", generation=1)])
    younger = manifest(2, [entry("a", "first")])
    assert contents(merge([younger, older]))["a"].digest == digest("healed")


def test_of_equal_generations_the_older_head_wins() -> None:
    older = manifest(1, [entry("a", "one", generation=3)])
    younger = manifest(2, [entry("a", "two", generation=3)])
    assert contents(merge([younger, older]))["a"].digest == digest("one")


def test_the_same_path_with_another_root_or_requirement_is_another_artifact() -> None:
    heads = [
        manifest(1, [entry("a", "1"), entry("a", "2", requirement="avx2")]),
        manifest(2, [entry("a", "3", root="triton"), entry("a", "4", requirement="avx512")]),
    ]
    assert len(merge(heads).entries) == 4


def test_groups_that_share_a_member_are_united() -> None:
    older = manifest(1, [entry("x", "1", group=GROUP), entry("y", "2", group=GROUP)])
    younger = manifest(2, [entry("y", "2'", group=GROUP), entry("z", "3", group=GROUP)])
    found = contents(merge([younger, older]))
    assert found.keys() == {f"{GROUP}/{name}" for name in "xyz"}
    assert found[f"{GROUP}/y"].digest == digest("2")


def test_groups_that_share_no_member_are_decided_whole_for_the_older_head() -> None:
    older = manifest(1, [entry("x", group=GROUP), entry("y", group=GROUP)])
    younger = manifest(2, [entry("z", group=GROUP), entry("other")])
    found = contents(merge([younger, older]))
    assert found.keys() == {f"{GROUP}/x", f"{GROUP}/y", "other"}


def test_a_group_that_superseded_wins_whole_over_one_it_shares_nothing_with() -> None:
    older = manifest(1, [entry("x", group=GROUP), entry("y", group=GROUP)])
    cold = manifest(2, [entry("z", group=GROUP, generation=1), entry("w", group=GROUP)])
    for heads in ([older, cold], [cold, older]):
        assert contents(merge(heads)).keys() == {f"{GROUP}/z", f"{GROUP}/w"}


def test_groups_of_other_roots_and_requirements_are_apart() -> None:
    older = manifest(1, [entry("x", group=GROUP)])
    younger = manifest(
        2,
        [
            entry("y", group=GROUP, root="other"),
            entry("y", group=GROUP, requirement="avx2"),
            entry("y", group=f"{GROUP}2"),
        ],
    )
    assert len(merge([older, younger]).entries) == 4


def test_a_third_head_can_unite_with_the_group_that_was_decided_for() -> None:
    first = manifest(1, [entry("x", group=GROUP)])
    second = manifest(2, [entry("y", group=GROUP)])
    third = manifest(3, [entry("x", group=GROUP), entry("z", group=GROUP)])
    found = contents(merge([third, second, first]))
    assert found.keys() == {f"{GROUP}/x", f"{GROUP}/z"}


def test_of_a_pack_that_two_heads_tell_differently_the_older_head_is_believed() -> None:
    older = manifest(1, [entry("a", pack=1)], packs={1: pack(stored=100)})
    younger = manifest(
        2,
        [entry("a", pack=1, generation=5), entry("b", pack=1), entry("c", pack=2)],
        packs={1: pack(stored=101)},
    )
    result = merge([younger, older])
    assert contents(result).keys() == {"a", "c"}
    assert contents(result)["a"].generation == 0
    assert result.packs[pack_id(1)] == pack(stored=100)


def test_a_pack_whose_size_alone_differs_is_a_contradiction_too() -> None:
    known = pack()
    heads = [
        manifest(1, [entry("a")], packs={1: known}),
        manifest(2, [entry("b")], packs={1: Pack(known.size + 1, known.frames)}),
    ]
    assert contents(merge(heads)).keys() == {"a"}


def test_parents_and_ancestors_are_superseded() -> None:
    heads = [manifest(5, parents=[snapshot(3), snapshot(4)], ancestors=[snapshot(1)])]
    assert superseded_by(heads) == {snapshot(1), snapshot(3), snapshot(4)}


def test_a_manifest_supersedes_neither_itself_nor_a_younger_one() -> None:
    one = manifest(5, parents=[snapshot(5), snapshot(6)], ancestors=[snapshot(4)])
    assert superseded_by([one]) == {snapshot(4)}


def test_manifests_that_name_each_other_leave_the_newest() -> None:
    cycle = [manifest(1, parents=[snapshot(2)]), manifest(2, parents=[snapshot(1)])]
    assert superseded_by(cycle) == {snapshot(1)}
    longer = [manifest(number, parents=[snapshot(number % 3 + 1)]) for number in (1, 2, 3)]
    assert snapshot(3) not in superseded_by(longer)


_ENTRIES = st.builds(
    entry,
    st.sampled_from("abcd"),
    st.sampled_from(["one", "two", "three"]),
    pack=st.integers(1, 3),
    generation=st.integers(0, 2),
    group=st.sampled_from(["", GROUP]),
)
_HEADS = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.lists(_ENTRIES, max_size=6),
        st.dictionaries(st.integers(1, 3), st.sampled_from([pack(), pack(stored=99)])),
    ),
    max_size=4,
    unique_by=lambda head: head[0],
).map(lambda heads: [manifest(ms, items, packs=packs) for ms, items, packs in heads])


@given(_HEADS, st.randoms(use_true_random=False))
def test_every_reader_decides_alike(heads: list[Manifest], order: random.Random) -> None:
    shuffled = heads.copy()
    order.shuffle(shuffled)
    assert merge(shuffled) == merge(heads)


@given(_HEADS)
def test_a_union_makes_nothing_up_and_lists_every_pack_it_needs(heads: list[Manifest]) -> None:
    result = merge(heads)
    given_entries = [item for head in heads for item in head.entries.values()]
    for identity, item in result.entries.items():
        assert item.identity == identity
        assert item in given_entries
        assert item.location.pack in result.packs


@given(_HEADS)
def test_an_artifact_outside_groups_is_lost_only_with_a_contradicted_pack(
    heads: list[Manifest],
) -> None:
    result = merge(heads)
    for head in heads:
        agreed = all(result.packs[number] == known for number, known in head.packs.items())
        for identity, item in head.entries.items():
            if agreed and not item.group_length:
                assert result.entries[identity].generation >= item.generation


@given(_HEADS)
def test_a_manifest_that_carries_the_union_on_does_not_change_it(heads: list[Manifest]) -> None:
    result = merge(heads)
    packs = {int(number, 16): known for number, known in result.packs.items()}
    carried = manifest(9, result.entries.values(), packs=packs)
    assert merge([carried]) == result
    assert merge([*heads, carried]) == result
