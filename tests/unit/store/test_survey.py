"""The survey of all manifests, which garbage collection concludes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.format.keys import SigningKey
from b10_store.gc.references import References, superseders, survey
from b10_store.manifests.problem import Damage
from b10_store.remote.memory import MemoryRemote
from tests.support.clocks import SleepingClock
from tests.support.meanwhile import Meanwhile, failing
from tests.support.published import damage, publish
from tests.support.referrers import HOUR, NOW, named, referrer
from tests.support.values import ADDRESS, OTHER_ADDRESS, entry, manifest, pack, pack_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b10_store.format.manifest import Manifest
    from b10_store.format.names import Address, SnapshotName
    from b10_store.remote.protocol import Remote

KEY = SigningKey(b"a secret of enough bytes")
OTHER_KEY = SigningKey(b"another secret of enough bytes")


@pytest.fixture
def clock() -> SleepingClock:
    return SleepingClock()


@pytest.fixture
def remote(clock: SleepingClock) -> MemoryRemote:
    return MemoryRemote(clock.time)


def look(
    remote: Remote,
    tmp_path: Path,
    *keys: SigningKey,
    may_go_on: Callable[[], bool] = lambda: True,
) -> References:
    return survey(remote, str(tmp_path), keys, may_go_on)


def trusted(found: References) -> dict[SnapshotName, bool]:
    return {item.name: item.is_trusted for item in found.referrers}


def chain(count: int, *, address: Address = ADDRESS) -> list[Manifest]:
    """Manifests that each carry on all before."""
    made: list[Manifest] = []
    for number in range(1, count + 1):
        before = [item.name.snapshot for item in made]
        made.append(
            manifest(number, [entry(f"{number}")], parents=before[-1:], ancestors=before[:-1])
            if address == ADDRESS
            else manifest(number, [entry(f"{number}")], parents=before, address=address)
        )
    return made


def test_every_manifest_of_every_address_is_read(remote: MemoryRemote, tmp_path: Path) -> None:
    ours, theirs = chain(3), chain(2, address=OTHER_ADDRESS)
    publish(remote, str(tmp_path), *ours, *theirs)
    found = look(remote, tmp_path)
    assert found.problems == ()
    assert {item.name for item in found.referrers} == {item.name for item in (*ours, *theirs)}
    by_address = found.by_address()
    assert {item: len(listed) for item, listed in by_address.items()} == {
        ADDRESS: 3,
        OTHER_ADDRESS: 2,
    }


def test_a_referrer_knows_what_matters(
    remote: MemoryRemote, clock: SleepingClock, tmp_path: Path
) -> None:
    milliseconds = round((NOW - HOUR) * 1000)
    made = manifest(
        milliseconds,
        [entry("a", pack=1), entry("b", pack=2)],
        packs={1: pack(50), 2: pack(70)},
        parents=[named(9).snapshot],
        ancestors=[named(10).snapshot],
    )
    publish(remote, str(tmp_path), made)
    clock.seconds += 500
    remote.touch(made.name.manifest_path)
    (found,) = look(remote, tmp_path).referrers
    assert found.packs == {pack_id(1): 250, pack_id(2): 270}
    assert found.supersedes == {named(9).snapshot, named(10).snapshot}
    assert found.loaded_at == clock.started + 500
    assert found.published_at == clock.started + 500


def test_more_manifests_than_are_read_at_once_are_all_read(
    remote: MemoryRemote, tmp_path: Path
) -> None:
    made = [manifest(number, [entry("a")], salt=number) for number in range(40)]
    publish(remote, str(tmp_path), *made)
    assert len(look(remote, tmp_path).referrers) == 40


def test_a_damaged_manifest_is_a_problem_and_the_others_are_there(
    remote: MemoryRemote, tmp_path: Path
) -> None:
    made = chain(3)
    publish(remote, str(tmp_path), *made)
    damage(remote, made[1])
    found = look(remote, tmp_path)
    assert [problem.name for problem in found.problems] == [made[1].name.manifest_path]
    assert {item.name for item in found.referrers} == {made[0].name, made[2].name}


@pytest.mark.parametrize("effect", ["read", "stat"])
def test_a_manifest_that_cannot_be_reached_is_a_problem(
    remote: MemoryRemote, tmp_path: Path, effect: str
) -> None:
    made = chain(2)
    publish(remote, str(tmp_path), *made)

    found = look(failing(remote, TimeoutError(), effect, made[0].name.manifest_path), tmp_path)
    (problem,) = found.problems
    assert problem.name == made[0].name.manifest_path
    assert problem.damage is Damage.UNREADABLE


@pytest.mark.parametrize("effect", ["read", "stat"])
def test_a_manifest_that_vanishes_meanwhile_is_looked_for_in_a_new_listing(
    remote: MemoryRemote, tmp_path: Path, effect: str
) -> None:
    first, second = chain(2)
    publish(remote, str(tmp_path), first)

    def succeed() -> None:
        publish(remote, str(tmp_path), second)
        remote.delete(first.name.manifest_path)

    found = look(Meanwhile(remote, succeed, effect, "manifests/"), tmp_path)
    assert found.problems == ()
    assert [item.name for item in found.referrers] == [second.name]


def test_a_store_whose_manifests_go_on_vanishing_is_not_concluded_from(
    remote: MemoryRemote, tmp_path: Path
) -> None:
    made = chain(9)
    publish(remote, str(tmp_path), made[0])

    def succeed() -> None:
        last = made.pop(0)
        publish(remote, str(tmp_path), made[0])
        remote.delete(last.name.manifest_path)

    found = look(Meanwhile(remote, succeed, "read", "manifests/", times=8), tmp_path)
    assert found.problems


def test_a_survey_without_time_is_not_concluded_from(remote: MemoryRemote, tmp_path: Path) -> None:
    made = [manifest(number, [entry("a")], salt=number) for number in range(40)]
    publish(remote, str(tmp_path), *made)
    answers = iter([True, False, False])
    found = look(remote, tmp_path, may_go_on=lambda: next(answers))
    assert 0 < len(found.referrers) < 40
    assert [problem.name for problem in found.problems] == ["manifests"]


def test_without_a_key_what_is_signed_is_not_trusted_but_counts(
    remote: MemoryRemote, tmp_path: Path
) -> None:
    signed, plain = manifest(1, [entry("a", pack=7)]), manifest(2, [entry("b")])
    publish(remote, str(tmp_path), signed, key=KEY)
    publish(remote, str(tmp_path), plain)
    found = look(remote, tmp_path)
    assert found.problems == ()
    assert trusted(found) == {signed.name: False, plain.name: True}
    assert any(pack_id(7) in item.packs for item in found.referrers)


def test_with_a_key_only_what_it_signed_is_trusted_and_the_rest_counts(
    remote: MemoryRemote, tmp_path: Path
) -> None:
    made = [manifest(number, [entry("a")], salt=number) for number in range(3)]
    for item, key in zip(made, (KEY, OTHER_KEY, None), strict=True):
        publish(remote, str(tmp_path), item, key=key)
    found = look(remote, tmp_path, KEY)
    assert found.problems == ()
    assert trusted(found) == {made[0].name: True, made[1].name: False, made[2].name: False}
    both = trusted(look(remote, tmp_path, OTHER_KEY, KEY))
    assert both == {made[0].name: True, made[1].name: True, made[2].name: False}


def test_what_supersedes_since_when_is_told_by_the_oldest_trusted() -> None:
    old, middle, new = named(9), named(5), named(2)
    referrers = [
        referrer(old),
        referrer(middle, supersedes=[old]),
        referrer(new, supersedes=[old, middle]),
        referrer(named(8, salt=1), supersedes=[old], is_trusted=False),
    ]
    assert superseders(referrers) == {
        old.snapshot: NOW - 5 * HOUR,
        middle.snapshot: NOW - 2 * HOUR,
    }


def test_nothing_was_loaded_later_than_now(
    remote: MemoryRemote, clock: SleepingClock, tmp_path: Path
) -> None:
    (made,) = chain(1)
    publish(remote, str(tmp_path), made)
    vars(remote)["_nodes"][made.name.manifest_path].mtime += 4e9
    now = clock.time()
    (found,) = survey(remote, str(tmp_path), (), lambda: True, now=now).referrers
    assert found.loaded_at == now


def test_the_size_of_a_pack_is_that_of_its_file(remote: MemoryRemote, tmp_path: Path) -> None:
    claims = manifest(1, [entry("a"), entry("b", pack=2)], packs={1: pack(), 2: pack()})
    publish(remote, str(tmp_path), claims)
    remote.create("packs", f"{pack_id(1)}.pack", [b"123"])
    (found,) = survey(remote, str(tmp_path), (), lambda: True, measures=True).referrers
    assert dict(found.packs) == {pack_id(1): 3, pack_id(2): 0}
