"""What is said of an error of the filesystem: which file, why, and the way out."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from b10_transfer.operations.refusals import describe

if TYPE_CHECKING:
    from pathlib import Path


def error_of(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def test_a_file_in_the_place_of_the_store_is_named(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.write_bytes(b"")
    text = describe(error_of(errno.ENOTDIR, str(store / "FORMAT")), str(store))
    assert text == f"the store {store} is not a folder: set B10FS_CACHE_DIR to one"


@pytest.mark.parametrize("absolute", [True, False])
def test_what_this_user_may_not_do_is_told_with_the_way_out(tmp_path: Path, absolute: bool) -> None:
    name = str(tmp_path / "sessions/x") if absolute else "sessions/x"
    text = describe(error_of(errno.EACCES, name), str(tmp_path))
    assert text == (
        f"this user may not use sessions/x in the store {tmp_path}: Permission denied; allow it "
        "(chmod, chown), or run as another user"
    )


def test_local_files_are_named_by_their_path(tmp_path: Path) -> None:
    text = describe(error_of(errno.EIO, "/local/file"), str(tmp_path / "store"))
    assert text == "/local/file: Input/output error"


def test_the_store_itself_is_named_once(tmp_path: Path) -> None:
    text = describe(error_of(errno.ESTALE, str(tmp_path)), str(tmp_path))
    assert text == f"the store {tmp_path}: Stale file handle"
