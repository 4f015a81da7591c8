"""Files that are no artifacts, paths that lead elsewhere, and trees that change meanwhile."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from b10_store.format import manifest_file
from b10_store.format.names import SnapshotName, new_snapshot_id
from b10_store.manifests.reader import ManifestReader
from b10_store.remote.folder import FolderRemote
from b10_transfer import CacheError, OperationStatus
from tests.support.cache_trees import TRITON_HASH, compiled_graph, triton_kernel, write_tree
from tests.support.crowd import OTHER_USER
from tests.support.programs import SAVE, run_python

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.format.manifest import Manifest
    from tests.support.sites import Site

TREE = compiled_graph("model")
DONE = (OperationStatus.SUCCESS, OperationStatus.SKIPPED)


def make_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "secret.txt")


def make_broken_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "nothing")


def make_pipe(path: Path, outside: Path) -> None:
    del outside
    os.mkfifo(path)


def make_socket(path: Path, outside: Path) -> None:
    del outside
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.fixture
def outside(site: Site) -> Path:
    """A folder that no cache operation has any business in."""
    write_tree(site.folder / "outside", {"secret.txt": b"not to be read or written"})
    return site.folder / "outside"


def test_defect_19_names_with_dots_in_them_are_saved_and_loaded(site: Site) -> None:
    tree = {
        "ab/kernel..v2.py": b"1",
        "ab..cd/..hidden.py/x": b"left out: its folder is a hidden one",
        "dots../trailing...": b"2",
        "a...b/c": b"3",
    }
    site.host("saver", tree).save()
    loader = site.host("loader")
    loader.load()
    del tree["ab..cd/..hidden.py/x"]
    assert loader.tree() == tree


@pytest.mark.parametrize("make", [make_link, make_broken_link, make_pipe, make_socket])
def test_defect_20_what_is_no_regular_file_is_not_saved_and_hangs_nobody(
    site: Site, outside: Path, make: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = site.host("saver", TREE)
    monkeypatch.chdir(saver.root)  # the name of a socket may have 108 characters at most
    make(Path("odd"), outside)
    done = run_python(SAVE, saver.variables(), seconds=300)
    assert (done.stdout, done.stderr) == ("SUCCESS\n", "")
    loader = site.host("loader")
    loader.load()
    assert loader.tree() == TREE
    assert not os.path.lexists(loader.root / "odd")


def test_defect_20_hard_links_are_loaded_as_files_of_their_own(site: Site) -> None:
    saver = site.host("saver", {"ab/first.py": b"shared"})
    os.link(saver.root / "ab/first.py", saver.root / "ab/second.py")
    saver.save()
    loader = site.host("loader")
    loader.load()
    assert loader.tree() == {"ab/first.py": b"shared", "ab/second.py": b"shared"}
    assert {(loader.root / path).stat().st_nlink for path in loader.tree()} == {1}


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a link away"
)
def test_defect_20_a_load_never_writes_through_a_link_in_the_tree(
    site: Site, outside: Path
) -> None:
    tree = {"ab/x.py": b"1", "cd/y.py": b"2", "ef/z.py": b"3", "gh/plain.py": b"4"}
    site.host("saver", tree).save()
    loader = site.host("loader")
    loader.root.mkdir(parents=True)
    (loader.root / "ab").symlink_to(outside)
    (loader.root / "cd").symlink_to(outside / "nothing")
    (loader.root / "ef").mkdir()
    (loader.root / "ef/z.py").symlink_to(outside / "z.py")
    for link in ("ab", "cd"):
        # A user's own link to a folder is followed, as compilers follow it; not somebody else's.
        os.lchown(loader.root / link, OTHER_USER, OTHER_USER)
    loader.root.chmod(0o777)
    report = loader.load()
    assert (report.loaded, report.already_here, report.unavailable) == (1, 1, 2)
    assert loader.tree() == {"gh/plain.py": b"4"}
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    assert (loader.root / "ab").is_symlink()
    assert (loader.root / "ef/z.py").is_symlink()


@pytest.mark.parametrize(
    "path",
    [
        "../escaped",
        "/escaped",
        "ab/../../escaped",
        "ab/./escaped",
        "ab//escaped",
        "..",
        "",
        "ab\\..\\escaped",
        ".b10_transfer/loaded",
        "nul\0byte",
        "x" * 256,
    ],
)
def test_defect_20_a_manifest_with_a_path_that_leads_elsewhere_is_refused_as_a_whole(
    site: Site, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = site.host("saver", TREE)
    saver.save()
    reader = ManifestReader(FolderRemote(str(site.store)), str(saver.work), ())
    (name,) = reader.names()
    forged = with_path(reader.read(name), path)
    with monkeypatch.context() as careless:
        careless.setattr(manifest_file, "check_manifest", accept_anything)
        data = manifest_file.encode_manifest(forged, str(saver.work))
    (site.store / name.manifest_path).unlink()
    (site.store / forged.name.manifest_path).write_bytes(data)

    loader = site.host("loader")
    with pytest.raises(CacheError, match="no manifest of this environment can be read"):
        loader.load()
    assert loader.tree() == {}
    assert not list(site.folder.rglob("escaped"))


def accept_anything(manifest: Manifest) -> None:
    del manifest


def with_path(manifest: Manifest, path: str) -> Manifest:
    entries = dict(manifest.entries)
    identity, entry = entries.popitem()
    elsewhere = identity._replace(path=path)
    entries[elsewhere] = entry._replace(identity=elsewhere, group_length=0)
    name = SnapshotName(manifest.name.address, new_snapshot_id(1e9))
    return dataclasses.replace(manifest, name=name, entries=entries)


def test_defect_31_a_tree_that_changes_while_it_is_read_gives_whole_artifacts_only(
    site: Site,
) -> None:
    saver = site.host("saver", TREE)
    over = threading.Event()
    versions = {letter * 30_000 for letter in (b"a", b"b", b"c")}

    def compile_on() -> None:
        for number in range(1_000_000):
            if over.is_set():
                return
            temporary = saver.root / f".{number}.tmp"
            temporary.write_bytes(b"abc"[number % 3 : number % 3 + 1] * 30_000)
            temporary.replace(saver.root / "replaced.py")
            with open(saver.root / "growing.log", "ab") as file:
                file.write(b"one more line\n")
            (saver.root / f"fleeting-{number}.py").write_bytes(b"gone soon")
            (saver.root / f"fleeting-{number - 3}.py").unlink(missing_ok=True)

    compiler = threading.Thread(target=compile_on)
    compiler.start()
    try:
        for number in range(12):
            # A save goes on without what was changed under its hands.
            assert saver.save().status in DONE
            loader = site.host(f"loader {number}")
            assert loader.load().unavailable == 0
            tree = loader.tree()
            assert tree.items() >= TREE.items()
            assert tree.pop("replaced.py", b"a" * 30_000) in versions
            assert set(tree.pop("growing.log", b"").splitlines()) <= {b"one more line"}
            others = {path: data for path, data in tree.items() if path not in TREE}
            assert set(others.values()) <= {b"gone soon", b""}
    finally:
        over.set()
        compiler.join()
    assert saver.save().status in DONE


def test_defect_32_the_list_of_a_triton_kernels_files_names_those_of_its_own_folder(
    site: Site,
) -> None:
    saver, loader = site.host("saver"), site.host("loader")
    inside = saver.root / "triton/0/HASH"
    write_tree(inside, triton_kernel(inside))
    write_tree(
        saver.triton / TRITON_HASH, triton_kernel(saver.triton / TRITON_HASH, code=b"other code")
    )
    saver.save()
    assert loader.load().loaded == 8
    for folder in (loader.root / "triton/0/HASH", loader.triton / TRITON_HASH):
        paths = json.loads((folder / "__grp__kernel.json").read_bytes())["child_paths"]
        assert paths == {name: str(folder / name) for name in paths}
        assert all(os.path.isfile(path) for path in paths.values())
        assert len(paths) == 3


def test_defect_33_locks_are_not_saved(site: Site) -> None:
    locks = {
        "locks/fgraph.lock": b"",
        "locks/another": b"",
        "ab/cabc.lock": b"",
        "triton/0/HASH/lock": b"",
        "aotautograd/locks/x": b"",
    }
    saver = site.host("saver", {**TREE, **locks})
    assert saver.save().found == len(TREE)
    loader = site.host("loader")
    loader.load()
    assert loader.tree() == TREE
