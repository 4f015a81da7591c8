"""States of a store in which its upkeep begins, and what must stay true of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_store.format.names import Address, SnapshotName, pack_path
from b10_store.gc.trash import Stage
from tests.support.blobs import prose
from tests.support.checked_stores import flipped
from tests.support.fault_upkeep_worlds import Stalled, Stored
from tests.support.gc_states import during_publish
from tests.support.gc_world import DAY, HOUR, MINUTE, MONTH, STAGE, WITNESS
from tests.support.half_dead import model, replace_some
from tests.support.packed import whole_file
from tests.support.values import ADDRESS, snapshot

if TYPE_CHECKING:
    from tests.support.fault_upkeep_worlds import Trees, UpkeepWorld

SECOND = Address("e" * 32, "model")
THIRD = Address("f" * 32)
FOURTH = Address("d" * 32)


class Part(enum.Enum):
    """How much of what a host saved a load must bring."""

    WHOLE = "all"
    WHOLE_OR_NOTHING = "all or nothing"
    INTACT = "what is not damaged"


@dataclass(slots=True)
class Expectation:
    """What must stay true, whatever fails.

    Attributes:
        stored: what hosts saved, and how much of it they must be able to load afterwards.
        stalled: savers that may go on at any time.
        damaged: files of the store that are damaged or missing, by name.
        target: what is removed or put back.
    """

    stored: list[tuple[Stored, Part]]
    stalled: list[Stalled] = field(default_factory=list[Stalled])
    damaged: frozenset[str] = frozenset()
    target: Stored | None = None


def every_stage(world: UpkeepWorld) -> Expectation:
    """Folders of trash at every stage, each ripe for the next, and more to go to trash.

    The oldest of them holds a pack that is referenced again, one that is in its place again, and
    one that goes; the later ones hold packs that savers rely on which stand still.
    """
    store = world.store
    old = tree("old", 2)
    _save(world, SECOND, old)
    store.advance(10 * HOUR)
    _save(world, THIRD, tree("relied on", 1))
    store.advance(14 * HOUR + 34 * MINUTE)
    _save(world, FOURTH, tree("relied on too", 1))
    store.advance(19 * DAY + 9 * HOUR + 26 * MINUTE)
    kept = _save(world, ADDRESS, tree("kept", 1))
    store.advance(8 * DAY)
    world.put_dead_pack(b"to be deleted")
    store.advance(2 * DAY - 9 * HOUR - 5 * MINUTE)
    world.put_dead_pack(b"to go to trash")
    store.advance(5 * MINUTE)
    # A month and an hour later: the first has expired, the third will within a day.
    again = store.hosts.new(
        during_publish(world.remote, lambda: store.visit(MONTH)), address=SECOND
    )
    again.write(old | tree("again", 1)).save()
    again.remote = world.remote
    store.visits(WITNESS, STAGE, policy=MONTH)
    _put_what_is_there(world, kept)
    store.advance(DAY - WITNESS - STAGE - 70 * MINUTE)
    kept = Stored(kept.host, kept.tree | tree("kept later", 1))
    kept.host.write(kept.tree).save()
    store.advance(37 * MINUTE)
    stalled = [
        world.stop_a_save(store.hosts.new(address=THIRD), tree("relied on", 1) | tree("new", 1)),
        world.stop_a_save(
            store.hosts.new(address=FOURTH), tree("relied on too", 1) | tree("newer", 1)
        ),
    ]
    store.advance(2 * MINUTE)
    store.visits(0, STAGE, STAGE, policy=MONTH)
    store.advance(STAGE + MINUTE)
    by_a_save = SnapshotName(ADDRESS, snapshot(1_600_000_000_000))
    world.remote.create("trash/by-a-save", f"{by_a_save}.manifest", [b"superseded"])
    assert store.stages() == [Stage.FENCED, Stage.WITNESSED, Stage.FILLED, Stage.FILLING]
    return Expectation([(kept, Part.WHOLE), (Stored(again, again.tree()), Part.WHOLE)], stalled)


def witnessing_a_saver(world: UpkeepWorld) -> Expectation:
    """A folder of trash to be witnessed, and a saver that relies on it and stands still."""
    _save(world, THIRD, tree("relied on", 1))
    world.store.advance(30 * DAY + HOUR)
    kept = _save(world, ADDRESS, tree("kept", 1))
    stalled = world.stop_a_save(
        world.store.hosts.new(address=THIRD), tree("relied on", 1) | tree("new", 1)
    )
    world.store.visits(2 * MINUTE, policy=MONTH)
    world.store.advance(WITNESS)
    assert world.store.stages() == [Stage.FILLED]
    return Expectation([(kept, Part.WHOLE)], [stalled])


def witnessing_nobody(world: UpkeepWorld) -> Expectation:
    """A folder of trash to be witnessed, and no session."""
    kept = _trashed(world)
    world.store.advance(WITNESS)
    return Expectation([(kept, Part.WHOLE)])


def fencing_nobody(world: UpkeepWorld) -> Expectation:
    """A folder of trash whose list of witnessed sessions is empty."""
    kept = _trashed(world)
    world.store.visits(WITNESS)
    world.store.advance(STAGE)
    return Expectation([(kept, Part.WHOLE)])


def leftovers(world: UpkeepWorld) -> Expectation:
    """What dead processes leave, and nothing else to do."""
    kept = _save(world, ADDRESS, tree("kept", 1))
    dead = world.stop_a_save(world.store.hosts.new(address=SECOND), tree("dead", 1))
    fenced = SnapshotName(THIRD, snapshot(1_600_000_000_000))
    world.remote.create("fenced", f"{fenced}.session", [b"half a manifest"])
    for folder in ("packs", "sessions", f"trash/{snapshot(1_600_000_000_001)}"):
        world.remote.create(folder, "new.tmp-0123456789abcdef", [b"half"])
    world.remote.create("quarantine", f"{fenced}.manifest", [b"damaged"])
    world.store.advance(15 * DAY)
    return Expectation([(kept, Part.WHOLE)], [dead])


def half_dead(world: UpkeepWorld) -> Expectation:
    """A pack of which at least half is unused."""
    host = world.store.hosts.new()
    first = model(0, size=300)
    host.write(first).save()
    now = replace_some(host, first, sorted(first)[:3])
    world.store.advance(2 * HOUR)
    assert world.store.visit().superseded == 1
    world.store.advance(1.0)
    return Expectation([(Stored(host, now), Part.WHOLE)])


def damaged(world: UpkeepWorld) -> Expectation:
    """Packs and a manifest that are damaged or lost; some have copies elsewhere, intact or not."""
    addresses = [Address(f"{number:032x}") for number in range(5)]
    saved = [
        _save(world, address, tree(f"damaged {number}", 1))
        for number, address in enumerate(addresses)
    ]
    kept, in_quarantine, nowhere, in_trash, manifest = saved
    wrong = [_pack_of(item) for item in (in_quarantine, nowhere, in_trash)]
    for name in wrong[:2]:
        data = whole_file(world.remote, name)
        folder, _, base = name.partition("/")
        if name == wrong[0]:
            world.remote.create("quarantine", base, [data])
        world.remote.create(folder, base, [flipped(data)])
        world.remote.create("trash/others", base, [flipped(data)])
    world.remote.rename(wrong[2], f"trash/some/{wrong[2].partition('/')[2]}")
    (head,) = manifest.host.heads().listed
    folder, _, base = head.manifest_path.partition("/")
    world.remote.create(folder, base, [b"damaged"])
    world.store.advance(STAGE)
    return Expectation(
        [
            (kept, Part.WHOLE),
            (in_trash, Part.WHOLE),
            *((item, Part.INTACT) for item in (in_quarantine, nowhere, manifest)),
        ],
        damaged=frozenset([*wrong, head.manifest_path]),
    )


def to_be_removed(world: UpkeepWorld) -> Expectation:
    """Two namespaces that share a pack; one of them has a head and what that supersedes."""
    kept = _save(world, ADDRESS, tree("shared", 1))
    target = _save(world, SECOND, tree("shared", 1) | tree("first", 1))
    world.store.advance(MINUTE)
    target = Stored(target.host, target.tree | tree("second", 1))
    target.host.write(target.tree).save()
    world.store.advance(2 * DAY)
    return Expectation([(kept, Part.WHOLE), (target, Part.WHOLE_OR_NOTHING)], target=target)


def to_be_restored(world: UpkeepWorld) -> Expectation:
    """The same, removed; its packs went to trash and its folders of trash are far on."""
    expected = to_be_removed(world)
    assert expected.target is not None
    assert expected.target.host.store().remove(SECOND) == 2
    world.store.visits(0, WITNESS, STAGE)
    world.store.advance(HOUR)
    return expected


def tree(label: str, count: int) -> Trees:
    """A few artifacts, other ones for another label."""
    salt = sum(label.encode()) * 1000
    return {
        f"{label.replace(' ', '-')}/{item}.py": prose(300, salt + item) for item in range(count)
    }


def _save(world: UpkeepWorld, address: Address, content: Trees) -> Stored:
    host = world.store.hosts.new(address=address).write(content)
    host.save()
    return Stored(host, content)


def _put_what_is_there(world: UpkeepWorld, stored: Stored) -> None:
    """Put copies of packs that are in their place into the only folder of trash."""
    (folder,) = (name[:-1] for name in world.remote.list("trash"))
    for pack in stored.host.stored().packs:
        data = whole_file(world.remote, pack_path(pack))
        world.remote.create(f"trash/{folder}", f"{pack}.pack", [data])


def _trashed(world: UpkeepWorld) -> Stored:
    kept = _save(world, ADDRESS, tree("kept", 1))
    world.put_dead_pack(b"nothing references it")
    world.store.visits(25 * HOUR)
    return kept


def _pack_of(stored: Stored) -> str:
    (pack,) = stored.host.stored().packs
    return pack_path(pack)
