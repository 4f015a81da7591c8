"""Files that are no artifacts, paths that lead elsewhere, and trees that change meanwhile."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

from b10_transfer import OperationStatus
from tests.support.cache_trees import TRITON_HASH, compiled_graph, triton_kernel, write_tree

if TYPE_CHECKING:
    from tests.support.sites import Site

TREE = compiled_graph("model")
DONE = (OperationStatus.SUCCESS, OperationStatus.SKIPPED)


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
