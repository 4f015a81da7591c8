from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer.caches.header_placeholders import plant_placeholders, remove_placeholders
from tests.support.cache_trees import read_tree, snapshot, write_tree
from tests.support.mounts import read_only

if TYPE_CHECKING:
    from pathlib import Path

TEXT = b"#include <torch/csrc/inductor/cpp_prefix.h>\n"


def plant(folder: Path, *headers: str) -> None:
    plant_placeholders(str(folder), headers)


def remove(folder: Path, *precompiled: str) -> None:
    remove_placeholders(str(folder), precompiled)


def test_an_empty_precompiled_header_comes_beside_each_text(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a.h": TEXT, "b.h": TEXT, "not-named.h": TEXT})
    plant(tmp_path, "a.h", "b.h")
    assert read_tree(tmp_path) == {
        "a.h": TEXT,
        "a.h.gch": b"",
        "b.h": TEXT,
        "b.h.gch": b"",
        "not-named.h": TEXT,
    }


@pytest.mark.parametrize("there", [b"precompiled", b""], ids=["a real one", "a placeholder"])
def test_what_is_there_is_not_touched(tmp_path: Path, there: bytes) -> None:
    write_tree(tmp_path, {"a.h": TEXT, "a.h.gch": there})
    before = snapshot(tmp_path)
    plant(tmp_path, "a.h")
    assert snapshot(tmp_path) == before


def test_where_the_text_is_missing_there_comes_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder.h").mkdir()
    (tmp_path / "link.h").symlink_to("nowhere")
    plant(tmp_path, "missing.h", "folder.h", "link.h")
    assert list(tmp_path.rglob("*.gch")) == []


def test_a_link_in_the_place_of_the_precompiled_header_is_not_followed(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a.h": TEXT})
    (tmp_path / "a.h.gch").symlink_to("elsewhere")
    plant(tmp_path, "a.h")
    assert not (tmp_path / "elsewhere").exists()


def test_neither_a_missing_nor_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    plant(tmp_path / "missing", "a.h")
    remove(tmp_path / "missing", "a.h.gch")
    write_tree(tmp_path, {"a.h": TEXT, "b.h": TEXT, "b.h.gch": b""})
    with read_only(tmp_path):
        plant(tmp_path, "a.h")
        remove(tmp_path, "b.h.gch")
    assert read_tree(tmp_path) == {"a.h": TEXT, "b.h": TEXT, "b.h.gch": b""}


def test_only_placeholders_are_removed_and_only_those_that_are_named(tmp_path: Path) -> None:
    tree = {"a.h": TEXT, "a.h.gch": b"", "b.h.gch": b"precompiled", "c.h.gch": b"", "empty.h": b""}
    write_tree(tmp_path, tree)
    remove(tmp_path, *(path for path in tree if path != "c.h.gch"))
    del tree["a.h.gch"]
    assert read_tree(tmp_path) == tree


def test_what_is_planted_is_what_is_removed(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a.h": TEXT})
    plant(tmp_path, "a.h")
    remove(tmp_path, "a.h", "a.h.gch")
    assert read_tree(tmp_path) == {"a.h": TEXT}
