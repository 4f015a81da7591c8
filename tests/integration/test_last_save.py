"""A save of a tree that did not change since the last one: quick, and never blind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus as Status
from tests.support.cache_trees import LOCAL_RECORD, compiled_graph, elf, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.sites import Host, Site

TREE = compiled_graph("model")


@pytest.fixture
def saved(site: Site, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose tree is stored, and whose files count as settled at once."""
    monkeypatch.setattr("b10_transfer.local.settled.GRAIN_NS", -1_000_000_000)
    host = site.host("host", TREE)
    assert host.save().status is Status.SUCCESS
    assert host.save().status is Status.SKIPPED
    return host


def forbid_to_look_closer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError(f"the tree was hashed again: {arguments}")

    monkeypatch.setattr("b10_transfer.operations.save.scan_tree", fail)


def test_an_unchanged_tree_is_skipped_without_being_hashed_and_nothing_is_written(
    site: Site, saved: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    closer = saved.save()
    forbid_to_look_closer(monkeypatch)
    before = snapshot(site.folder)
    report = saved.save()
    assert (report.status, report.found) == (Status.SKIPPED, len(TREE))
    assert (report.stored_bytes, report.recompiled) == (closer.stored_bytes, None)
    assert snapshot(site.folder) == before


def test_a_file_that_is_never_fit_to_be_saved_costs_no_closer_look(
    saved: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved.write({"ab/half.so": elf()[:-1]})
    assert saved.save().left_out == 1
    forbid_to_look_closer(monkeypatch)
    report = saved.save()
    assert (report.status, report.found, report.left_out) == (Status.SKIPPED, len(TREE), 1)


def test_once_such_a_file_is_whole_it_is_saved(saved: Host) -> None:
    saved.write({"ab/half.so": elf()[:-1]})
    saved.save()
    saved.write({"ab/half.so": elf()})
    report = saved.save()
    assert (report.status, report.added, report.left_out) == (Status.SUCCESS, 1, 0)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("folder", "damage"),
    [
        ("manifests", flip_a_bit),
        *((folder, damage) for folder in ("packs", "manifests") for damage in (cut_short, remove)),
    ],
)
def test_damage_in_the_store_is_seen_and_healed_by_the_host_that_has_the_bytes(
    site: Site, saved: Host, folder: str, damage: Callable[[Path], None]
) -> None:
    (file,) = site.files(folder)
    damage(file)
    assert saved.save().status is Status.SUCCESS
    loader = site.host("loader")
    report = loader.load()
    assert (report.loaded, report.unavailable) == (len(TREE), 0)
    assert loader.tree() == TREE


def add_a_file(host: Host) -> None:
    host.write({"new/artifact.py": b"new"})


def add_a_kernel(host: Host) -> None:
    folder = host.triton / ("A" * 52)
    folder.mkdir(parents=True)
    (folder / "kernel.cubin").write_bytes(b"code")


def empty_the_store(host: Host) -> None:
    host.store.rename(host.store.with_name("old store"))


@pytest.mark.parametrize("change", [add_a_file, add_a_kernel, empty_the_store])
def test_a_change_here_or_there_is_seen(saved: Host, change: Callable[[Host], None]) -> None:
    change(saved)
    assert saved.save().status is Status.SUCCESS
    assert saved.save().status is Status.SKIPPED


def test_another_namespace_and_another_store_are_others(site: Site, saved: Host) -> None:
    assert saved.save(B10_CACHE_NAMESPACE="other").status is Status.SUCCESS
    elsewhere = str(site.folder / "another store")
    assert saved.save(B10FS_CACHE_DIR=elsewhere).status is Status.SUCCESS
    assert saved.save().status is Status.SKIPPED


def test_a_host_that_starts_cold_on_purpose_always_looks_closer(
    saved: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_to_look_closer(monkeypatch)
    with pytest.raises(AssertionError, match="hashed again"):
        saved.save(B10_CACHE_LOAD="0")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 1, "state": 1, "listed": 2, "heads": 3, "packs": 4}',
        '{"version": 99}',
    ],
)
def test_a_note_that_is_damaged_costs_a_closer_look(saved: Host, content: str) -> None:
    (saved.root / LOCAL_RECORD / "saved").write_text(content)
    assert saved.save().status is Status.SKIPPED


@pytest.mark.parametrize("name", ["found", "stored_bytes", "packs", "listed", "state"])
def test_a_number_that_is_none_in_the_note_costs_a_closer_look(saved: Host, name: str) -> None:
    note = saved.root / LOCAL_RECORD / "saved"
    content = json.loads(note.read_text())
    content[name] = float("inf")
    note.write_text(json.dumps(content))
    assert saved.save().status is Status.SKIPPED
