from __future__ import annotations

import pytest

from b10_store.errors import CorruptError
from b10_store.format.lmdb_pages import check_pages
from tests.support.databases import read_database
from tests.support.forged_pages import Pages
from tests.support.hostile_databases import FORGED, sound

ROWS = 100_000

# By what makes the database harmful: what is said of it, so that no other check stands in.
REASONS = {
    "a page far outside": "once more",
    "a page behind the end": "meta page that contradicts",
    "a file of half a page": "bytes in pages of",
    "a leaf without rows": "contradicts itself",
    "a branch in a ring": "once more",
    "a tower of branches": "once more",
    "a leaf beside a branch": "several kinds",
    "a branch of one child": "single child",
    "a page of no kind": "several kinds",
    "a dirty page": "several kinds",
    "a page of fixed keys": "several kinds",
    "a page with too many rows": "contradicts itself",
    "a page whose rows are in its head": "contradicts itself",
    "a page with an odd number of bytes": "contradicts itself",
    "a page that ends behind its end": "contradicts itself",
    "a row in the head of its page": "a node outside",
    "a row outside its page": "a node outside",
    "a row far outside its page": "a node outside",
    "a value outside its page": "a row outside",
    "a value a little outside its page": "a row outside",
    "a key outside its page": "a key outside",
    "a long value outside the file": "once more",
    "a long value in a meta page": "once more",
    "a long value longer than the file": "not the beginning of a value",
    "a long value without its flag": "a row of another kind",
    "a row of no kind": "a row of another kind",
    "a long value in a page of rows": "not the beginning of a value",
    "a long value in its own page": "holds others",
    "a long value twice": "once more",
    "rows on one another": "a row outside, or twice",
    "tables of many values": "a table of another kind",
    "a table in a table": "a table in a table",
    "a table cut short": "a row of another kind",
    "pages of two sizes": "meta page that contradicts",
    "pages of no size": "in pages of 0",
    "pages of 4 GiB": "in pages of",
    "pages of an odd size": "in pages of 4097",
    "a last page behind the end": "meta page that contradicts",
    "a table of tables of another kind": "meta page that contradicts",
    "a meta page that is none": "not a database",
    "another version of the database": "not a database",
}
HARMLESS = {"no tables", "rows in the place of tables"}
"""LMDB itself says what is wrong with these."""


def test_each_forged_database_has_a_reason() -> None:
    assert FORGED.keys() == REASONS.keys() | HARMLESS


def test_one_that_is_put_together_by_hand_is_accepted_and_is_one() -> None:
    raw = sound(Pages())
    check_pages(raw, ROWS)
    assert {name: len(rows) for name, rows in read_database(raw).items()} == {
        "artifacts": 1,
        "frames": 1,
        "packs": 1,
    }


@pytest.mark.parametrize("case", REASONS)
def test_what_lmdb_would_take_at_its_word_is_refused(case: str) -> None:
    with pytest.raises(CorruptError, match=REASONS[case]):
        check_pages(FORGED[case](Pages()), ROWS)
