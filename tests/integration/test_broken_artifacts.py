"""Artifacts that a power cut left empty, zeros or half: never saved, never placed, and replaced."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from b10_store.paths import RECORD_FOLDER
from b10_transfer import OperationStatus as Status
from tests.support.broken_artifacts import save_carelessly
from tests.support.cache_trees import TRITON_HASH, elf, read_tree, triton_kernel, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.sites import Site

KEY = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrs"
SOURCE = f"ab/c{KEY}.py"
KERNEL = f"cd/c{KEY}.main.cpp"
LIBRARY = f"cd/c{KEY}.main.so"
GRAPH = f"fxgraph/ab/f{KEY}/{KEY}"
TREE = {
    SOURCE: b"VALUES = [\n" + b"    1,\n" * 20 + b"]\n",
    KERNEL: b"void kernel() { int x; }\n",
    LIBRARY: elf(b"code" * 300),
    GRAPH: b"\x80\x04K\x01.",
    "ab/x.best_config": b'{"XBLOCK": 64}',
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
}
DAMAGED = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
EACH = pytest.mark.parametrize("path", TREE)


@pytest.fixture
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("b10_transfer.local.settled.GRAIN_NS", -1_000_000_000)


@EACH
@DAMAGED
def test_a_broken_artifact_is_named_and_not_saved_and_the_rest_is(
    site: Site, path: str, damage: Callable[[bytes], bytes]
) -> None:
    saver = site.host("saver", {**TREE, path: damage(TREE[path])})
    report = saver.save()
    assert (report.status, report.added) == (Status.SUCCESS, len(TREE) - 1)
    ((reason, files),) = report.left_out_files.items()
    assert reason.startswith(("broken ", "a broken "))
    assert files == (str(saver.root / path),)
    assert saver.save().left_out_files == report.left_out_files
    host = site.host("host")
    host.load()
    assert host.tree() == {name: data for name, data in TREE.items() if name != path}


@EACH
@DAMAGED
def test_a_broken_artifact_in_the_store_is_not_placed_and_what_is_made_here_takes_its_place(
    site: Site, path: str, damage: Callable[[bytes], bytes]
) -> None:
    save_carelessly(site.host("older", {**TREE, path: damage(TREE[path])}))
    host = site.host("host")
    report = host.load()
    assert (report.status, report.loaded, report.unavailable) == (Status.SUCCESS, len(TREE) - 1, 1)
    assert path in "".join(report.problems)
    assert path not in host.tree()
    host.write({path: TREE[path]})
    assert host.save().status is Status.SUCCESS
    healed = site.host("healed")
    report = healed.load()
    assert (report.unavailable, report.problems) == (0, ())
    assert healed.tree() == TREE
    assert healed.save().status is Status.SKIPPED


def test_a_broken_graph_leaves_the_store_with_the_next_save_though_none_takes_its_name(
    site: Site,
) -> None:
    save_carelessly(site.host("older", {**TREE, GRAPH: b""}))
    host = site.host("host")
    host.load()
    other = GRAPH[:-1] + "x"
    host.write({other: b"\x80\x04K\x02."})
    host.save()
    healed = site.host("healed")
    assert healed.load().unavailable == 0
    assert other in healed.tree()
    assert GRAPH not in healed.tree()


def test_a_host_that_only_loads_what_is_broken_publishes_nothing(site: Site) -> None:
    save_carelessly(site.host("older", {**TREE, SOURCE: b""}))
    host = site.host("host")
    host.load()
    assert host.save().status is Status.SKIPPED
    assert host.load().unavailable == 1


def test_a_broken_file_here_sets_aside_the_same_in_the_store(site: Site) -> None:
    older = site.host("older", {**TREE, SOURCE: b""})
    save_carelessly(older)
    # On a busy machine the file counts as settled, and what was noted would vouch for it.
    shutil.rmtree(older.root / RECORD_FOLDER)
    older.write({"ab/new.py": b"x"})
    saved = older.save()
    assert (saved.added, saved.left_out) == (1, 1)
    host = site.host("host")
    report = host.load()
    assert (report.unavailable, report.problems) == (0, ())
    assert SOURCE not in host.tree()


def _save_kernel(site: Site, maker: bytes, damage: bytes | None = None) -> Path:
    host = site.host(maker.decode())
    folder = host.triton / TRITON_HASH
    kernel = triton_kernel(folder)
    write_tree(folder, {**kernel, "kernel.ptx": b"made by " + maker})
    if damage is not None:
        write_tree(folder, {"kernel.json": damage})
    host.write({"ab/x.py": b"x"})
    save_carelessly(host)
    return folder


def test_a_kernel_with_a_broken_file_is_replaced_as_a_whole(site: Site) -> None:
    _save_kernel(site, b"older", damage=b"")
    host = site.host("host")
    report = host.load()
    assert report.loaded == 1
    assert not os.path.exists(host.triton / TRITON_HASH)
    folder = host.triton / TRITON_HASH
    kernel = {**triton_kernel(folder), "kernel.ptx": b"made by the host"}
    write_tree(folder, kernel)
    host.save()
    healed = site.host("healed")
    assert healed.load().unavailable == 0
    assert read_tree(healed.triton / TRITON_HASH)["kernel.ptx"] == b"made by the host"


@pytest.mark.usefixtures("settled_at_once")
def test_a_record_of_what_was_hashed_under_fewer_rules_vouches_for_nothing(site: Site) -> None:
    host = site.host("host", {**TREE, SOURCE: b""})
    save_carelessly(host)
    assert host.save().left_out == 0
    with (
        mock.patch("b10_transfer.local.record.FORMS", 2),
        mock.patch("b10_transfer.operations.last_save.FORMS", 2),
    ):
        assert host.save().left_out == 1
