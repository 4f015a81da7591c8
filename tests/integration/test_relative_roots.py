"""A relative cache folder: it lies below the working folder, for a load and for a save."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus as Status
from b10_transfer.caches.folders import VARIABLES
from b10_transfer.caches.roots import ROOT_NAMES, resolve_roots
from tests.support.cache_trees import compiled_graph, read_tree, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Site

TREE = compiled_graph("model")


@pytest.mark.parametrize("value", ["./ind", "a/../ind", "../work/ind"])
def test_what_a_relative_folder_holds_is_saved_and_loaded_as_torch_takes_it(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name in ("saver", "loader"):
        host = site.host(name)
        work = tmp_path / name / "work"
        work.mkdir(parents=True)
        monkeypatch.chdir(work)
        if name == "saver":
            write_tree(work / "ind", TREE)
            assert host.load(TORCHINDUCTOR_CACHE_DIR=value).status is Status.DOES_NOT_EXIST
            # torch writes the absolute path back into the variable.
            report = host.save(TORCHINDUCTOR_CACHE_DIR=str(work / "ind"))
            assert (report.status, report.added) == (Status.SUCCESS, len(TREE))
            assert host.save(TORCHINDUCTOR_CACHE_DIR=value).status is Status.SKIPPED
        else:
            assert host.load(TORCHINDUCTOR_CACHE_DIR=value).loaded == len(TREE)
            assert read_tree(work / "ind") == TREE


@pytest.mark.parametrize("name", ROOT_NAMES)
def test_every_root_lies_below_the_working_folder_when_its_variable_is_relative(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chosen").mkdir()
    variables = {"HOME": "/home/ann", "USER": "ann", VARIABLES[name][0]: "chosen"}
    (root,) = resolve_roots(variables, {name: ""})
    assert root.folder.startswith(str(tmp_path / "chosen"))
