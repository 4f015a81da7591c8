from __future__ import annotations

import os
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from b10_store.errors import LimitError
from b10_store.paths import RECORD_FOLDER, check_path, local_path
from tests.support.strategies import legal_paths


def is_accepted(path: str) -> bool:
    try:
        check_path(path)
    except LimitError:
        return False
    return True


# Texts that are nearly paths: what breaks a check is more often in these than in random text.
_HARMLESS = ["a", "b.py", "...", "..a", "a..", " ", "\n", "~", "C:", "-", "x" * 255]
_HARMFUL = ["..", ".", "", "a\0b", "a\\b", "\ud800", "x" * 256, "é" * 128]
_RECORDS = [".b10_transfer", ".B10_Transfer", ".b10_transfer2"]
_COMPONENTS = st.sampled_from([*_HARMLESS, *_HARMFUL, *_RECORDS])
_NEARLY_PATHS = st.lists(_COMPONENTS, max_size=6).map("/".join)


@given(st.one_of(_NEARLY_PATHS, st.text(), st.text(alphabet="./\\\0a")))
@example("../a")
@example("a/../b")
@example("a/..")
@example("/etc/passwd")
@example("a//b")
@example("a/")
@example("a\n")
def test_what_is_accepted_stays_below_its_root_and_out_of_the_record(path: str) -> None:
    if not is_accepted(path):
        return
    parts = path.split("/")
    assert not {"", ".", ".."}.intersection(parts)
    assert "\0" not in path
    assert "\\" not in path
    assert not path.startswith("/")
    assert parts[0].casefold() != RECORD_FOLDER
    assert len(path.encode()) <= 4000
    assert all(len(part.encode()) <= 255 for part in parts)
    assert os.path.normpath(f"/root/{path}") == f"/root/{path}"
    assert PurePosixPath(path).as_posix() == path


@given(legal_paths())
def test_every_legal_path_is_accepted(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "./a",
        "a/.",
        "a\0",
        "a\\..\\b",
        "\ud800",
        "x" * 256,
        "é" * 128,
        "a/" * 2000 + "b",
        "a/" * 128 + "b",
        ".b10_transfer",
        ".b10_transfer/loaded",
        ".B10_TRANSFER/loaded",
    ],
)
def test_a_path_that_could_do_harm_is_refused(path: str) -> None:
    with pytest.raises(LimitError):
        check_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "...",
        "a..b",
        "..a/b",
        "a/.b10_transfer",
        ".b10_transfer2",
        "with a space/and\nnewline",
        "\u00fcml\u00e4ut/\U0001f600",
        "x" * 255,
        "/".join(["x" * 249] * 16),
        "a/" * 127 + "b",
        "ab/" * 127 + "b",
        "C:",
        "~",
    ],
)
def test_an_unusual_path_without_harm_is_accepted(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize("path", ["a", "a/b c/d.py"])
def test_an_artifact_lies_below_its_folder(path: str) -> None:
    assert local_path(os.path.join(os.sep, "root"), path) == os.path.join(
        os.sep, "root", *path.split("/")
    )
