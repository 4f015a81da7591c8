from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from b10_store.errors import SizeLimitError
from b10_store.format.frame import FrameTable
from b10_store.format.manifest import Entry, Identity, Location, Pack, stored_bytes
from b10_store.manifests.merge import MergedView
from b10_store.save.expiry import expire_oldest
from b10_store.save.plan import SMALL_PACK_LIMIT, SMALL_PACK_SIZE, move_small_packs, plan_save
from b10_store.save.use import Use
from tests.support.saves import finished, knowledge
from tests.support.values import RAW_SIZE, candidate, digest, entry, pack, pack_id

MANY = SMALL_PACK_LIMIT + 1
SMALL = Pack(SMALL_PACK_SIZE - 1, pack().frames)
LARGE = Pack(SMALL_PACK_SIZE, pack().frames)


def scattered(count: int, known: Pack = SMALL) -> MergedView:
    """As many artifacts, each in a pack of its own."""
    entries = [entry(f"{number}", pack=number) for number in range(count)]
    packs = {pack_id(number): known for number in range(count)}
    return MergedView({item.identity: item for item in entries}, packs)


def local(count: int) -> list[str]:
    return [f"{number}" for number in range(count)]


def moves(before: MergedView, here: list[str]) -> set[str]:
    candidates = [candidate(name) for name in here]
    plan = plan_save(before, candidates, knowledge(good=range(100)))
    moved = move_small_packs(plan, before.packs, candidates).moves
    return {name for name in here if digest(name) in moved}


def test_many_small_packs_are_put_together() -> None:
    assert moves(scattered(MANY), local(MANY)) == set(local(MANY))


def test_a_few_small_packs_are_left_alone() -> None:
    assert moves(scattered(SMALL_PACK_LIMIT), local(SMALL_PACK_LIMIT)) == set()


def test_packs_of_a_fair_size_are_left_alone() -> None:
    assert moves(scattered(MANY, LARGE), local(MANY)) == set()


def test_packs_of_which_something_is_not_here_are_left_alone() -> None:
    assert moves(scattered(MANY), local(MANY - 1)) == set()
    assert moves(scattered(MANY + 5), local(MANY)) == set(local(MANY))


def test_an_artifact_that_moved_is_otherwise_untouched() -> None:
    before = scattered(MANY)
    candidates = [candidate(name) for name in [*local(MANY), "new"]]
    plan = plan_save(before, candidates, knowledge(good=range(100)))
    plan = move_small_packs(plan, before.packs, candidates)
    assert set(plan.uploads) == {item.digest for item in candidates}
    uploaded = {item.digest: Location(pack_id(99), 7) for item in candidates}
    after = finished(plan, uploaded, saved_ms=50)
    for identity, item in before.entries.items():
        moved = after[identity]
        assert moved.location == Location(pack_id(99), 7)
        assert (moved.digest, moved.generation, moved.saved_ms) == (item.digest, 0, item.saved_ms)


def test_an_artifact_that_changed_before_it_could_move_stays_where_it_is() -> None:
    before = scattered(MANY)
    candidates = [candidate(name) for name in local(MANY)]
    plan = plan_save(before, candidates, knowledge(good=range(100)))
    plan = move_small_packs(plan, before.packs, candidates)
    assert finished(plan, {}, saved_ms=50) == before.entries


PACKS = {pack_id(1): Pack(10_200, FrameTable(((100, RAW_SIZE),) * 100))}
"""Room for 100 artifacts of 100 stored bytes each."""


def stored_at(*items: Entry) -> dict[Identity, Entry]:
    """Entries that lie one behind the other, so that each takes 100 bytes."""
    return {
        item.identity: Entry(
            item.identity,
            item.digest,
            item.size,
            executable=False,
            mtime_ns=None,
            group_length=item.group_length,
            generation=0,
            saved_ms=item.saved_ms,
            location=Location(pack_id(1), RAW_SIZE * number),
        )
        for number, item in enumerate(items)
    }


def left(entries: dict[Identity, Entry], here: set[str], limit: int) -> set[str]:
    own = [identity for identity in entries if identity.path in here]
    return {path for _, path, _ in expire_oldest(entries, PACKS, own, Use(), limit)}


def test_within_the_limit_nothing_expires() -> None:
    entries = stored_at(entry("a/1", saved_ms=1), entry("b/1", saved_ms=2))
    assert left(entries, set(), 200) == {"a/1", "b/1"}


def test_the_oldest_expire_and_no_more_than_must() -> None:
    entries = stored_at(*(entry(f"{n}/x", saved_ms=n) for n in (5, 2, 4, 1, 3)))
    assert left(entries, set(), 499) == {"5/x", "2/x", "4/x", "3/x"}
    assert left(entries, set(), 300) == {"5/x", "4/x", "3/x"}
    assert left(entries, set(), 0) == set()


def test_what_this_host_has_does_not_expire() -> None:
    entries = stored_at(*(entry(f"{n}/x", saved_ms=n) for n in (1, 2, 3)))
    assert left(entries, {"1/x"}, 200) == {"1/x", "3/x"}
    assert left(entries, {"1/x"}, 100) == {"1/x"}


def test_what_lies_in_one_folder_expires_together() -> None:
    entries = stored_at(
        entry("a/1", saved_ms=1), entry("a/2", saved_ms=9), entry("b/1", saved_ms=5)
    )
    assert left(entries, set(), 299) == {"a/1", "a/2"}
    assert left(entries, set(), 200) == {"a/1", "a/2"}
    assert left(entries, set(), 199) == set()


def test_a_group_expires_whole() -> None:
    entries = stored_at(
        *(entry(name, group="fxgraph/aa/key", saved_ms=1) for name in "xyz"),
        entry("b/1", saved_ms=5),
    )
    assert left(entries, set(), 399) == {"b/1"}


def test_a_local_tree_over_the_limit_is_refused() -> None:
    entries = stored_at(entry("a/1"), entry("b/1"), entry("c/1"))
    with pytest.raises(SizeLimitError, match="used here takes"):
        left(entries, {"a/1", "b/1"}, 199)


def test_the_limit_holds_where_folders_are_partly_here() -> None:
    entries = stored_at(entry("a/1", saved_ms=1), entry("a/2", saved_ms=2), entry("top"))
    assert left(entries, {"a/1", "top"}, 200) == {"a/1", "top"}


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abc"), st.sampled_from("wxyz")),
        st.integers(1, 5),
        max_size=12,
    ),
    st.sets(st.tuples(st.sampled_from("abc"), st.sampled_from("wxyz"))),
    st.integers(0, 1300),
)
@example({("a", "x"): 1, ("a", "y"): 1}, {("a", "x")}, 100)
def test_the_limit_holds_or_the_local_tree_alone_is_over_it(
    times: dict[tuple[str, str], int], here: set[tuple[str, str]], limit: int
) -> None:
    entries = stored_at(*(entry("/".join(key), saved_ms=ms) for key, ms in times.items()))
    own = {identity for identity in entries if tuple(identity.path.split("/")) in here}
    alone = stored_bytes((entries[key] for key in own), PACKS)
    if alone > limit:
        with pytest.raises(SizeLimitError):
            expire_oldest(entries, PACKS, own, Use(), limit)
        return
    result = expire_oldest(entries, PACKS, own, Use(), limit)
    assert stored_bytes(result.values(), PACKS) <= limit
    assert own <= result.keys() <= entries.keys()
