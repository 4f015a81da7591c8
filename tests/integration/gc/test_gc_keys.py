"""Visits to a store where some manifests are signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.format.keys import SigningKey
from tests.support.blobs import prose
from tests.support.gc_states import NEW, OLD
from tests.support.gc_world import DAY, HOUR, MINUTE, STAGE, GcWorld
from tests.support.published import publish
from tests.support.values import entry, manifest

if TYPE_CHECKING:
    from b10_store.format.names import PackId
    from tests.support.engine_hosts import EngineHost

KEY = SigningKey(b"a secret of enough bytes")


def signed_and_plain(world: GcWorld) -> tuple[EngineHost, EngineHost]:
    """One address with a chain that is signed and a chain that is not."""
    signing, plain = world.hosts.new(key=KEY), world.hosts.new()
    for number in range(3):
        signing.write({f"signed{number}": prose(2000, number)}).save()
        plain.write({f"plain{number}": prose(2000, 50 + number)}).save()
        world.advance(10 * MINUTE)
    return signing, plain


def manifests_of(host: EngineHost) -> int:
    return len([name for name in host.heads().listed if name.address == host.address])


@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_only_what_this_host_trusts_is_superseded_and_all_of_it_counts(
    world: GcWorld, keys: tuple[SigningKey, ...]
) -> None:
    signing, plain = signed_and_plain(world)
    assert manifests_of(plain) == 6
    packs = world.packs()
    world.advance(2 * HOUR)
    report = world.visit(keys=keys)
    assert report.refused == []
    assert report.superseded == 2
    assert manifests_of(plain) == 4
    for pause in (STAGE, 25 * HOUR, STAGE, STAGE, 25 * HOUR):
        world.advance(pause)
        assert world.visit(keys=keys).refused == []
    assert world.packs() == packs
    assert world.loaded(signing) == signing.tree()
    names = {item.identity.path for item in plain.stored().entries.values()}
    assert names == {*signing.tree(), *plain.tree()}


def test_packs_of_what_is_signed_with_an_unknown_key_are_kept(world: GcWorld) -> None:
    other_key = SigningKey(b"another secret of enough bytes")
    signing = world.hosts.new(key=other_key).write(OLD)
    signing.save()
    world.hosts.new(key=KEY).write(NEW).save()
    packs: set[PackId] = world.packs()
    for _ in range(5):
        world.advance(2 * DAY)
        assert world.visit(keys=(KEY,)).refused == []
    assert world.packs() == packs
    assert world.loaded(signing) == OLD


def test_a_planted_manifest_makes_nothing_superseded(world: GcWorld) -> None:
    signing = world.hosts.new(key=KEY)
    for path, data in OLD.items():
        signing.write({path: data}).save()
    world.advance(2 * HOUR)
    listed = [name.snapshot for name in signing.heads().listed]
    planted = manifest(
        round((world.remote.now() - 1.5 * HOUR) * 1000), [entry("x")], parents=listed
    )
    publish(world.remote, str(signing.scratch), planted)
    report = world.visit(keys=(KEY,))
    assert report.superseded == len(OLD) - 1
    assert world.loaded(signing) == OLD
