"""States of a store that a garbage collection may find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.format.names import Address
from tests.support.blobs import prose
from tests.support.gc_world import DAY, HOUR, MONTH, STAGE, WITNESS, GcWorld
from tests.support.meanwhile import Meanwhile

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.remote.protocol import Remote
    from tests.support.engine_hosts import EngineHost

OTHER = Address("f" * 32, "model")
OLD = {f"a{number}/{number}.py": prose(2000, number) for number in range(4)}
NEW = {f"b{number}/{number}.py": prose(2000, 100 + number) for number in range(4)}


def put_pack(world: GcWorld, content: bytes = b"pack") -> str:
    """A pack that nothing references, as a saver leaves it that died; returns its name."""
    name = f"{content.hex():0>64}.pack"
    world.remote.create("packs", name, [content])
    return f"packs/{name}"


def expired_beside_kept(world: GcWorld) -> tuple[EngineHost, EngineHost]:
    """One address that nobody loaded for long, and one that was saved just now."""
    old = world.hosts.new(address=OTHER).write(OLD)
    old.save()
    world.advance(31 * DAY)
    kept = world.hosts.new().write(NEW)
    kept.save()
    return old, kept


def during_publish(inner: Remote, happen: Callable[[], object]) -> Meanwhile:
    """Something happens while a saver is about to publish, once."""
    return Meanwhile(inner, happen, "rename", "sessions/")


def ripe_in_every_way(world: GcWorld) -> EngineHost:
    """A store in which a visit would fence, delete, move to trash and sweep."""
    old, kept = expired_beside_kept(world)
    world.visits(0, WITNESS, STAGE, policy=MONTH)
    put_pack(world, b"unreferenced")
    world.remote.create("sessions", "probe.tmp-0123456789abcdef", [b""])
    world.remote.create("quarantine", "x.pack", [b""])
    world.advance(20 * DAY)
    for path, data in OLD.items():
        kept.write({path: data}).save()
    world.advance(2 * HOUR)
    assert old.address != kept.address
    return kept
