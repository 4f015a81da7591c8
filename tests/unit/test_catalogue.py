"""Rows of a listing, and the totals of one environment, from values alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from b10_store.format.manifest import Lineage, Manifest, summarize
from b10_store.format.manifest_file import Header
from b10_store.format.names import Address
from b10_store.manifests.merge import MergedView, superseded_by
from b10_transfer.operations.listing import (
    Head,
    KindTotal,
    kinds_of,
    rows_of,
    total_bytes,
    totals_of,
)
from tests.support.values import ADDRESS, entry, manifest, pack, pack_id, snapshot

OTHER = Address("f" * 32, "flux")
DAY = 86400.0
SECOND = 1000


def header_of(value: Manifest) -> Header:
    return Header(value.name, value.lineage, summarize(value), 0)


def head(
    milliseconds: int,
    packs: dict[int, int] | None,
    address: Address = ADDRESS,
    used_after: float = 0.0,
    salt: int = 0,
) -> Head:
    """A head with one artifact of 100 stored bytes in each of its packs."""
    entries = [entry(f"{number}/x.py", pack=number) for number in packs or {1: 0}]
    value = manifest(milliseconds, entries, address=address, salt=salt)
    return Head(
        header_of(value),
        used_at=milliseconds / 1000 + used_after,
        packs=None if packs is None else {pack_id(number): size for number, size in packs.items()},
    )


def test_what_was_saved_last_comes_first() -> None:
    heads = [head(number * SECOND, {1: 300}, Address(f"{number:032x}")) for number in (2, 9, 4)]
    assert [row.saved_at for row in rows_of(heads, None)] == [9.0, 4.0, 2.0]


def test_a_row_has_the_numbers_of_the_newest_head_and_counts_the_others() -> None:
    heads = [head(1 * SECOND, {1: 300}), head(5 * SECOND, {1: 300, 2: 300}, salt=1)]
    (row,) = rows_of(heads, None)
    assert (row.heads, row.saved_at, row.artifacts) == (2, 5.0, 2)
    assert row.filename == heads[1].header.name.manifest_path


@pytest.mark.parametrize(
    ("current", "same", "is_current"),
    [
        (None, False, False),
        (OTHER, False, False),
        (ADDRESS, True, True),
        (Address(ADDRESS.environment_key, "flux"), True, False),
    ],
)
def test_what_this_machine_can_load_is_told_from_what_it_does(
    current: Address | None, same: bool, is_current: bool
) -> None:
    (row,) = rows_of([head(SECOND, {1: 300})], current)
    assert (row.is_this_environment, row.is_current) == (same, is_current)


def test_a_load_is_noted_only_when_the_manifest_was_touched_a_day_after_its_save() -> None:
    for used_after, noted in ((0.0, None), (DAY - 1, None), (DAY, DAY + 1), (9 * DAY, 9 * DAY + 1)):
        (row,) = rows_of([head(SECOND, {1: 300}, used_after=used_after)], None)
        assert row.last_load_at == noted
        assert row.last_used_at == 1 + used_after


def test_of_two_heads_the_later_use_counts() -> None:
    heads = [head(SECOND, {1: 300}, used_after=3 * DAY), head(2 * SECOND, {1: 300}, salt=1)]
    (row,) = rows_of(heads, None)
    assert row.last_used_at == row.last_load_at == 1 + 3 * DAY


def test_bytes_in_packs_that_others_reference_are_shared() -> None:
    heads = [head(SECOND, {1: 100, 2: 100}), head(SECOND, {2: 100, 3: 100}, OTHER)]
    for row in rows_of(heads, None):
        assert (row.stored_bytes, row.shared_bytes, row.exclusive_bytes) == (200, 100, 100)
    assert total_bytes(heads) == 300


def test_two_heads_of_one_address_share_nothing_with_others() -> None:
    heads = [head(SECOND, {1: 100}), head(2 * SECOND, {1: 100}, salt=1)]
    (row,) = rows_of(heads, None)
    assert (row.shared_bytes, row.exclusive_bytes) == (0, 100)


def test_a_pack_of_ones_own_that_is_half_unused_makes_nothing_shared() -> None:
    (row,) = rows_of([head(SECOND, {1: 40})], None)
    assert (row.stored_bytes, row.shared_bytes) == (100, 0)


def test_where_one_table_of_packs_was_not_read_nobody_knows_who_shares() -> None:
    heads = [head(SECOND, {1: 100}), head(SECOND, None, OTHER)]
    for row in rows_of(heads, None):
        assert (row.shared_bytes, row.exclusive_bytes) == (None, None)
    assert total_bytes(heads) is None


def test_an_older_snapshot_supersedes_no_newer_one() -> None:
    older, newer = snapshot(1), snapshot(2)
    header = header_of(manifest(1, parents=[newer]))
    assert superseded_by([header]) == frozenset()
    newest = header_of(manifest(3, parents=[newer], ancestors=[older]))
    assert superseded_by([header, newest]) == {older, newer}


def test_artifacts_are_grouped_by_root_and_kind_the_largest_first() -> None:
    entries = [
        entry("ab/a.py", pack=1, offset=0, size=100),
        entry("ab/b.py", pack=1, offset=100, size=100),
        entry("fxgraph/aa/f/x", pack=1, offset=200, size=800),
        entry("h/k.py", root="triton", pack=2, size=1000),
    ]
    packs = {pack_id(1): pack(), pack_id(2): pack()}
    stored = MergedView({item.identity: item for item in entries}, packs)
    assert kinds_of(stored) == [
        KindTotal("triton", ".py", 1, 1000, 100),
        KindTotal("inductor", "fxgraph", 1, 800, 80),
        KindTotal("inductor", ".py", 2, 200, 20),
    ]


def test_a_blob_that_two_artifacts_share_is_counted_once() -> None:
    one = entry("ab/a.py", "same", size=500)
    entries = [one, entry("ab/b.py", "same", size=500), entry("c.py", offset=500, size=500)]
    packs = {pack_id(1): pack(), pack_id(9): pack()}
    totals = totals_of(MergedView({item.identity: item for item in entries}, packs))
    assert (totals.artifacts, totals.blobs) == (3, 2)
    assert (totals.raw_bytes, totals.blob_bytes, totals.stored_bytes) == (1500, 1000, 100)
    assert (totals.packs, totals.pack_bytes) == (1, pack().size)


def test_the_environment_is_that_of_the_newest_head() -> None:
    older, newer = head(SECOND, {1: 100}), head(2 * SECOND, {1: 100}, salt=1)
    lineage = Lineage((), (), (("device", "H200"), ("torch", "2.13.0")))
    newer = replace(newer, header=replace(newer.header, lineage=lineage, signed=True))
    (row,) = rows_of([newer, older], None)
    assert row.environment == {"device": "H200", "torch": "2.13.0"}
    assert row.is_signed
