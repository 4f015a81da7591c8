"""Manifests, under right digests, that hold more of something than any host has memory for."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.support.databases import build_database
from tests.support.forged_pages import LEAF, NO_PAGE, PAGE_SIZE, Pages, leaf_node, page
from tests.support.forged_stores import Outcome, absent_pack, encode_table, entry_row, tables_of
from tests.support.hostile_databases import PACK, ROW, finish
from tests.support.zstd_frames import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.forged_stores import Case, Forge

_RAW_LIMIT = 256 << 20


def _many_rows(forge: Forge) -> Outcome:
    """As many rows as a database may have bytes for, in pages that are all alike."""
    pages = Pages()
    nodes = [leaf_node(struct.pack(">Q", at), entry_row(f"{at:02d}")) for at in range(37)]
    count = _RAW_LIMIT // PAGE_SIZE - 600
    leaf = page(0, LEAF, nodes)
    leaves = range(pages.next, pages.next + count)
    pages.pages += [leaf] * count
    forge.plant(finish(pages, pages.add_tree(leaves)))
    return Outcome(megabytes=1000)


def _ten_million_rows(forge: Forge) -> Outcome:
    """The header tells how long the database is; it is not unpacked to see."""
    forge.plant(build_database(tables_of([ROW], PACK)), {"raw_length": 10_000_000 * 80})
    return Outcome()


def _many_frames(forge: Forge) -> Outcome:
    tables = tables_of([ROW], PACK)
    tables["frames"] = {bytes(8): encode_table([(10, 1 << 20)]) * MIB}
    forge.plant(build_database(tables))
    return Outcome()


def _many_packs_of_many_frames(forge: Forge) -> Outcome:
    """Each has a table that is not too long."""
    packs = [absent_pack([], number) for number in range(20)]
    tables = tables_of([ROW], *packs)
    table = encode_table([(10, 1 << 20)]) * (1 << 16)
    tables["frames"] = dict.fromkeys(tables["packs"], table)
    forge.plant(build_database(tables))
    return Outcome()


def _many_packs(forge: Forge) -> Outcome:
    """Packs without frames, as many as the file has room for."""
    pages = Pages()
    alike = {
        name: page(0, LEAF, [leaf_node(struct.pack(">Q", at), row) for at in range(count)])
        for name, row, count in ((b"packs", PACK.row, 60), (b"frames", b"", 200))
    }
    roots = {b"artifacts": NO_PAGE}
    for name, count in ((b"packs", 20_000), (b"frames", 6_000)):
        leaves = range(pages.next, pages.next + count)
        pages.pages += [alike[name]] * count
        roots[name] = pages.add_tree(leaves)
    forge.plant(pages.finish(roots.items()))
    return Outcome(megabytes=700)


CASES: Mapping[str, Case] = {
    "two million entries": _many_rows,
    "ten million entries": _ten_million_rows,
    "a million frames": _many_frames,
    "a million frames of several packs": _many_packs_of_many_frames,
    "a million packs": _many_packs,
}
