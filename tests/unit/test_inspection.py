"""Reading a store to show it: headers, heads and tables of packs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from b10_store.errors import CorruptError, StoreError
from b10_store.format.keys import SigningKey
from b10_store.format.manifest_file import decode_pack_sizes, encode_manifest
from b10_store.remote.folder import FolderRemote
from b10_transfer.operations.inspect import list_addresses, list_stored, show_stored
from b10_transfer.settings import Settings
from tests.support.published import damage, publish
from tests.support.values import ADDRESS, entry, manifest, pack, pack_id, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.format.manifest import Manifest

KEY = SigningKey(b"the secret of the fleet")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment(
        {"B10FS_CACHE_DIR": str(tmp_path / "store"), "LOCAL_WORK_DIR": str(tmp_path)}
    )


def put(settings: Settings, *manifests: Manifest) -> None:
    publish(FolderRemote(settings.store), settings.scratch, *manifests)


def test_the_sizes_of_packs_are_those_of_the_manifest(tmp_path: Path) -> None:
    entries = [entry(f"{number}.py", pack=number) for number in range(1, 300)]
    packs = {number: pack(stored=100 + number) for number in range(1, 300)}
    value = manifest(1, entries, packs=packs)
    for key, keys in ((None, ()), (KEY, (KEY,)), (KEY, ())):
        data = encode_manifest(value, str(tmp_path), key)
        assert decode_pack_sizes(data, value.name, str(tmp_path), keys) == {
            pack_id(number): known.size for number, known in packs.items()
        }
    assert os.listdir(tmp_path) == []


def test_bytes_that_are_not_the_manifests_are_refused(tmp_path: Path) -> None:
    value = manifest(1, [entry("x.py")])
    data = encode_manifest(value, str(tmp_path))
    for place in range(0, len(data), 7):
        bad = bytearray(data)
        bad[place] ^= 1
        with pytest.raises(StoreError):
            decode_pack_sizes(bytes(bad), value.name, str(tmp_path))
    with pytest.raises(StoreError):
        decode_pack_sizes(data[:-1], value.name, str(tmp_path))
    with pytest.raises(CorruptError, match="not signed"):
        decode_pack_sizes(data, value.name, str(tmp_path), (KEY,))


def test_heads_that_know_nothing_of_each_other_are_counted_and_what_they_carry_on_is_not(
    settings: Settings,
) -> None:
    first = manifest(1000, [entry("a.py")])
    second = manifest(2000, [entry("b.py", pack=2)], parents=[snapshot(1000)])
    third = manifest(3000, [entry("c.py", pack=3)], salt=1)
    put(settings, first, second, third)
    (row,) = list_stored(settings, None).rows
    assert (row.heads, row.filename) == (2, third.name.manifest_path)
    shown = show_stored(settings, ADDRESS, None)
    assert shown is not None
    assert [head.filename for head in shown.heads] == [
        third.name.manifest_path,
        second.name.manifest_path,
    ]
    assert (shown.superseded, shown.totals.artifacts) == (1, 2)


def test_where_the_newest_is_damaged_the_one_before_is_listed(settings: Settings) -> None:
    older = manifest(1000, [entry("a.py")])
    newer = manifest(2000, [entry("b.py")], parents=[snapshot(1000)])
    put(settings, older, newer)
    damage(FolderRemote(settings.store), newer)
    found = list_stored(settings, None)
    assert [row.filename for row in found.rows] == [older.name.manifest_path]
    assert [item.name for item in found.problems] == [newer.name.manifest_path]


def test_a_damaged_body_costs_the_shares_and_no_row(settings: Settings) -> None:
    value = manifest(1000, [entry("a.py")])
    put(settings, value)
    (path,) = (
        os.path.join(settings.store, "manifests", name)
        for name in os.listdir(os.path.join(settings.store, "manifests"))
    )
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    found = list_stored(settings, ADDRESS)
    (row,) = found.rows
    assert (row.shared_bytes, found.pack_bytes) == (None, None)
    assert row.is_current
    (problem,) = found.problems
    assert problem.name == value.name.manifest_path


def test_a_header_that_is_longer_than_a_first_look_is_read_whole(settings: Settings) -> None:
    parents = [snapshot(number) for number in range(2000)]
    value = manifest(5000, [entry("a.py")], ancestors=parents)
    put(settings, value)
    (row,) = list_stored(settings, None).rows
    assert row.filename == value.name.manifest_path


def test_temporary_files_are_no_problem(settings: Settings) -> None:
    put(settings, manifest(1000, [entry("a.py")]))
    folder = os.path.join(settings.store, "manifests")
    for name in ("x.manifest.tmp-0123", "y.manifest"):
        with open(os.path.join(folder, name), "wb"):
            pass
    found = list_stored(settings, None)
    assert [item.name for item in found.problems] == ["manifests/y.manifest"]
    assert list_addresses(settings) == [ADDRESS]


def test_nothing_is_stored_where_there_is_nothing(settings: Settings) -> None:
    assert list_stored(settings, ADDRESS).rows == ()
    assert show_stored(settings, ADDRESS, ADDRESS) is None
    assert list_addresses(settings) == []
