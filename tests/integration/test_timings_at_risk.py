"""Files of timings that are damaged, large, or rewritten and killed while they are united.

Inductor reads the file before it measures, and fails on one that is not whole JSON.
"""

from __future__ import annotations

import functools
import json
import os
import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from b10_store.tree.placement import place_staged
from b10_transfer import OperationStatus as Status
from tests.support.broken_artifacts import save_carelessly
from tests.support.cache_trees import Tree, compiled_graph, read_tree
from tests.support.crash_points import Sweep
from tests.support.crash_world import World, load, load_without_links
from tests.support.memory_folders import in_memory
from tests.support.programs import LOAD, SAVE, run_python
from tests.support.timings import TIMINGS, Measured, measure, measured_by, stored_in, timings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from b10_transfer.settings import Settings
    from tests.support.sites import Site

REST = compiled_graph("model")
DAMAGED = [b"", b'{"cache": {"mm', b"\0" * 300, b"[]"]
GOOD = timings({"good": 1.0})
ALONE_OR_NOT = pytest.mark.parametrize("rest", [{}, REST], ids=["alone", "among others"])


@ALONE_OR_NOT
@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_local_file_gives_way_to_the_stored_one(
    site: Site, damaged: bytes, rest: Tree
) -> None:
    site.host("saver", {**GOOD, **rest}).save()
    host = site.host("host", {TIMINGS: damaged, **rest})
    report = host.load()
    assert (report.status, report.problems) == (Status.SUCCESS, ())
    assert host.tree() == {**GOOD, **rest}


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_file_that_is_damaged_after_the_load_never_takes_the_place_of_the_stored_one(
    site: Site, damaged: bytes
) -> None:
    site.host("saver", {**GOOD, **REST}).save()
    host = site.host("host")
    host.load()
    host.write({TIMINGS: damaged})
    assert host.save().superseded == 0
    assert stored_in(site) == {"good": 1.0}


def damage_what_is_stored(site: Site, damaged: bytes, rest: Tree) -> None:
    tree = {TIMINGS: damaged, **rest}
    assert save_carelessly(site.host("careless saver", tree)).added == len(tree)


@ALONE_OR_NOT
@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_stored_file_takes_nothing_from_the_local_one_which_heals_it(
    site: Site, damaged: bytes, rest: Tree
) -> None:
    damage_what_is_stored(site, damaged, rest)
    host = site.host("host", {**GOOD, **rest})
    host.load()
    assert host.tree() == {**GOOD, **rest}
    host.save()
    assert stored_in(site) == {"good": 1.0}


MANY = {f"mm with a long description of its inputs, number {n}": float(n) for n in range(17_000)}


def test_timings_of_over_a_mebibyte_are_loaded_united_and_saved(site: Site) -> None:
    assert len(json.dumps(MANY)) > 1 << 20
    site.host("saver", timings(MANY)).save()
    host = site.host("host", timings({"local": 9.0}))
    report = host.load()
    assert (report.unavailable, report.problems) == (0, ())
    assert measured_by(host) == {**MANY, "local": 9.0}
    assert host.save().status is Status.SUCCESS
    assert stored_in(site) == {**MANY, "local": 9.0}


def test_timings_that_come_to_over_a_mebibyte_when_they_are_united_are_saved(site: Site) -> None:
    site.host("saver", timings({"stored": 2.0})).save()
    host = site.host("host", timings(MANY))
    assert host.save().status is Status.SUCCESS
    assert stored_in(site) == {**MANY, "stored": 2.0}


# Beside a compiler that goes on measuring, and processes that are killed.


def test_a_compiler_that_measures_while_loads_come_never_finds_a_file_that_is_not_whole(
    site: Site,
) -> None:
    saver = site.host("saver", timings({"stored 0": 0.0}))
    saver.save()
    host = site.host("host", timings({"local": 9.0}))
    done = threading.Event()
    failures: list[Exception] = []
    count = 0

    def compile_on() -> None:
        nonlocal count
        try:
            while not done.is_set():
                measure(host, {f"local {count}": float(count)})
                count += 1
        except Exception as error:  # noqa: BLE001  # whatever it is, the test fails with it
            failures.append(error)

    compiler = threading.Thread(target=compile_on)
    compiler.start()
    try:
        for number in range(1, 8):
            measure(saver, {f"stored {number}": float(number)})
            saver.save()
            report = host.load()
            assert (report.unavailable, report.problems) == (0, ())
    finally:
        done.set()
        compiler.join()
    assert failures == []
    assert count > 8
    measure(saver, {"stored 8": 8.0})
    saver.save()
    host.load()
    found = measured_by(host)
    assert {f"stored {number}": float(number) for number in range(9)}.items() <= found.items()
    assert found["local"] == 9.0
    assert [path for path in read_tree(host.root) if path != TIMINGS] == []


def test_what_a_compiler_measures_between_the_reading_and_the_placing_is_not_lost(
    site: Site,
) -> None:
    site.host("saver", {**timings({"stored": 2.0}), **REST}).save()
    host = site.host("host", timings({"local": 9.0}))

    def place_later(*arguments: Any) -> None:
        measure(host, {"meanwhile": 5.0})
        place_staged(*arguments)

    with mock.patch("b10_store.tree.staging.place_staged", place_later):
        host.load()
    assert measured_by(host).items() >= {"local": 9.0, "meanwhile": 5.0}.items()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A store with timings, and a host with others."""
    with in_memory(tmp_path) as folder:
        world = World(folder)
        saver = world.other_host()
        saver.write({**timings({"both": 1.0, "stored": 2.0}), **REST})
        saver.save()
        world.host.write(timings({"both": 8.0, "local": 9.0}))
        world.keep()
        yield world


@pytest.mark.crash
@pytest.mark.parametrize("operation", [load, load_without_links])
def test_a_load_that_is_stopped_anywhere_leaves_the_file_as_it_was_or_united(
    world: World, operation: Callable[[Settings], None]
) -> None:
    before = {"both": 8.0, "local": 9.0}
    after = {**before, "stored": 2.0}
    seen: list[Measured] = []
    sweep = Sweep(functools.partial(operation, world.settings), world.folder, world.reset)
    for stop in sweep:
        seen.append(measured_by(world.host))
        assert seen[-1] in (before, after), str(stop)
    assert sweep.lacks({"rename": 2, "cache/*": 2}) == {}
    assert before in seen
    assert after in seen
    assert measured_by(world.host) == after


# What lies in the place of the file and is no file.


def put_a_pipe(place: Path) -> None:
    os.mkfifo(place)


def put_a_link(place: Path) -> None:
    place.symlink_to(place.parent.parent / "secret.json")


def put_a_broken_link(place: Path) -> None:
    place.symlink_to(place.parent.parent / "nothing.json")


def identity_of(path: Path) -> tuple[int, ...]:
    """What changes when a file is replaced or written, and not when it is looked at."""
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@pytest.mark.parametrize("put", [put_a_pipe, put_a_link, put_a_broken_link])
def test_what_is_no_file_is_neither_waited_for_nor_read_nor_replaced(
    site: Site, put: Callable[[Path], None]
) -> None:
    site.host("saver", {**timings({"stored": 2.0}), **REST}).save()
    host = site.host("host", {"secret.json": json.dumps({"secret": 1}).encode()})
    place = host.root / TIMINGS
    place.parent.mkdir()
    put(place)
    before = identity_of(place)
    for program, status in ((LOAD, "SUCCESS"), (LOAD, "SKIPPED"), (SAVE, "SUCCESS")):
        done = run_python(program, host.variables(), seconds=300)
        assert (done.stdout, done.stderr) == (f"{status}\n", "")
    assert identity_of(place) == before
    assert stored_in(site) == {"stored": 2.0}
