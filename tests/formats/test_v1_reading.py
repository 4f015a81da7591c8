"""The golden files of format 1 are read as they were written."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3

from b10_store.errors import CorruptError
from b10_store.format.keys import PrivateKey, SigningKey
from b10_store.format.manifest_file import decode_manifest
from b10_store.format.names import PackId, check_format_line, pack_path, parse_manifest_name
from b10_store.format.pack_footer import read_footer
from b10_store.manifests.merge import merge
from b10_store.manifests.reader import ManifestReader
from b10_store.remote.folder import FolderRemote
from b10_store.store import Store
from b10_store.tree.placement import RestoreTarget
from tests.formats.make_v1 import (
    CANONICAL_GROUP,
    KERNEL,
    PLAIN,
    PRIVATE,
    SECRET,
    SIGNED,
    SIGNED_BY_PAIR,
)
from tests.support.staged import files_of, make_root, unwatched

if TYPE_CHECKING:
    from b10_store.format.keys import Key
    from b10_store.format.names import Address

GOLDEN = Path(__file__).parent / "v1"
STORE = GOLDEN / "store"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_bytes())
KEY = SigningKey(SECRET)
PUBLIC_KEY = PrivateKey(PRIVATE).public


def golden(name: str) -> bytes:
    return (STORE / name).read_bytes()


def test_the_golden_files_are_all_there_and_small() -> None:
    files = [path for path in STORE.rglob("*") if path.is_file()]
    assert len(files) == 1 + 2 + 5 + 1
    assert sum(path.stat().st_size for path in files) < 100_000


def test_the_format_line_is_accepted() -> None:
    assert golden("FORMAT") == b"b10-transfer store, format 1, check 724ffa3e73b71b67\n"
    assert check_format_line(golden("FORMAT"))


@pytest.mark.parametrize("pack", EXPECTED["packs"])
def test_a_golden_pack_is_read(pack: str) -> None:
    size, frames = EXPECTED["packs"][pack]
    name = pack_path(PackId(pack))
    assert blake3(golden(name)).hexdigest() == pack
    assert len(golden(name)) == size
    table, _ = read_footer(FolderRemote(str(STORE)), name)
    assert [list(item) for item in table.sizes] == frames


@pytest.mark.parametrize("expected", EXPECTED["manifests"], ids=lambda item: item["name"][-5:])
def test_a_golden_manifest_is_read(expected: dict[str, Any], tmp_path: Path) -> None:
    name = parse_manifest_name(f"{expected['name']}.manifest")
    assert name is not None
    keys = (KEY, PUBLIC_KEY) if expected["signed"] else ()
    value = decode_manifest(golden(name.manifest_path), name, str(tmp_path), keys)
    assert value.signed == expected["signed"]
    assert sorted(value.packs) == expected["packs"]
    for pack, known in value.packs.items():
        frames = [list(item) for item in known.frames.sizes]
        assert [known.size, frames] == EXPECTED["packs"][pack]
    lineage = expected["lineage"]
    assert list(value.lineage.parents) == lineage["parents"]
    assert list(value.lineage.ancestors) == lineage["ancestors"]
    assert [list(pair) for pair in value.lineage.environment] == lineage["environment"]
    assert [list(pair) for pair in value.lineage.recorded] == lineage["recorded"]
    found = [value.entries[identity] for identity in sorted(value.entries)]
    assert len(found) == len(expected["entries"])
    for entry, wanted in zip(found, expected["entries"], strict=True):
        assert list(entry.identity) == wanted["identity"]
        assert list(entry.location) == wanted["location"]
        for field in ("digest", "size", "executable", "mtime_ns", "group_length", "generation"):
            assert getattr(entry, field) == wanted[field]
        assert entry.saved_ms == wanted["saved_ms"]


def test_the_golden_heads_are_the_two_that_nobody_supersedes(tmp_path: Path) -> None:
    heads = ManifestReader(FolderRemote(str(STORE)), str(tmp_path), ()).heads(PLAIN)
    assert sorted(head.name.snapshot[-2:] for head in heads.manifests) == ["02", "03"]
    assert len(heads.listed) == 3
    assert heads.problems == ()


@pytest.mark.parametrize(("address", "key"), [(SIGNED, KEY), (SIGNED_BY_PAIR, PUBLIC_KEY)])
def test_a_signed_manifest_needs_its_key(address: Address, key: Key, tmp_path: Path) -> None:
    remote = FolderRemote(str(STORE))
    assert len(ManifestReader(remote, str(tmp_path), (key,)).heads(address).manifests) == 1
    other = SigningKey(b"another key that nobody used")
    heads = ManifestReader(remote, str(tmp_path), (other,)).heads(address)
    assert heads.manifests == ()
    (name,) = heads.listed
    with pytest.raises(CorruptError):
        decode_manifest(golden(name.manifest_path), name, str(tmp_path), (other,))


def test_the_golden_store_loads(tmp_path: Path) -> None:
    roots = {name: make_root(tmp_path / name) for name in ("inductor", "triton", "flashinfer")}
    store = Store(FolderRemote(str(STORE)), str(tmp_path))
    stored = merge(store.heads(PLAIN).manifests)
    placements = [
        RestoreTarget(entry, str(roots[entry.identity.root])) for entry in stored.entries.values()
    ]
    outcome = store.load(PLAIN, placements, stored.packs, watch=unwatched, workers=2)
    assert (outcome.damaged, outcome.unread, outcome.placed.failed) == ({}, {}, [])
    inductor = files_of(roots["inductor"])
    assert inductor["ab/cabc.py"] == b"import torch\n# better\n"
    assert inductor["ab/empty.gch"] == b""
    assert inductor["\u00fcml\u00e4ut/with space"] == b"odd\n"
    assert inductor["zz/big.bin"] == bytes((1 << 20) + 100)
    assert inductor["fxgraph/gg/graphkey/variant1"] == b"graph variant 1"
    assert inductor["fxgraph/gg/graphkey/variant2"] == b"graph variant 2"
    assert files_of(roots["triton"])[f"{KERNEL}/__grp__add.json"] == CANONICAL_GROUP
    assert stat.S_IMODE((roots["inductor"] / "ab/cabc.so").stat().st_mode) & stat.S_IXUSR
    timed = roots["flashinfer"] / "cached_ops/op/build.ninja"
    assert timed.stat().st_mtime_ns == 1_699_999_999_123_456_789
    assert len(outcome.placed.placed) == 11
