"""Unit tests for b10_store.save.expiry and use: what a manifest gives up, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.errors import SizeLimitError
from b10_store.format.frame import FrameTable
from b10_store.format.manifest import Entry, Identity, Location, Pack
from b10_store.save.expiry import (
    CROWD_LIMIT,
    expire_oldest,
    expire_unused,
    is_renewal_due,
    limit_crowds,
    renew,
)
from b10_store.save.use import Use, folder_of
from tests.support.values import RAW_SIZE, entry, pack_id

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY = 86_400_000
NOW = 100 * DAY
AGE = 30 * DAY
PACKS = {pack_id(1): Pack(10_200, FrameTable(((100, RAW_SIZE),) * 100))}
"""Room for 100 artifacts of 100 stored bytes each."""


def aged(**days: int) -> dict[Identity, Entry]:
    """Entries by name, found in use so many days ago; each takes 100 bytes."""
    items = [entry(name, saved_ms=NOW - days[name] * DAY) for name in days]
    return {
        item.identity: Entry(
            item.identity,
            item.digest,
            item.size,
            executable=False,
            mtime_ns=None,
            group_length=0,
            generation=0,
            saved_ms=item.saved_ms,
            location=Location(pack_id(1), RAW_SIZE * number),
        )
        for number, item in enumerate(items)
    }


def named(*names: str) -> frozenset[Identity]:
    return frozenset(Identity("inductor", name) for name in names)


def alone(identity: Identity) -> str:
    return identity.path


def names_in(entries: Iterable[Identity]) -> set[str]:
    return {identity.path for identity in entries}


def days_in(entries: dict[Identity, Entry]) -> dict[str, float]:
    return {key.path: (NOW - item.saved_ms) / DAY for key, item in entries.items()}


# Renewing.


def test_what_is_here_is_renewed_once_a_day_and_nothing_else_is() -> None:
    entries = aged(used=2, today=1, idle=2, elsewhere=2)
    use = Use(idle=named("idle"))
    renewed = days_in(renew(entries, named("used", "today", "idle"), use, NOW))
    assert renewed == {"used": 0, "today": 1, "idle": 2, "elsewhere": 2}


def test_what_may_be_in_use_is_renewed_like_what_is() -> None:
    use = Use(unsure=named("perhaps"))
    assert days_in(renew(aged(perhaps=5), named("perhaps"), use, NOW)) == {"perhaps": 0}


def test_a_time_in_the_future_is_corrected() -> None:
    assert days_in(renew(aged(ahead=-4000), named(), Use(), NOW)) == {"ahead": 0}


@pytest.mark.parametrize(("days", "due"), [(9, False), (10, False), (11, True)])
def test_a_renewal_is_due_after_a_third_of_the_maximum_age(days: int, due: bool) -> None:
    entries, here = aged(a=days, b=1), named("a", "b")
    assert is_renewal_due(entries, here, Use(max_age_ms=AGE), NOW) is due
    assert not is_renewal_due(renew(entries, here, Use(), NOW), here, Use(max_age_ms=AGE), NOW)


def test_no_renewal_is_due_of_what_is_idle_elsewhere_or_never_expires() -> None:
    use = Use(idle=named("idle"), max_age_ms=AGE)
    assert not is_renewal_due(aged(idle=29, elsewhere=29), named("idle", "new"), use, NOW)
    assert not is_renewal_due(aged(a=4000), named("a"), Use(), NOW)


# By age.


def test_what_nobody_used_for_the_maximum_age_expires() -> None:
    entries = aged(used=99, perhaps=99, idle=31, recent=30, elsewhere=31)
    use = Use(named("idle"), named("perhaps"), AGE, alone)
    kept = expire_unused(entries, named("used", "perhaps", "idle"), use, NOW)
    assert names_in(kept) == {"used", "perhaps", "recent"}


def test_without_a_maximum_age_nothing_expires() -> None:
    entries = aged(idle=9999)
    assert expire_unused(entries, named("idle"), Use(named("idle")), NOW) == entries


def test_what_is_of_use_together_is_kept_while_one_of_it_is_used() -> None:
    entries = aged(**{"k/new": 1, "k/old": 99, "l/old": 99, "l/older": 100})
    use = Use(max_age_ms=AGE, unit_of=folder_of)
    assert names_in(expire_unused(entries, named(), use, NOW)) == {"k/new", "k/old"}


def test_a_unit_is_in_use_by_a_part_that_is_here_and_not_stored() -> None:
    use = Use(max_age_ms=AGE, unit_of=folder_of)
    assert names_in(expire_unused(aged(**{"k/old": 99}), named("k/new"), use, NOW)) == {"k/old"}


# By number.


def test_of_a_crowd_the_newest_stay_and_those_in_use_here() -> None:
    entries = aged(**{f"p{number:03}": number for number in range(CROWD_LIMIT + 10)})
    use = Use(crowd_of=lambda identity: identity.path[0], unit_of=alone)
    kept = names_in(limit_crowds(entries, named(f"p{CROWD_LIMIT + 9}"), use))
    assert kept == {*(f"p{n:03}" for n in range(CROWD_LIMIT)), f"p{CROWD_LIMIT + 9}"}
    assert limit_crowds(entries, named(), Use()) == entries


# By size.


def test_what_a_load_brought_and_nothing_uses_makes_room_oldest_first() -> None:
    entries = aged(idle=1, older=2, new=0, used=9)
    use = Use(named("idle", "older"), unit_of=alone)
    here = named("idle", "older", "new", "used")
    assert names_in(expire_oldest(entries, PACKS, here, use, 300)) == {"idle", "new", "used"}
    assert names_in(expire_oldest(entries, PACKS, here, use, 200)) == {"new", "used"}
    with pytest.raises(SizeLimitError, match="used here takes"):
        expire_oldest(entries, PACKS, here, use, 199)


def test_what_may_be_in_use_makes_room_last_and_only_for_what_is() -> None:
    entries = aged(perhaps=50, idle=1, elsewhere=2, new=0)
    use = Use(named("idle"), named("perhaps"), unit_of=alone)
    here = named("perhaps", "idle", "new")
    assert names_in(expire_oldest(entries, PACKS, here, use, 200)) == {"perhaps", "new"}
    assert names_in(expire_oldest(entries, PACKS, here, use, 100)) == {"new"}
