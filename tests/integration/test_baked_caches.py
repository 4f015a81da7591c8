"""Caches that were not made where they are used: in an image, on a volume, by a copy."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus
from b10_transfer.local import root_origin
from b10_transfer.local.clear import clear_root
from b10_transfer.machine import start as machine_start
from b10_transfer.operations.context import open_context
from tests.support.cache_trees import LOCAL_RECORD, Tree, read_tree
from tests.support.machines import CPU_MACHINE, GPU_MACHINE, Machine, running_on
from tests.support.mounts import read_only
from tests.support.vector_sources import (
    AVX2_FLAGS,
    AVX512_FLAGS,
    GRAPH,
    KEY,
    LIBRARY,
    SOURCE,
    compiled_for,
    library,
    silent_library,
)

if TYPE_CHECKING:
    from b10_transfer import LoadReport, SaveReport
    from b10_transfer.caches.code_verdicts import Verdict
    from tests.support.sites import Host, Site

WIDE, NARROW = CPU_MACHINE.but(flags=AVX512_FLAGS), CPU_MACHINE.but(flags=AVX2_FLAGS)
LANES = {WIDE: 16, NARROW: 8}
OTHER = {WIDE: NARROW, NARROW: WIDE}
HARMLESS = f"aotautograd/a{KEY}/{KEY}"

BOTH_WAYS = pytest.mark.parametrize(
    "here", [pytest.param(NARROW, id="AVX-512 on AVX2"), pytest.param(WIDE, id="AVX2 on AVX-512")]
)


def load_on(machine: Machine, host: Host, **changes: str) -> LoadReport:
    with running_on(machine):
        return host.load(**changes)


def save_on(machine: Machine, host: Host) -> SaveReport:
    with running_on(machine):
        return host.save()


def judge_nothing(*_: object) -> dict[str, Verdict]:
    """Stand in for `judge_files`: look into no file."""
    return {}


def aside(host: Host) -> Tree:
    return read_tree(host.root / LOCAL_RECORD / "aside")


def stored(machine: Machine, site: Site) -> Tree:
    """What a new replica gets."""
    fresh = site.host("fresh")
    load_on(machine, fresh)
    return fresh.tree()


@BOTH_WAYS
def test_a_load_moves_graphs_for_another_width_aside_and_says_so(here: Machine, site: Site) -> None:
    baked = compiled_for(LANES[OTHER[here]])
    host = site.host("replica", baked)
    report = load_on(here, host)
    assert GRAPH not in host.tree()
    assert aside(host)[GRAPH] == baked[GRAPH]
    line = next(line for line in report.problems if "vectors of another width" in line)
    assert GRAPH in line
    assert str(host.root / LOCAL_RECORD / "aside") in line


@BOTH_WAYS
@pytest.mark.parametrize("is_loaded", [True, False], ids=["after a load", "without a load"])
def test_nothing_for_another_width_is_published(here: Machine, is_loaded: bool, site: Site) -> None:
    host = site.host("replica", compiled_for(LANES[OTHER[here]]))
    if is_loaded:
        load_on(here, host)
    saved = save_on(here, host)
    assert set(stored(here, site)) == {HARMLESS}
    assert saved.left_out == len(compiled_for(8)) - 1 - is_loaded * (2 if here is NARROW else 1)


@BOTH_WAYS
def test_a_save_says_what_would_compute_wrong_numbers(here: Machine, site: Site) -> None:
    host = site.host("replica", compiled_for(LANES[OTHER[here]]))
    saved = save_on(here, host)
    assert any("b10-transfer load" in line and GRAPH in line for line in saved.problems)
    assert host.tree() == compiled_for(LANES[OTHER[here]]), "a save moves nothing"
    assert save_on(here, host).problems == saved.problems, "as long as it is so"


@pytest.mark.parametrize("here", [WIDE, NARROW])
def test_what_was_compiled_here_is_saved_whole_without_a_load(here: Machine, site: Site) -> None:
    tree = compiled_for(LANES[here])
    saved = save_on(here, site.host("replica", tree))
    assert (saved.added, saved.left_out, saved.problems) == (len(tree), 0, ())
    assert stored(here, site) == tree


def test_what_the_compiler_makes_instead_is_saved(site: Site) -> None:
    host = site.host("replica", compiled_for(16))
    load_on(NARROW, host)
    host.write(compiled_for(8))
    assert save_on(NARROW, host).left_out == 0
    assert stored(NARROW, site) == compiled_for(8)


def test_a_library_that_this_cpu_cannot_run_is_moved_aside_for_the_one_that_is_stored(
    site: Site,
) -> None:
    save_on(NARROW, site.host("saver", compiled_for(8)))
    host = site.host("replica", {LIBRARY: library(16)})
    load_on(NARROW, host)
    assert host.tree() == compiled_for(8)
    assert aside(host) == {LIBRARY: library(16)}


def test_on_a_gpu_host_the_code_for_the_cpu_is_looked_at_too(site: Site) -> None:
    wide, narrow = (GPU_MACHINE.but(flags=flags) for flags in (AVX512_FLAGS, AVX2_FLAGS))
    host = site.host("replica", compiled_for(16))
    load_on(narrow, host)
    assert set(aside(host)) == {GRAPH, LIBRARY}
    save_on(narrow, host)
    assert set(stored(narrow, site)) == {HARMLESS}
    assert load_on(wide, site.host("other")).status is OperationStatus.DOES_NOT_EXIST


def test_the_width_that_a_program_asked_for_is_right_on_any_cpu(site: Site) -> None:
    tree = compiled_for(8)
    tree[GRAPH] = tree[GRAPH].replace(b"simdlen]: None", b"simdlen]: 0256")
    saved = save_on(WIDE, site.host("replica", tree))
    assert (saved.added, saved.left_out) == (len(tree), 0)


def test_a_bundle_with_a_graph_for_another_width_goes_as_a_whole(site: Site) -> None:
    folder = "torch_compile_cache/0abc/rank_0_0/backbone"
    host = site.host("replica")
    model = {
        "artifact_0": compiled_for(16)[GRAPH],
        "artifact_1": b"x",
        "vllm_compile_cache.py": b"{}",
    }
    root = host.folder / "vllm"
    for name, data in model.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / name).write_bytes(data)
    load_on(NARROW, host, VLLM_CACHE_ROOT=str(root))
    assert not os.listdir(root / folder)
    assert set(read_tree(root / LOCAL_RECORD / "aside")) == {f"{folder}/{name}" for name in model}


def test_a_second_load_has_nothing_more_to_say(site: Site) -> None:
    host = site.host("replica", compiled_for(16))
    assert load_on(NARROW, host).problems
    assert load_on(NARROW, host).problems == ()


def test_a_root_that_cannot_be_written_is_said_to_be_dangerous(site: Site) -> None:
    host = site.host("replica", compiled_for(16))
    with read_only(host.root):
        report = load_on(NARROW, host)
    assert host.tree() == compiled_for(16)
    assert any("cannot be moved aside" in line for line in report.problems)


def test_files_of_another_user_stay_the_users_own_until_a_clear(site: Site) -> None:
    host = site.host("replica", {**compiled_for(16), "notes/readme.txt": b"mine"})
    load_on(NARROW, host)
    assert host.tree()["notes/readme.txt"] == b"mine"


@pytest.fixture
def restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """This container, or this machine, begins after all files were made."""
    monkeypatch.setattr(machine_start, "started_ns", lambda: time.time_ns() + 10**9)
    monkeypatch.setattr("b10_transfer.local.root_origin.started_ns", machine_start.started_ns)


@pytest.mark.usefixtures("restarted")
def test_what_lies_on_a_volume_since_before_a_restart_is_saved_where_it_fits(site: Site) -> None:
    tree = compiled_for(16)
    saved = save_on(WIDE, site.host("replica", tree))
    assert (saved.added, saved.left_out) == (len(tree), 0)


@pytest.mark.usefixtures("restarted")
def test_a_load_says_once_that_files_are_older_than_this_container(site: Site) -> None:
    host = site.host("replica", compiled_for(16))
    (line,) = load_on(WIDE, host).problems
    assert f"{len(compiled_for(16))} files" in line
    assert load_on(WIDE, host).problems == ()
    assert save_on(WIDE, host).left_out == 0


@pytest.mark.usefixtures("restarted")
def test_native_code_from_before_that_does_not_say_for_which_cpu_is_not_saved(site: Site) -> None:
    host = site.host("replica", {**compiled_for(16), LIBRARY: silent_library()})
    assert any("does not say" in line for line in load_on(WIDE, host).problems)
    saved = save_on(WIDE, host)
    assert saved.left_out_files == {
        "native code from elsewhere that does not say for which CPU it was made": (
            str(host.root / LIBRARY),
        )
    }
    # It is of use again once it was made here.
    os.unlink(host.root / LIBRARY)
    host.write({LIBRARY: silent_library(seed=1)})
    assert save_on(WIDE, host).left_out == 0


def test_native_code_that_was_copied_with_its_times_is_not_saved_unless_it_says_for_which_cpu(
    site: Site,
) -> None:
    made = site.host("made", {LIBRARY: silent_library(), f"kk/c{KEY}.so": library(16)})
    for path in made.tree():
        os.utime(made.root / path, (10**9, 10**9))
    copied = site.host("copied")
    shutil.copytree(made.root, copied.root)
    saved = save_on(WIDE, copied)
    assert (saved.added, saved.left_out) == (1, 1)


def test_native_code_of_another_cpu_that_does_not_say_so_is_moved_aside(site: Site) -> None:
    volume = site.host("volume", {LIBRARY: silent_library(), SOURCE: b"scalar"})
    save_on(WIDE, volume)
    moved = WIDE.but(flags=f"{AVX512_FLAGS} gfni")
    load_on(moved, volume)
    assert aside(volume) == {LIBRARY: silent_library()}
    assert volume.tree() == {SOURCE: b"scalar"}


def test_a_root_that_goes_to_and_fro_keeps_what_each_machine_made(site: Site) -> None:
    volume = site.host("volume", {"aa/first.py": b"1"})
    assert save_on(WIDE, volume).added == 1
    load_on(NARROW, volume)
    volume.write({"aa/second.py": b"2"})
    saved = save_on(NARROW, volume)
    assert (saved.added, saved.left_out) == (1, 1)
    volume.write({"aa/third.py": b"3"})
    load_on(NARROW, volume)
    saved = save_on(WIDE, volume)
    assert saved.left_out == 2
    assert "aa/first.py" in {
        os.path.relpath(path, volume.root)
        for path in set(map(str, volume.root.rglob("*.py")))
        - {file for files in saved.left_out_files.values() for file in files}
    }


def test_a_clock_that_was_ahead_keeps_nothing_from_being_saved(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = site.host("replica", {"aa/first.py": b"1"})
    save_on(WIDE, host)
    with monkeypatch.context() as patch:
        now = time.time_ns
        patch.setattr(time, "time_ns", lambda: now() + 2 * 86400 * 10**9)
        load_on(NARROW, host)
    host.write({"aa/second.py": b"2"})
    saved = save_on(NARROW, host)
    assert (saved.added, saved.left_out) == (1, 1)
    assert stored(NARROW, site) == {"aa/second.py": b"2"}


def test_a_load_noted_while_the_clock_was_ahead_takes_nothing_compiled_later_for_loaded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_on(WIDE, site.host("saver", {"aa/first.py": b"1"}))
    host = site.host("replica")
    with monkeypatch.context() as patch:
        now = time.time_ns
        patch.setattr(time, "time_ns", lambda: now() + 2 * 86400 * 10**9)
        load_on(WIDE, host)
    host.write({"aa/second.py": b"2"})
    assert save_on(WIDE, host).recompiled == 1


def test_a_clear_removes_what_was_moved_aside(site: Site) -> None:
    host = site.host("replica", compiled_for(16))
    load_on(NARROW, host)
    assert aside(host)
    (root,) = (root for root in open_context(host.settings()).roots if root.name == "inductor")
    clear_root(root)
    assert not host.root.exists()


@BOTH_WAYS
def test_a_store_with_code_for_another_cpu_is_not_believed_and_heals(
    here: Machine, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    baked = compiled_for(LANES[OTHER[here]])
    with monkeypatch.context() as patch:
        # An earlier saver looked into no file.
        patch.setattr(root_origin, "judge_files", judge_nothing)
        assert save_on(here, site.host("careless", baked)).added == len(baked)
    replica = site.host("replica")
    report = load_on(here, replica)
    assert GRAPH not in replica.tree()
    assert any("made for vectors of another width" in line for line in report.problems)
    if here is NARROW:
        assert LIBRARY not in replica.tree()
    replica.write(compiled_for(LANES[here]))
    assert save_on(here, replica).superseded > 0
    assert stored(here, site)[GRAPH] == compiled_for(LANES[here])[GRAPH]
