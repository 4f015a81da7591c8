"""What a garbage collection moves to trash."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b10_store.gc.plan import GcPolicy, choose_packs, plan_gc, referenced_packs
from b10_store.gc.references import References
from b10_store.remote.protocol import FileStat
from tests.support.referrers import DAY, HOUR, NOW, address, named, referrer, surveyed
from tests.support.values import ADDRESS, pack_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_store.format.names import Address, SnapshotName
    from b10_store.gc.plan import GcPlan
    from b10_store.gc.references import Reference

KEEP_ALL = GcPolicy(max_age_seconds=0)


def superseded(*referrers: Reference, now: float = NOW) -> tuple[SnapshotName, ...]:
    return plan_gc(surveyed(*referrers), KEEP_ALL, now).superseded


def expired(policy: GcPolicy, *referrers: Reference) -> tuple[Address, ...]:
    return plan_gc(surveyed(*referrers), policy, NOW).addresses


# Superseded.


@pytest.mark.parametrize(("hours", "goes"), [(0, False), (0.99, False), (1.01, True), (50, True)])
def test_a_manifest_goes_when_what_supersedes_it_is_over_an_hour_old(
    hours: float, goes: bool
) -> None:
    old, new = named(100), named(hours)
    found = superseded(referrer(old), referrer(new, supersedes=[old]))
    assert found == ((old,) if goes else ())


def test_a_save_that_stalled_supersedes_an_hour_after_it_was_published() -> None:
    old, new = named(100), named(50)
    first = referrer(old)
    assert superseded(first, referrer(new, supersedes=[old], published_hours_ago=0.5)) == ()
    assert superseded(first, referrer(new, supersedes=[old], published_hours_ago=1.5)) == (old,)


def test_an_hour_exactly_is_not_enough() -> None:
    old, new = named(100), named(1)
    assert superseded(referrer(old), referrer(new, supersedes=[old])) == ()


def test_an_old_manifest_that_nothing_supersedes_stays() -> None:
    assert superseded(referrer(named(5000)), referrer(named(4000))) == ()


def test_the_oldest_of_those_that_supersede_a_manifest_decides() -> None:
    old, middle, new = named(100), named(3), named(0.5)
    found = superseded(
        referrer(old),
        referrer(middle, supersedes=[old]),
        referrer(new, supersedes=[old, middle]),
    )
    assert found == (old,)


def test_what_goes_is_ordered_by_age_across_addresses() -> None:
    first, second = address(1), address(2)
    chains = [[named(hours, at=at) for hours in (9.0, 7.0, 2.0)] for at in (second, first)]
    chains[1] = [named(hours, at=first) for hours in (8.0, 6.0, 3.0)]
    referrers = [
        referrer(name, supersedes=chain[:place])
        for chain in chains
        for place, name in enumerate(chain)
    ]
    found = superseded(*reversed(referrers))
    assert found == (chains[0][0], chains[1][0], chains[0][1], chains[1][1])


def test_a_manifest_supersedes_only_within_its_address() -> None:
    old = named(100, at=address(1))
    new = named(50, at=address(2))
    assert superseded(referrer(old), referrer(new, supersedes=[old])) == ()


@pytest.mark.parametrize(
    ("old_trusted", "new_trusted"), [(True, False), (False, True), (False, False)]
)
def test_only_a_trusted_manifest_supersedes_and_is_superseded(
    old_trusted: bool, new_trusted: bool
) -> None:
    old, new = named(100), named(50)
    found = superseded(
        referrer(old, is_trusted=old_trusted),
        referrer(new, supersedes=[old], is_trusted=new_trusted),
    )
    assert found == ()


def test_a_planted_manifest_does_not_make_a_young_one_supersede_earlier() -> None:
    old, planted, new = named(100), named(50), named(0.5)
    found = superseded(
        referrer(old),
        referrer(planted, supersedes=[old], is_trusted=False),
        referrer(new, supersedes=[old]),
    )
    assert found == ()


def test_manifests_that_claim_to_supersede_each_other_do_not_both_go() -> None:
    first, second = named(100), named(99)
    found = superseded(
        referrer(first, supersedes=[first, second]), referrer(second, supersedes=[first, second])
    )
    assert found == (first,)


def test_what_is_named_but_not_there_is_no_matter() -> None:
    assert superseded(referrer(named(50), supersedes=[named(100)])) == ()


def test_a_manifest_from_the_future_supersedes_nothing_yet() -> None:
    old, ahead = named(100), named(-1000)
    assert superseded(referrer(old), referrer(ahead, supersedes=[old])) == ()


def test_a_clock_that_went_back_lets_nothing_go() -> None:
    old, new = named(100), named(50)
    referrers = (referrer(old), referrer(new, supersedes=[old]))
    assert superseded(*referrers, now=NOW) == (old,)
    assert superseded(*referrers, now=NOW - 1000 * HOUR) == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=8))
def test_of_every_address_something_stays_that_carries_on_all_that_goes(
    shape: list[tuple[int, bool]],
) -> None:
    names = [named(100 - place) for place in range(len(shape))]
    referrers = [
        referrer(name, supersedes=names[max(0, place - reach) : place], is_trusted=trusted)
        for place, (name, (reach, trusted)) in enumerate(zip(names, shape, strict=True))
    ]
    going = set(superseded(*referrers))
    staying = [item for item in referrers if item.name not in going]
    for item in referrers:
        if item.name in going:
            carried_on_by = [other for other in referrers if item.name.snapshot in other.supersedes]
            assert any(other.is_trusted for other in carried_on_by)
    assert staying
    assert referrers[-1] in staying


# Expired by age.


@pytest.mark.parametrize(("days", "goes"), [(29.9, False), (30.1, True)])
def test_an_address_expires_when_nobody_loaded_it_for_long(days: float, goes: bool) -> None:
    found = expired(GcPolicy(), referrer(named(2000), loaded_days_ago=days))
    assert found == ((ADDRESS,) if goes else ())


def test_an_address_whose_newest_manifest_alone_was_loaded_stays_whole() -> None:
    old, new = named(5000), named(4000)
    found = plan_gc(
        surveyed(
            referrer(old, loaded_days_ago=200),
            referrer(new, loaded_days_ago=3),
        ),
        GcPolicy(),
        NOW,
    )
    assert found.expired == found.superseded == ()


def test_every_manifest_of_an_expired_address_goes_superseded_ones_first() -> None:
    old, middle, young = named(5000), named(4000), named(3000)
    found = plan_gc(
        surveyed(
            referrer(young, loaded_days_ago=50),
            referrer(middle, supersedes=[old], loaded_days_ago=60),
            referrer(old, loaded_days_ago=70),
        ),
        GcPolicy(),
        NOW,
    )
    assert found.superseded == (old,)
    assert found.expired == (old, middle, young)
    assert found.names == (old, middle, young)
    assert found.addresses == (ADDRESS,)


def test_nothing_expires_where_the_age_is_not_limited() -> None:
    assert expired(KEEP_ALL, referrer(named(5000), loaded_days_ago=9000)) == ()


def test_what_was_loaded_in_the_future_does_not_expire() -> None:
    assert expired(GcPolicy(), referrer(named(5000), loaded_days_ago=-9000)) == ()


def test_the_last_address_may_expire_by_age() -> None:
    found = expired(
        GcPolicy(),
        referrer(named(5000, at=address(1)), loaded_days_ago=40),
        referrer(named(5000, at=address(2)), loaded_days_ago=50),
    )
    assert found == (address(2), address(1))


# Expired by size.


def sized(number: int, packs: Mapping[int, int], days: float) -> Reference:
    return referrer(named(500, at=address(number)), packs=packs, loaded_days_ago=days)


def limit(size: int, days: float = 0) -> GcPolicy:
    return GcPolicy(max_age_seconds=days * DAY, max_store_bytes=size)


def test_what_was_loaded_longest_ago_makes_room() -> None:
    store = [sized(1, {1: 100}, 3), sized(2, {2: 100}, 5), sized(3, {3: 100}, 1)]
    assert expired(limit(300), *store) == ()
    assert expired(limit(299), *store) == (address(2),)
    assert expired(limit(200), *store) == (address(2),)
    assert expired(limit(199), *store) == (address(2), address(1))


def test_the_address_that_was_loaded_last_stays_whatever_its_size() -> None:
    store = [sized(1, {1: 100}, 3), sized(2, {2: 100}, 1)]
    assert expired(limit(1), *store) == (address(1),)
    assert expired(limit(1), store[1]) == ()


def test_a_pack_that_several_addresses_share_counts_once() -> None:
    store = [sized(1, {1: 100, 2: 10}, 3), sized(2, {1: 100, 3: 10}, 2), sized(3, {1: 100}, 1)]
    assert expired(limit(120), *store) == ()
    assert expired(limit(119), *store) == (address(1),)


def test_an_address_gives_no_room_for_a_pack_that_others_use() -> None:
    store = [sized(1, {1: 100}, 3), sized(2, {1: 100}, 2), sized(3, {3: 50}, 1)]
    assert expired(limit(149), *store) == (address(1), address(2))


def test_what_two_manifests_of_one_address_share_counts_once() -> None:
    store = [
        referrer(named(500), packs={1: 100}, loaded_days_ago=2),
        referrer(named(400), packs={1: 100}, loaded_days_ago=2),
        sized(9, {9: 10}, 1),
    ]
    assert expired(limit(110), *store) == ()
    assert expired(limit(109), *store) == (ADDRESS,)


def test_what_expired_by_age_has_made_room_already() -> None:
    store = [sized(1, {1: 100}, 60), sized(2, {2: 100}, 2), sized(3, {3: 100}, 1)]
    assert expired(limit(200, days=30), *store) == (address(1),)
    assert expired(limit(199, days=30), *store) == (address(1), address(2))


def test_of_addresses_loaded_at_the_same_time_every_host_chooses_the_same() -> None:
    store = [sized(number, {number: 100}, 5) for number in (3, 1, 2)]
    assert expired(limit(200), *store) == expired(limit(200), *reversed(store)) == (address(1),)


@given(
    st.lists(st.dictionaries(st.integers(1, 5), st.integers(1, 1), max_size=4), max_size=6),
    st.integers(1, 6),
)
def test_what_stays_fits_or_is_one_address(
    stores: list[dict[int, int]], max_store_bytes: int
) -> None:
    store = [sized(number, packs, 10 - number) for number, packs in enumerate(stores)]
    gone = expired(limit(max_store_bytes), *store)
    assert list(gone) == [address(number) for number in range(len(gone))]
    stay = [item for item in store if item.name.address not in gone]
    size = len({pack for item in stay for pack in item.packs})
    assert size <= max_store_bytes or len(stay) == 1
    if gone:
        # One less would not have been enough.
        back = [*stay, store[len(gone) - 1]]
        assert len({pack for item in back for pack in item.packs}) > max_store_bytes


def test_what_no_key_signed_neither_stays_nor_drives_out_what_one_did() -> None:
    own = sized(1, {1: 100}, 20)
    beside = referrer(named(400, at=address(1)), packs={3: 900})
    planted = [sized(2, {2: 900}, 0), beside, sized(3, {1: 100}, 0)]
    found = References((own, *(replace(item, is_trusted=False) for item in planted)), has_keys=True)
    plan = plan_gc(found, limit(100), NOW)
    assert set(plan.expired) == {planted[0].name, beside.name}
    assert plan.addresses == (address(2),)
    assert plan_gc(replace(found, has_keys=False), limit(100), NOW).addresses[0] == address(1)


# Packs.


def plan(found: References, policy: GcPolicy = KEEP_ALL) -> GcPlan:
    return plan_gc(found, policy, NOW)


def test_a_pack_is_referenced_by_whatever_manifest_stays_trusted_or_not() -> None:
    old, new, planted = named(100), named(50), named(40)
    found = surveyed(
        referrer(old, packs={1: 1, 2: 1}),
        referrer(new, supersedes=[old], packs={2: 1, 3: 1}),
        referrer(planted, packs={4: 1}, is_trusted=False),
    )
    assert referenced_packs(found) == {pack_id(number) for number in (1, 2, 3, 4)}
    assert referenced_packs(found, plan(found).names) == {pack_id(number) for number in (2, 3, 4)}


@pytest.mark.parametrize(
    ("age", "goes"),
    [
        (-5000 * DAY, True),
        (-0.5 * DAY, False),
        (0, False),
        (0.99 * DAY, False),
        (DAY, False),
        (1.01 * DAY, True),
    ],
)
def test_a_pack_that_nothing_references_goes_when_it_is_over_a_day_old(
    age: float, goes: bool
) -> None:
    found = choose_packs({pack_id(1): FileStat(10, NOW - age)}, NOW)
    assert found == ((pack_id(1),) if goes else ())
