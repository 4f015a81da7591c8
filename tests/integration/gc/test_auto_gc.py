"""The short visit of the garbage collection that a save makes when it is done."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

import b10_transfer
from b10_store.errors import StoreError
from b10_store.format.names import Address, pack_path
from b10_store.gc import visit as gc_module
from b10_store.remote.folder import FolderRemote
from b10_store.store import Store
from b10_transfer import OperationStatus
from b10_transfer.operations import context, upkeep
from tests.support.cache_trees import compiled_graph
from tests.support.checked_stores import flipped
from tests.support.clocks import SleepingClock
from tests.support.half_dead import forgetting_changes, model
from tests.support.published import publish
from tests.support.sites import Site, become
from tests.support.store_views import clock_behind
from tests.support.values import entry, manifest, pack_id
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.remote.protocol import Remote
    from tests.support.sites import Host
    from tests.support.wrapped_remote import Call

DAY = 86400.0
ON = None
"""For B10_AUTO_GC: not set, as it is for users."""
MODELS = [compiled_graph(f"model {number}") for number in range(4)]


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def leave_leftover(site: Site) -> Path:
    """A temporary file of a saver that died long ago: a visit sweeps it."""
    leftover = site.store / "packs" / "new.tmp-0123456789abcdef"
    leftover.parent.mkdir(parents=True, exist_ok=True)
    leftover.write_bytes(b"half")
    age(leftover, 2 * DAY)
    return leftover


def visited(site: Site) -> Path:
    return site.store / "trash" / "visited"


def test_a_published_save_makes_a_visit_by_default(site: Site) -> None:
    leftover = leave_leftover(site)
    host = site.host("host", MODELS[0])
    assert host.save(B10_AUTO_GC=ON).status is OperationStatus.SUCCESS
    assert not leftover.exists()
    assert visited(site).exists()
    fresh = site.host("fresh")
    fresh.load()
    assert fresh.tree() == MODELS[0]


def test_a_visit_after_a_save_says_which_pack_is_damaged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.host("first", MODELS[0]).save()
    (pack,) = site.files("packs")
    pack.write_bytes(flipped(pack.read_bytes()))
    age(pack, 2 * DAY)
    site.host("second", MODELS[1]).save(B10_AUTO_GC=ON)
    (line,) = [line for line in caplog.messages if line.startswith("gc: ")]
    assert "1 damaged pack in the store: run `b10-transfer check --read-data --repair`" in line
    assert pack.name in line


def test_all_hosts_together_make_one_visit_a_day(site: Site) -> None:
    site.host("first", MODELS[0]).save(B10_AUTO_GC=ON)
    leftover = leave_leftover(site)
    for number, tree in enumerate(MODELS[1:]):
        assert (
            site.host(f"host {number}", tree).save(B10_AUTO_GC=ON).status is OperationStatus.SUCCESS
        )
    assert leftover.exists()
    age(visited(site), DAY - 3600)
    site.host("early", compiled_graph("early")).save(B10_AUTO_GC=ON)
    assert leftover.exists()
    age(visited(site), DAY + 3600)
    site.host("late", compiled_graph("late")).save(B10_AUTO_GC=ON)
    assert not leftover.exists()
    assert time.time() - visited(site).stat().st_mtime < 600


def test_the_mark_of_the_last_visit_survives_visits(site: Site) -> None:
    host = site.host("host", MODELS[0])
    host.save(B10_AUTO_GC=ON)
    age(visited(site), 100 * DAY)
    upkeep.collect(host.settings())
    assert visited(site).exists()


@pytest.mark.parametrize("value", ["0", "false", "off"])
def test_it_can_be_turned_off(site: Site, value: str) -> None:
    leftover = leave_leftover(site)
    host = site.host("host", MODELS[0])
    assert host.save(B10_AUTO_GC=value).status is OperationStatus.SUCCESS
    assert leftover.exists()
    assert not visited(site).exists()


def test_a_save_that_does_not_wait_makes_no_visit(site: Site) -> None:
    leftover = leave_leftover(site)
    host = site.host("host", MODELS[0])
    assert host.save(wait=False, B10_AUTO_GC=ON).status is OperationStatus.SUCCESS
    assert leftover.exists()
    assert not visited(site).exists()


def test_a_save_with_nothing_new_makes_no_visit(site: Site) -> None:
    host = site.host("host", MODELS[0])
    host.save()
    leftover = leave_leftover(site)
    assert host.save(B10_AUTO_GC=ON).status is OperationStatus.SKIPPED
    assert site.host("same", MODELS[0]).save(B10_AUTO_GC=ON).status is OperationStatus.SKIPPED
    assert site.host("nothing").save(B10_AUTO_GC=ON).status is OperationStatus.SKIPPED
    assert leftover.exists()
    assert not visited(site).exists()


def test_a_load_makes_no_visit(site: Site) -> None:
    site.host("saver", MODELS[0]).save()
    leftover = leave_leftover(site)
    assert site.host("loader").load(B10_AUTO_GC=ON).status is OperationStatus.SUCCESS
    assert leftover.exists()
    assert not visited(site).exists()


def test_it_repacks_nothing(site: Site) -> None:
    tree = model(0)
    saver = site.host("saver", tree)
    with clock_behind(3 * 3600):
        saver.save()
    other = site.host("other")
    other.load()
    other.write({name: data + b" made again" for name, data in list(tree.items())[:3]})
    with clock_behind(2 * 3600):
        other.save()
    # What was superseded goes first; after that the first pack is half dead.
    with forgetting_changes():
        assert upkeep.collect(saver.settings()).superseded == 1
    packs = site.files("packs")
    site.host("third", MODELS[0]).save(B10_AUTO_GC=ON)
    assert visited(site).exists()
    assert len(site.files("packs")) == len(packs) + 1
    assert upkeep.collect(saver.settings()).rewritten_bytes > 0


# What goes wrong in it is no failure of the save.


class FailingLater(WrappedRemote):
    """Fails at everything after a manifest was published."""

    def __init__(self, root: str) -> None:
        super().__init__(FolderRemote(root))
        self.error: BaseException = OSError(errno.EROFS, "Read-only file system")
        self.tried = 0
        self._published = False

    def before(self, call: Call) -> None:
        del call
        if self._published:
            self.tried += 1
            raise self.error

    def after(self, call: Call) -> None:
        if call.effect == "rename" and call.name.startswith("sessions/"):
            self._published = True


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EROFS, "Read-only file system"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.ENOSPC, "No space left on device"),
        TimeoutError(errno.ETIMEDOUT, "Connection timed out"),
        StoreError("no"),
        RuntimeError("can't start new thread"),
    ],
    ids=repr,
)
def test_a_store_that_fails_from_then_on_is_no_failure_of_the_save(
    site: Site,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    remotes: list[FailingLater] = []

    def failing(root: str) -> Remote:
        remotes.append(FailingLater(root))
        remotes[-1].error = error
        return remotes[-1]

    become(site.host("host", MODELS[0]), monkeypatch, B10_AUTO_GC=ON)
    monkeypatch.setattr(context, "FolderRemote", failing)
    assert b10_transfer.save_compile_cache() is OperationStatus.SUCCESS
    # What may be a passing error is tried twice.
    may_pass = getattr(error, "errno", None) in {errno.EIO, errno.ETIMEDOUT}
    assert [remote.tried for remote in remotes] == [1 + may_pass]
    assert "unexpected" not in caplog.text
    monkeypatch.undo()
    fresh = site.host("fresh")
    fresh.load()
    assert fresh.tree() == MODELS[0]


@pytest.mark.parametrize("step", ["is_visit_due", "note_visit", "collect"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), StoreError("no")], ids=repr)
def test_each_step_of_it_may_fail(
    site: Site, step: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Store, step, fail)
    assert site.host("host", MODELS[0]).save(B10_AUTO_GC=ON).status is OperationStatus.SUCCESS
    assert len(site.files("manifests")) == 1


def test_a_trash_folder_that_is_none_is_no_failure_of_the_save(site: Site) -> None:
    site.store.mkdir()
    (site.store / "trash").write_bytes(b"a file")
    host = site.host("host", MODELS[0])
    assert host.save(B10_AUTO_GC=ON).status is OperationStatus.SUCCESS
    fresh = site.host("fresh")
    fresh.load()
    assert fresh.tree() == MODELS[0]


def test_a_damaged_manifest_of_others_is_no_failure_of_the_save(site: Site) -> None:
    host = site.host("host", MODELS[0])
    host.save()
    (good,) = site.files("manifests")
    bad = good.with_name(f"{'e' * 32}~1795320206416-cf4a7010b551a613ef9021755231e3d1.manifest")
    bad.write_bytes(b"damaged")
    leftover = leave_leftover(site)
    host.write(MODELS[1])
    assert host.save(B10_AUTO_GC=ON).status is OperationStatus.SUCCESS
    assert visited(site).exists()
    assert leftover.exists(), "nothing is swept where a manifest cannot be read"


# Time.


class Slow(WrappedRemote):
    """Every effect takes a tenth of a second, by a clock that only this moves."""

    seconds = 0.1

    def __init__(self, root: str, clock: SleepingClock) -> None:
        super().__init__(FolderRemote(root))
        self.clock = clock

    def before(self, call: Call) -> None:
        del call
        self.clock.sleep(self.seconds)


def crowded_store(site: Site, manifests: int, packs: int, folders: int) -> Host:
    """A store with many environments, and packs that nothing references any more."""
    host = site.host("host", MODELS[0])
    host.save()
    host.variables()
    remote = FolderRemote(str(site.store))
    for number in range(manifests):
        address = Address(f"{number:032x}")
        publish(remote, str(host.work), manifest(number + 1, [entry("a")], address=address))
    for number in range(packs):
        path = site.store / pack_path(pack_id(number + 1000))
        path.write_bytes(b"pack")
        age(path, 3 * DAY)
    for number in range(folders):
        # What a save moved away that superseded it.
        name = manifest(number + 1).name
        path = site.store / "trash" / f"{number:013d}-{number:032x}" / f"{name}.manifest"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"superseded")
    return host


def seconds_of_visit(site: Site, host: Host, monkeypatch: pytest.MonkeyPatch) -> float:
    """How long the visit of a save takes in a store where every effect is slow."""
    clock = SleepingClock()
    started: list[float] = []
    note_visit = Store.note_visit

    def noting(self: Store) -> None:
        note_visit(self)
        started.append(clock.seconds)

    def slow(root: str) -> Remote:
        return Slow(root, clock)

    monkeypatch.setattr(context, "FolderRemote", slow)
    monkeypatch.setattr(gc_module, "time", clock)
    monkeypatch.setattr(Store, "note_visit", noting)
    host.write(MODELS[1])
    assert host.save(B10_AUTO_GC=ON).status is OperationStatus.SUCCESS
    monkeypatch.undo()
    assert len(started) == 1
    assert visited(site).exists()
    return clock.seconds - started[0]


@pytest.mark.parametrize(
    ("manifests", "packs", "folders"),
    [
        pytest.param(150, 0, 0, id="many manifests"),
        pytest.param(0, 300, 0, id="many packs"),
        pytest.param(0, 0, 200, id="many folders of trash"),
        pytest.param(20, 20, 10, id="some of each"),
    ],
)
def test_it_ends_in_time_in_a_large_store_and_the_next_goes_on(
    site: Site, manifests: int, packs: int, folders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = crowded_store(site, manifests, packs, folders)
    # Five seconds, and what was begun.
    assert seconds_of_visit(site, host, monkeypatch) < 12
    fresh = site.host("fresh")
    fresh.load()
    assert fresh.tree() == {**MODELS[0], **MODELS[1]}
    report = upkeep.collect(host.settings())
    assert report.is_complete
    assert not [path for path in site.files("packs") if path.stat().st_size == len(b"pack")]
    fresh = site.host("fresher")
    fresh.load()
    assert fresh.tree() == {**MODELS[0], **MODELS[1]}
