from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given

from b10_store.errors import CorruptError, LimitError
from b10_store.format.frame import FrameTable
from b10_store.format.manifest import (
    Entry,
    Group,
    Lineage,
    Manifest,
    Pack,
    Summary,
    check_manifest,
    referenced_packs,
    stored_bytes,
    summarize,
)
from tests.support.strategies import manifests
from tests.support.values import entry, manifest, pack, pack_id, snapshot

TWO_FRAMES = Pack(500, FrameTable(((100, 1000), (300, 1000))))


def with_entry(item: Entry) -> Manifest:
    return manifest(1, [item], packs={1: TWO_FRAMES})


@given(manifests())
def test_a_consistent_manifest_passes(value: Manifest) -> None:
    check_manifest(value)


@pytest.mark.parametrize(("offset", "size"), [(0, 2001), (2000, 1), (2001, 0), (-1, 1)])
def test_an_entry_outside_its_pack_is_refused(offset: int, size: int) -> None:
    with pytest.raises(CorruptError):
        check_manifest(with_entry(entry("a", offset=offset, size=size)))


def test_an_entry_at_the_very_end_of_its_pack_passes() -> None:
    check_manifest(with_entry(entry("a", offset=2000, size=0)))
    check_manifest(with_entry(entry("a", offset=0, size=2000)))


def test_an_entry_in_a_pack_that_is_not_listed_is_refused() -> None:
    value = dataclasses.replace(with_entry(entry("a")), packs={})
    with pytest.raises(CorruptError, match="does not list"):
        check_manifest(value)


def test_an_entry_with_an_unacceptable_path_is_refused() -> None:
    with pytest.raises(LimitError):
        check_manifest(with_entry(entry("a/../../b")))


@pytest.mark.parametrize("length", [1, 3, 8, 9, 10, 11, 60_000])
def test_a_group_length_that_is_no_folder_of_the_path_is_refused(length: int) -> None:
    item = entry("ab/cdef/gh")._replace(group_length=length)
    with pytest.raises(CorruptError, match="group"):
        check_manifest(with_entry(item))


@pytest.mark.parametrize(("length", "folder"), [(2, "ab"), (7, "ab/cdef")])
def test_a_group_is_a_folder_of_the_path(length: int, folder: str) -> None:
    item = entry("ab/cdef/gh", requirement="avx2")._replace(group_length=length)
    check_manifest(with_entry(item))
    assert item.group == Group("inductor", folder, "avx2")
    assert entry("ab/cdef/gh").group is None


def test_a_blob_that_several_entries_share_counts_once() -> None:
    packs = {pack_id(1): TWO_FRAMES}
    once = [entry("a", "x", size=500)]
    assert stored_bytes(once, packs) == 50
    assert stored_bytes([*once, entry("b", "x", size=500)], packs) == 50
    assert stored_bytes([*once, entry("c", offset=500, size=1000)], packs) == 50 + 50 + 150
    assert stored_bytes([], packs) == 0


def test_a_summary_counts_what_is_there() -> None:
    items = [entry("a", "x", size=500), entry("b", "x", size=500), entry("c", offset=1000)]
    value = manifest(1, items, packs={1: TWO_FRAMES, 2: pack()})
    assert summarize(value) == Summary(artifacts=3, raw_bytes=2000, stored_bytes=350, packs=2)


def test_packs_without_entries_are_not_referenced() -> None:
    packs = {pack_id(number): pack() for number in (1, 2, 3)}
    items = [entry("a", pack=3), entry("b", pack=1), entry("c", pack=3)]
    assert list(referenced_packs(items, packs)) == [pack_id(1), pack_id(3)]


def test_parents_and_ancestors_are_superseded() -> None:
    lineage = Lineage((snapshot(3), snapshot(4)), (snapshot(1),), ())
    assert lineage.supersedes == {snapshot(1), snapshot(3), snapshot(4)}
