"""Signed manifests under other names, changed, and put together of two: none is believed."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from b10_store.format.keys import SigningKey
from b10_store.format.names import Address, SnapshotName, parse_manifest_name, parse_snapshot_id
from b10_store.format.seal import PREFIX_SIZE, open_prefix, seal
from b10_store.remote.folder import FolderRemote
from b10_transfer import CacheError
from tests.support.engine_hosts import EngineHost
from tests.support.fleets import FLEET_KEY, GOOD, MORE, POISON, STRANGE_KEY, Fleet, assert_refused
from tests.support.sites import Site
from tests.support.values import ADDRESS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(Site(tmp_path))


def name_of(manifest: Path) -> SnapshotName:
    name = parse_manifest_name(manifest.name)
    assert name is not None
    return name


def later(name: SnapshotName, address: Address | None = None) -> SnapshotName:
    """A name that sorts behind all of today's, of the same address or another."""
    snapshot = parse_snapshot_id(f"{int(name.snapshot[:13]) + 1000}-{'f' * 32}")
    return SnapshotName(address or name.address, snapshot)


def put(site: Site, name: SnapshotName, data: bytes) -> Path:
    path = site.store / name.manifest_path
    path.write_bytes(data)
    return path


def parts_of(manifest: Path) -> tuple[dict[str, Any], bytes]:
    """Header and body of a sealed manifest."""
    data = manifest.read_bytes()
    length = open_prefix(data).header_length
    return json.loads(data[PREFIX_SIZE : PREFIX_SIZE + length]), data[PREFIX_SIZE + length :]


def resealed(header: dict[str, Any], body: bytes, key: SigningKey | None = None) -> bytes:
    return seal(json.dumps(header, separators=(",", ":")).encode(), body, key)


def other_environment(site: Site, key: str) -> SnapshotName:
    """What a host of another environment published with the key."""
    remote = FolderRemote(str(site.store))
    host = EngineHost(remote, site.folder / "elsewhere", ADDRESS, SigningKey(key.encode()))
    published = host.write(POISON).save().published
    assert published is not None
    return published


@pytest.mark.parametrize("key", [FLEET_KEY, None])
def test_a_signed_manifest_of_another_environment_is_refused_under_the_name_of_this_one(
    fleet: Fleet, key: str | None
) -> None:
    fleet.save(GOOD)
    foreign = other_environment(fleet.site, FLEET_KEY)
    replayed = later(foreign, name_of(fleet.manifests()[0]).address)
    path = put(fleet.site, replayed, fleet.site.store.joinpath(foreign.manifest_path).read_bytes())
    report, tree = fleet.load(key)
    assert tree == GOOD
    assert_refused(report, path, f"written as {foreign}")


@pytest.mark.parametrize("namespace", [None, "mine"])
def test_a_signed_manifest_of_another_namespace_is_refused_under_the_name_of_this_one(
    fleet: Fleet, namespace: str | None
) -> None:
    fleet.save(POISON, B10_CACHE_NAMESPACE="other")
    (foreign,) = fleet.manifests()
    fleet.save(GOOD, B10_CACHE_NAMESPACE=namespace)
    own = name_of(next(path for path in fleet.manifests() if path != foreign))
    for name in (later(own), SnapshotName(own.address, name_of(foreign).snapshot)):
        path = put(fleet.site, name, foreign.read_bytes())
        report, tree = fleet.load(B10_CACHE_NAMESPACE=namespace)
        assert tree == GOOD
        assert_refused(report, path, f"written as {name_of(foreign)}")
        path.unlink()


def test_a_signed_manifest_is_refused_under_the_name_of_another_snapshot(fleet: Fleet) -> None:
    fleet.save(GOOD)
    fleet.save(MORE)
    older, newer = fleet.manifests()
    data = older.read_bytes()
    path = put(fleet.site, later(name_of(newer)), data)
    report, tree = fleet.load()
    assert tree == {**GOOD, **MORE}
    assert_refused(report, path, "written as")
    path.unlink()
    # In the place of the newer one it hides that, and is itself not believed.
    newer.write_bytes(data)
    report, tree = fleet.load()
    assert tree == GOOD
    assert_refused(report, newer, "written as")


def forge_unsigned(header: dict[str, Any], body: bytes, _: bytes) -> bytes:
    return resealed(header, body)


def forge_with_another_key(header: dict[str, Any], body: bytes, _: bytes) -> bytes:
    return resealed(header, body, SigningKey(STRANGE_KEY.encode()))


def forge_under_the_old_seal(header: dict[str, Any], body: bytes, original: bytes) -> bytes:
    """Everything is consistent but the MAC, which is the original's."""
    made = resealed(header, body, SigningKey(STRANGE_KEY.encode()))
    return made[:88] + original[88:PREFIX_SIZE] + made[PREFIX_SIZE:]


def forge_under_the_old_prefix(header: dict[str, Any], body: bytes, original: bytes) -> bytes:
    """The prefix is the original's, and valid; the header is not."""
    return original[:PREFIX_SIZE] + resealed(header, body)[PREFIX_SIZE:]


Forge = Callable[[dict[str, Any], bytes, bytes], bytes]

FORGERIES: list[Forge] = [
    forge_unsigned,
    forge_with_another_key,
    forge_under_the_old_seal,
    forge_under_the_old_prefix,
]


@pytest.mark.parametrize("forge", FORGERIES)
@pytest.mark.parametrize("field", ["parents", "ancestors"])
def test_a_manifest_whose_lineage_was_changed_takes_nothing_away(
    fleet: Fleet, field: str, forge: Forge
) -> None:
    fleet.save(GOOD)
    fleet.save(MORE, B10_CACHE_NAMESPACE="source")
    good = next(path for path in fleet.manifests() if ".source~" not in path.name)
    source = next(path for path in fleet.manifests() if ".source~" in path.name)
    header, body = parts_of(source)
    name = later(name_of(good))
    changed = {
        **header,
        "namespace": "",
        "snapshot": name.snapshot,
        field: [name_of(good).snapshot],
    }
    path = put(fleet.site, name, forge(changed, body, source.read_bytes()))
    report, tree = fleet.load()
    assert tree == GOOD
    assert report.refused == 1
    saver = fleet.host({**GOOD, "nn/new.py": b"new"})
    saver.save(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    assert good.exists()
    assert path.exists()
    assert fleet.load()[1] == saver.tree()


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_signed_manifest_whose_parents_were_exchanged_in_place_hides_no_other_head(
    fleet: Fleet, forge: Forge
) -> None:
    elsewhere = Fleet(Site(fleet.site.folder / "elsewhere"))
    elsewhere.site.folder.mkdir()
    elsewhere.save(MORE)
    fleet.save(GOOD)
    saver = fleet.host()
    saver.load(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    saver.write({"nn/new.py": b"new"})
    saver.save(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    newest = fleet.manifests()[-1]
    for folder in ("packs", "manifests"):
        for path in elsewhere.site.files(folder):
            shutil.copy2(path, fleet.site.store / folder)
    assert fleet.load()[1] == {**GOOD, **MORE, "nn/new.py": b"new"}
    header, body = parts_of(newest)
    header["parents"] = [name_of(elsewhere.manifests()[0]).snapshot]
    forged = forge(header, body, newest.read_bytes())
    assert len(forged) == newest.stat().st_size
    newest.write_bytes(forged)
    report, tree = fleet.load()
    assert (tree, report.refused) == ({**GOOD, **MORE}, 1)


def body_with_two_paths_exchanged(body: bytes, paths: list[str]) -> bytes:
    """A body that says of two artifacts that each is the other, and has the same length."""
    raw = zstandard.ZstdDecompressor().decompress(body)
    for one, other in itertools.combinations([path.encode() for path in paths], 2):
        aside = b"\xff" * len(one)
        changed = raw.replace(one, aside).replace(other, one).replace(aside, other)
        made = zstandard.ZstdCompressor(level=3).compress(changed)
        if len(made) == len(body):
            return made
    raise AssertionError("no two paths can be exchanged in the same length")


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_signed_manifest_whose_body_was_changed_in_place_is_refused(
    fleet: Fleet, forge: Forge
) -> None:
    # Names that do not compress: exchanged, they hardly change the length of what is compressed.
    names = [hashlib.sha256(bytes([number])).hexdigest() for number in range(10)]
    tree = {f"ab/{name}.py": b"value = %d\n" % number for number, name in enumerate(names)}
    fleet.save(tree)
    (manifest,) = fleet.manifests()
    header, body = parts_of(manifest)
    changed = body_with_two_paths_exchanged(body, list(tree))
    manifest.write_bytes(forge(header, changed, manifest.read_bytes()))
    host = fleet.host()
    with pytest.raises(CacheError, match="1 manifest refused"):
        host.load(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    assert host.tree() == {}
    # The way it was changed would have been good enough for a host that believes everything.
    manifest.write_bytes(resealed(header, changed))
    loaded = fleet.load(None)[1]
    assert loaded.keys() == tree.keys()
    assert loaded != tree


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_signed_header_before_the_body_of_another_signed_manifest_is_refused(
    fleet: Fleet, forge: Forge
) -> None:
    fleet.save(GOOD)
    (manifest,) = fleet.manifests()
    fleet.save(POISON, B10_CACHE_NAMESPACE="other")
    other = next(path for path in fleet.manifests() if path != manifest)
    header, _ = parts_of(manifest)
    other_header, body = parts_of(other)
    header["raw_length"] = other_header["raw_length"]
    header["summary"] = other_header["summary"]
    manifest.write_bytes(forge(header, body, manifest.read_bytes()))
    host = fleet.host()
    with pytest.raises(CacheError, match="1 manifest refused"):
        host.load(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    assert host.tree() == {}


def test_the_bodies_of_two_signed_manifests_exchanged_are_both_refused(fleet: Fleet) -> None:
    fleet.save(GOOD)
    fleet.save(MORE, B10_CACHE_NAMESPACE="other")
    files = [path.read_bytes() for path in fleet.manifests()]
    cuts = [PREFIX_SIZE + open_prefix(data).header_length for data in files]
    for path, data, cut, swapped, start in zip(
        fleet.manifests(), files, cuts, reversed(files), reversed(cuts), strict=True
    ):
        path.write_bytes(data[:cut] + swapped[start:])
    for namespace in (None, "other"):
        with pytest.raises(CacheError, match=r"body is damaged.*1 manifest refused"):
            fleet.load(B10_CACHE_NAMESPACE=namespace)


def test_an_older_signed_manifest_put_back_under_its_own_name_supersedes_nothing(
    fleet: Fleet,
) -> None:
    fleet.save(GOOD)
    (old,) = fleet.manifests()
    kept = fleet.site.folder / "kept"
    shutil.copy2(old, kept)
    saver = fleet.host()
    saver.load(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    path = next(path for path in GOOD if path.endswith(".py"))
    saver.write({path: b"compiled since"})
    saver.save(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    shutil.copy2(kept, old)
    report, tree = fleet.load()
    assert tree == {**GOOD, path: b"compiled since"}
    assert report.refused == 0


def test_packs_that_were_changed_behind_a_signed_manifest_are_misses(fleet: Fleet) -> None:
    fleet.save({"ab/cab.py": b"x = 1\n" * 100})
    fleet.save({"ab/cab.py": b"x = 2\n" * 100}, B10_CACHE_NAMESPACE="other")
    one, other = fleet.site.files("packs")
    data = other.read_bytes(), one.read_bytes()
    one.write_bytes(data[0])
    other.write_bytes(data[1])
    host = fleet.host()
    with pytest.raises(CacheError, match="no stored artifact could be loaded"):
        host.load(B10_CACHE_SIGNING_KEY=FLEET_KEY)
    assert host.tree() == {}
