"""Saves that are at work while the garbage collection takes away what they rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.gc.trash import Stage, read_trash
from tests.support.gc_states import NEW, OLD, OTHER, during_publish, expired_beside_kept
from tests.support.gc_world import HOUR, MINUTE, MONTH, STAGE, WITNESS, GcWorld
from tests.support.values import manifest

if TYPE_CHECKING:
    from b10_store.gc.report import GcReport


def test_a_stalled_save_is_fenced_and_starts_over_and_loses_nothing(both: GcWorld) -> None:
    world = both
    seen: list[list[GcReport]] = []
    old, _ = expired_beside_kept(world)

    def stall() -> None:
        seen.append(world.visits(0, 31 * MINUTE, STAGE, 25 * HOUR, STAGE, policy=MONTH))

    saver = world.hosts.new(during_publish(world.remote, stall), address=OTHER)
    saver.write(OLD | {"new": b"new"})
    outcome = saver.save()
    (reports,) = seen
    assert [report.fenced for report in reports] == [0, 0, 1, 0, 0]
    assert sum(report.freed_files for report in reports) == 2
    # Fenced: it had found OLD in the store, and now uploads it.
    assert outcome.added == len(OLD) + 1
    assert world.names("sessions") == set()
    assert world.loaded(old) == OLD | {"new": b"new"}
    world.to_the_end()
    assert world.loaded(old) == OLD | {"new": b"new"}
    assert world.names("fenced") == set()


def test_a_live_save_is_waited_for_a_day_and_then_fenced(world: GcWorld) -> None:
    expired_beside_kept(world)
    fenced: list[int] = []

    def go_on() -> None:
        # Its heartbeat, as any host sees it.
        world.visits(0, policy=MONTH)
        for _ in range(60):
            world.advance(29 * MINUTE)
            for name in world.names("sessions"):
                world.remote.touch(name)
            fenced.append(world.visit(MONTH).fenced)
            if fenced[-1]:
                break

    saver = world.hosts.new(during_publish(world.remote, go_on), address=OTHER)
    saver.write(OLD | {"new": b"new"})
    assert saver.save().published is not None
    # Witnessed at the first of these visits, and fenced at the first one over a day later.
    assert fenced == [0] * 50 + [1]
    assert world.loaded(saver) == OLD | {"new": b"new"}


def test_a_session_that_began_after_the_witness_is_not_fenced(world: GcWorld) -> None:
    expired_beside_kept(world)
    world.visits(0, WITNESS, policy=MONTH)
    token = world.remote.open_token(f"sessions/{manifest(1).name}.session")
    (report,) = world.visits(2 * HOUR, policy=MONTH)
    assert report.fenced == 0
    assert world.stages() == [Stage.FENCED]
    assert len(world.names("sessions")) == 1
    token.close()


def test_a_witness_that_is_damaged_is_written_again_and_forgets_nobody(world: GcWorld) -> None:
    for content in (b"", b'["half', b"{}", b"5", b"\xff\xfe", b"[" * 100_000):
        old, _ = expired_beside_kept(world)
        assert old.heads().manifests

        def spoil(content: bytes = content) -> None:
            world.visits(0, WITNESS, policy=MONTH)
            (folder,) = [item for item in read_trash(world.remote) if item.files]
            world.remote.create(folder.path, "witnessed", [content])
            world.visits(STAGE, policy=MONTH)
            assert world.stages() == [Stage.WITNESSED]
            reports = world.visits(31 * MINUTE, 25 * HOUR, policy=MONTH)
            assert [report.fenced for report in reports] == [1, 0]

        saver = world.hosts.new(during_publish(world.remote, spoil), address=OTHER)
        saver.write(OLD | {"new": b"new"})
        saver.save()
        assert world.loaded(saver) == OLD | {"new": b"new"}, content
        world.to_the_end()
        assert world.names("trash") == set()


def test_the_token_of_a_dead_process_does_not_stay(world: GcWorld) -> None:
    world.hosts.new().write(NEW).save()
    world.remote.open_token(f"sessions/{manifest(1).name}.session").close()
    world.visits(23 * HOUR)
    assert len(world.names("sessions")) == 1
    world.visits(2 * HOUR, 25 * HOUR)
    assert world.names("sessions") | world.names("fenced") == set()
