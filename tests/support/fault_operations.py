"""The operations that faults strike: in which state each begins, and what it may say afterwards."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING
from unittest import mock

import b10_transfer
from b10_store.format.names import TOUCH_INTERVAL_SECONDS, SnapshotName
from b10_store.paths import RECORD_FOLDER
from tests.support.fault_runs import Operation, Outcome, State
from tests.support.sites import Host
from tests.support.store_views import clock_behind
from tests.support.timings import TIMINGS, timings
from tests.support.trees import Artifact, compiled, differences, put_artifacts
from tests.support.values import ADDRESS, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from b10_transfer.status import OperationStatus
    from tests.support.crash_world import World
    from tests.support.trees import Artifacts

_HOUR = 3600.0


def judge_save(state: State, outcome: Outcome, stored: Artifacts, here: Artifacts) -> Iterator[str]:
    """A save that is acknowledged is whole; one that is not left the old state, or a whole one."""
    missing = differences(stored, {**state.stored, **state.here})
    if outcome.status not in ("SUCCESS", "SKIPPED", "ERROR"):
        yield "that is no answer of a save"
    is_published = bool(outcome.published)
    if outcome.published > 1 and not outcome.faults.hides:
        yield "it was published twice"
    if is_published != (outcome.status == "SUCCESS") and not (
        outcome.status == "ERROR" or outcome.faults.hides
    ):
        yield f"{outcome.published} manifests were published"
    if missing and outcome.status != "ERROR":
        yield f"a new host gets something else: {missing}"
    if missing and differences(stored, state.stored):
        yield f"half of it can be loaded: {missing}"
    if differences(here, state.here):
        yield f"the local tree was changed: {differences(here, state.here)}"


def judge_save_of_timings(
    state: State, outcome: Outcome, stored: Artifacts, here: Artifacts
) -> Iterator[str]:
    """As any save; but where the stored timings are not seen, of two unrelated ones one stands."""
    known = f"inductor/{TIMINGS}"
    if outcome.faults.hides and stored[known] == state.stored[known]:
        stored = {**stored, known: state.here[known]}
    yield from judge_save(state, outcome, stored, here)


def judge_load(state: State, outcome: Outcome, stored: Artifacts, here: Artifacts) -> Iterator[str]:
    """What was brought is right, and a load that is not an error brought all that it could."""
    torn = [
        line
        for line in differences(here, {**state.stored, **state.here})
        if not line.startswith("missing: ")
    ]
    if torn:
        yield f"there is {torn}"
    if not state.here.keys() <= here.keys():
        yield "what was here is gone"
    if differences(stored, state.stored):
        yield "the store has something else"
    brought = len(here) > len(state.here)
    if brought != (outcome.status == "SUCCESS"):
        yield f"{len(here) - len(state.here)} artifacts were brought"
    if outcome.status == "SKIPPED" and not state.stored.keys() <= here.keys():
        yield "not everything is here"
    if outcome.status == "DOES_NOT_EXIST" and state.stored and not outcome.faults.hides:
        yield "there is something"


def prepare_first_save(world: World) -> State:
    """An empty store."""
    here = compiled("first", triton_root=True)
    put_artifacts(world.host, here)
    return State({}, here)


def prepare_later_save(world: World) -> State:
    """Two unrelated heads, one of which superseded a manifest long ago; somebody else is saving."""
    stored = _put_heads(world)
    here = {**_model("one"), **compiled("new")}
    put_artifacts(world.host, here)
    return State(stored, here)


def prepare_save_and_visit(world: World) -> State:
    """The same; a saver died two days ago, and something has been in trash for an hour."""
    state = prepare_later_save(world)
    dead = world.host.store / SnapshotName(ADDRESS, snapshot(1_600_000_000_000)).session_path
    dead.touch()
    folder = world.host.store / "trash" / "filled"
    folder.mkdir(parents=True)
    superseded = folder / f"{SnapshotName(ADDRESS, snapshot(1_600_000_000_001))}.manifest"
    superseded.write_bytes(b"superseded")
    mark = folder / "filled"
    mark.touch()
    for path, hours in ((dead, 48), (mark, 1)):
        past = time.time() - hours * _HOUR
        os.utime(path, (past, past))
    return state


def prepare_overtaken_save(world: World) -> State:
    """A session with a later id, as a saver with a fast clock has it."""
    state = prepare_first_save(world)
    (world.host.store / "sessions").mkdir(parents=True)
    later = SnapshotName(ADDRESS, snapshot(9_999_999_999_999))
    (world.host.store / later.session_path).touch()
    return state


def prepare_save_of_timings(world: World) -> State:
    """The store has a part of what was measured here."""
    model = _model("measured")
    stored, here = (
        {**model, f"inductor/{TIMINGS}": Artifact(timings(measured)[TIMINGS])}
        for measured in ({"mm": 1.0}, {"mm": 1.0, "bmm": 2.0})
    )
    other = world.other_host()
    put_artifacts(other, stored)
    assert other.save().status.name == "SUCCESS"
    shutil.rmtree(other.folder)
    put_artifacts(world.host, here)
    return State(stored, here)


def prepare_save_beside(world: World) -> State:
    """Another namespace that has a pack worth referring to."""
    here = compiled("large", spanning=True)
    put_artifacts(world.host, here)
    world.host.save(B10_CACHE_NAMESPACE="other")
    shutil.rmtree(world.host.root / RECORD_FOLDER)
    return State({}, here)


def prepare_save_again(world: World) -> State:
    """Everything is stored."""
    here = compiled("again")
    put_artifacts(world.host, here)
    world.host.save()
    return State(here, here)


def prepare_load(world: World) -> State:
    """Two unrelated heads, not loaded for long, and a host that has nothing."""
    stored = _put_heads(world)
    long_ago = time.time() - 2 * TOUCH_INTERVAL_SECONDS
    for manifest in world.host.store.glob("manifests/*"):
        os.utime(manifest, (long_ago, long_ago))
    return State(stored, {})


def prepare_load_of_the_rest(world: World) -> State:
    """A host that has compiled one of two models itself."""
    stored = _put_heads(world)
    here = _model("one")
    put_artifacts(world.host, here)
    return State(stored, here)


def prepare_load_from_trash(world: World) -> State:
    """A store of which gc has just moved a pack that is still referenced."""
    stored = _put_heads(world)
    store = world.host.store
    for name in ("filled", "another"):
        (store / "trash" / name).mkdir(parents=True)
    pack = min(store.glob("packs/*.pack"))
    pack.rename(store / "trash" / "filled" / pack.name)
    return State(stored, {})


def prepare_load_of_nothing(world: World) -> State:
    """A store with things for other namespaces only."""
    other = world.other_host()
    for name in ("one", "two"):
        put_artifacts(other, compiled(name))
        other.save(B10_CACHE_NAMESPACE=name)
    return State({}, {})


def save_and_visit() -> OperationStatus:
    """Save, and let the garbage collection make its visit of the day."""
    os.environ["B10_AUTO_GC"] = "1"
    return b10_transfer.save_compile_cache()


def save_as_before() -> OperationStatus:
    """Save with nothing changed here, so that the last save's record is asked."""
    with mock.patch("b10_transfer.local.settled.GRAIN_NS", -1_000_000_000):
        return b10_transfer.save_compile_cache()


def _save_before(world: World) -> None:
    with mock.patch("b10_transfer.local.settled.GRAIN_NS", -1_000_000_000):
        world.host.save()


SAVES = (
    Operation("first save", b10_transfer.save_compile_cache, prepare_first_save, judge_save),
    Operation("later save", b10_transfer.save_compile_cache, prepare_later_save, judge_save),
    Operation(
        "overtaken save", b10_transfer.save_compile_cache, prepare_overtaken_save, judge_save
    ),
    Operation(
        "save beside",
        b10_transfer.save_compile_cache,
        prepare_save_beside,
        judge_save,
        is_thrifty=False,
    ),
    Operation("save again", b10_transfer.save_compile_cache, prepare_save_again, judge_save),
    Operation("save as before", save_as_before, prepare_save_again, judge_save, warm=_save_before),
)
SAVE_OF_TIMINGS = Operation(
    "save of timings",
    b10_transfer.save_compile_cache,
    prepare_save_of_timings,
    judge_save_of_timings,
)
SAVE_AND_VISIT = Operation("save and visit", save_and_visit, prepare_save_and_visit, judge_save)
"""Nothing of the visit is for the user to see, whatever fails."""
LOADS = (
    Operation("load", b10_transfer.load_compile_cache, prepare_load, judge_load),
    Operation(
        "load of the rest", b10_transfer.load_compile_cache, prepare_load_of_the_rest, judge_load
    ),
    Operation(
        "load from trash", b10_transfer.load_compile_cache, prepare_load_from_trash, judge_load
    ),
    Operation(
        "load of nothing", b10_transfer.load_compile_cache, prepare_load_of_nothing, judge_load
    ),
)


def _put_heads(world: World) -> Artifacts:
    other = world.other_host()
    stored: Artifacts = {}
    for hours, model in ((3, "one"), (2, "two")):
        stored |= _model(model)
        put_artifacts(other, stored)
        with clock_behind(hours * _HOUR):
            assert other.save(wait=False).status.name == "SUCCESS"
    stranger = Host(world.folder / "apart", world.folder / "stranger")
    put_artifacts(stranger, _model("three"))
    with clock_behind(_HOUR / 2):
        assert stranger.save(wait=False).status.name == "SUCCESS"
    shutil.copytree(stranger.store, world.host.store, dirs_exist_ok=True)
    (manifest,) = stranger.store.glob("manifests/*")
    last = "e" if manifest.stem.endswith("f") else "f"
    session = world.host.store / "sessions" / f"{manifest.stem[:-1]}{last}.session"
    session.touch()
    for folder in (other.folder, stranger.folder, stranger.store):
        shutil.rmtree(folder)
    return stored | _model("three")


def _model(name: str) -> Artifacts:
    """Without artifacts that are empty: they can be had without any effect."""
    return {path: artifact for path, artifact in compiled(name).items() if artifact.data}
