from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b10_store.digest import digest_of
from b10_store.errors import NoSpaceError
from b10_store.paths import RECORD_FOLDER
from b10_store.tree.placement import RestoreTarget
from b10_store.tree.staging import STAGING_PREFIX, Staging
from tests.support.staged import (
    bring_all,
    entry_of,
    files_of,
    leftovers,
    make_root,
    paths,
    placed_paths,
    placement_of,
    staged,
    unwatched,
)
from tests.support.strategies import legal_paths

TREE = {"a": b"top", "ab/x.py": b"source", "ab/cd/y.so": b"", "ef/z": b"source"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


def test_a_tree_comes_to_an_empty_root(root: Path) -> None:
    result = bring_all(root, TREE)
    assert files_of(root) == TREE
    assert placed_paths(result) == TREE.keys()
    assert (result.kept, result.failed) == ([], [])
    assert leftovers(root) == []


def test_the_fingerprint_of_what_was_placed_is_that_of_the_file(root: Path) -> None:
    (root / "ab").mkdir()
    for placement, fingerprint in bring_all(root, TREE).placed:
        found = os.stat(placement.location)
        assert fingerprint.size == placement.entry.size == found.st_size
        assert fingerprint.mtime_ns == found.st_mtime_ns
        assert fingerprint.ctime_ns == found.st_ctime_ns
        assert fingerprint.inode == found.st_ino


def test_nothing_shows_before_it_is_placed(root: Path) -> None:
    staging = staged([placement_of(root, path, data) for path, data in TREE.items()], TREE.values())
    assert files_of(root) == {}
    (folder,) = leftovers(root)
    assert folder.startswith(STAGING_PREFIX)
    staging.close()
    assert leftovers(root) == []
    assert files_of(root) == {}


def test_the_staging_folder_is_private(root: Path) -> None:
    before = os.umask(0)
    try:
        staging = staged([placement_of(root, "a", b"x")], [b"x"])
    finally:
        os.umask(before)
    (name,) = leftovers(root)
    assert stat.S_IMODE((root / RECORD_FOLDER / name).stat().st_mode) == 0o700
    staging.close()


@pytest.mark.parametrize(("executable", "mode"), [(True, 0o750), (False, 0o640)])
def test_modes_are_those_that_this_host_gives_new_files(
    root: Path, executable: bool, mode: int
) -> None:
    placement = RestoreTarget(entry_of("bin/a", b"x", executable=executable), str(root))
    before = os.umask(0o027)
    try:
        staging = staged([placement], [b"x"])
        staging.place()
        staging.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "bin/a").stat().st_mode) == mode


def test_a_time_is_restored_where_the_entry_has_one(root: Path) -> None:
    wanted = 1_600_000_000_123_456_700
    timed = RestoreTarget(entry_of("a", b"x", mtime_ns=wanted), str(root))
    untimed = RestoreTarget(entry_of("b", b"x"), str(root))
    staging = staged([timed, untimed], [b"x"])
    staging.place()
    staging.close()
    assert (root / "a").stat().st_mtime_ns == wanted
    assert (root / "b").stat().st_mtime_ns > wanted


def test_one_blob_may_be_several_files_in_several_roots(tmp_path: Path) -> None:
    one, two = make_root(tmp_path / "one"), make_root(tmp_path / "two")
    placements = [placement_of(root, path, b"x") for root in (one, two) for path in ("a", "b/c")]
    staging = staged(placements, [b"x"])
    assert len(staging.place().placed) == 4
    staging.close()
    assert files_of(one) == files_of(two) == {"a": b"x", "b/c": b"x"}
    assert (one / "a").stat().st_ino != (one / "b/c").stat().st_ino


def test_stored_bytes_are_restored_on_the_way(root: Path) -> None:
    placement = placement_of(root, "a", b"stored", restore=bytes.upper)
    staging = staged([placement, placement_of(root, "b", b"stored")], [b"stored"])
    staging.place()
    staging.close()
    assert files_of(root) == {"a": b"STORED", "b": b"stored"}


def refuse(_: bytes) -> bytes:
    raise ValueError("not for this host")


def test_an_artifact_that_cannot_be_restored_fails_alone(root: Path) -> None:
    bad = placement_of(root, "a", b"x", restore=refuse)
    staging = staged([bad, placement_of(root, "b", b"x")], [b"x"])
    result = staging.place()
    staging.close()
    assert result.failed == [(bad, "not for this host")]
    assert files_of(root) == {"b": b"x"}


def test_a_blob_in_parts_is_a_file_once_it_is_committed(root: Path) -> None:
    placements = [placement_of(root, path, b"onetwo") for path in ("a", "b/c")]
    staging = Staging(unwatched)
    staging.expect(placements)
    stream = staging.stream(digest_of(b"onetwo"))
    stream.write(b"one")
    stream.write(memoryview(b"two"))
    stream.commit()
    staging.place()
    staging.close()
    assert files_of(root) == {"a": b"onetwo", "b/c": b"onetwo"}


def test_a_blob_that_is_discarded_leaves_no_file(root: Path) -> None:
    staging = staged(
        [placement_of(root, "b/c", b"onetwo"), placement_of(root, "b/d", b"x")], [b"x"]
    )
    stream = staging.stream(digest_of(b"onetwo"))
    stream.write(b"one")
    stream.discard()
    result = staging.place()
    staging.close()
    assert files_of(root) == {"b/d": b"x"}
    assert placed_paths(result) == {"b/d"}


def test_a_blob_in_parts_cannot_be_restored(root: Path) -> None:
    placement = placement_of(root, "a", b"onetwo", restore=bytes.upper)
    staging = Staging(unwatched)
    staging.expect([placement, placement_of(root, "b", b"onetwo")])
    stream = staging.stream(digest_of(b"onetwo"))
    stream.write(b"onetwo")
    stream.commit()
    result = staging.place()
    staging.close()
    assert [item for item, _ in result.failed] == [placement]
    assert files_of(root) == {"b": b"onetwo"}


def test_room_is_asked_for_before_anything_is_written(root: Path) -> None:
    asked: list[tuple[str, int]] = []

    def watch(folder: str, size: int) -> None:
        asked.append((folder, size))
        if size == 5:
            raise NoSpaceError("no room for 5")

    staging = staged([placement_of(root, "a", b"123")], [b"123"], watch)
    assert asked == [(str(root), 3)]
    staging.expect([placement_of(root, "b", b"12345")])
    with pytest.raises(NoSpaceError, match="no room for 5"):
        staging.put([(digest_of(b"12345"), b"12345")])
    staging.close()
    assert leftovers(root) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("name", ["open", "write"])
def test_a_full_disk_is_told_from_other_errors(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int, name: str
) -> None:
    staging = Staging(unwatched)
    staging.expect([placement_of(root, "a", b"x")])

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(NoSpaceError):
        staging.put([(digest_of(b"x"), b"x")])
    if name == "open":
        with pytest.raises(NoSpaceError):
            staging.stream(digest_of(b"x"))
    monkeypatch.undo()
    staging.close()
    assert leftovers(root) == []


def test_a_folder_that_there_is_no_room_for_is_a_full_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(unwatched)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    staging.expect([placement_of(root, "top", b"x")])
    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.raises(NoSpaceError):
        staging.expect([placement_of(root, "a/b", b"x")])
    monkeypatch.undo()
    staging.close()
    assert leftovers(root) == []


@pytest.mark.parametrize(
    "path", ["x" * 255 + "y", "/".join(["x" * 255] * 16)], ids=["a long name", "a long path"]
)
def test_a_name_that_this_filesystem_does_not_take_fails_alone(root: Path, path: str) -> None:
    long = placement_of(root, path, b"long")
    staging = staged([long, placement_of(root, "ok", b"ok")], [b"long", b"ok"])
    stream = staging.stream(digest_of(b"long"))
    stream.write(b"long")
    stream.commit()
    result = staging.place()
    staging.close()
    assert paths(item for item, _ in result.failed) == {path}
    assert files_of(root) == {"ok": b"ok"}


@pytest.mark.parametrize("order", [("a", "a/b"), ("a/b", "a")])
def test_a_file_and_a_folder_of_one_name_do_not_both_come(
    root: Path, order: tuple[str, str]
) -> None:
    tree = {path: path.encode() for path in order}
    result = bring_all(root, tree)
    assert len(files_of(root)) == 1
    assert placed_paths(result) == files_of(root).keys()
    assert len(result.failed) == 1
    assert leftovers(root) == []


def test_a_root_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    staging = Staging(unwatched)
    with pytest.raises(OSError, match="missing"):
        staging.expect([placement_of(tmp_path / "missing", "a", b"x")])
    staging.close()


def test_of_a_torn_bundle_nothing_is_placed(root: Path) -> None:
    torn = {"t/one/k.cubin": b"1", "t/one/k.json": b"2", "t/one/group": b"3"}
    whole = {"t/two/k.cubin": b"1", "t/two/group": b"4", "t/alone": b"5"}
    placements = [
        *(placement_of(root, path, data, bundle="t/one") for path, data in torn.items()),
        *(placement_of(root, path, data, bundle=path[:5]) for path, data in whole.items()),
    ]
    staging = staged(placements, [b"1", b"3", b"4", b"5"])
    result = staging.place()
    staging.close()
    assert files_of(root) == whole
    assert placed_paths(result) == whole.keys()


def test_a_bundle_with_a_member_that_cannot_be_restored_is_torn(root: Path) -> None:
    placements = [
        placement_of(root, "t/one/k", b"1", bundle="t/one"),
        placement_of(root, "t/one/group", b"2", bundle="t/one", restore=refuse),
    ]
    staging = staged(placements, [b"1", b"2"])
    result = staging.place()
    staging.close()
    assert files_of(root) == {}
    assert placed_paths(result) == set()


_TREES = st.dictionaries(
    st.one_of(st.sampled_from(["a", "a/b", "a/b/c", "d/e", "d/f"]), legal_paths()),
    st.binary(max_size=20),
    max_size=8,
)


@given(_TREES)
def test_any_tree_comes_as_far_as_files_and_folders_do_not_clash(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]
) -> None:
    root = make_root(tmp_path_factory.mktemp("root"))
    result = bring_all(root, tree)
    found = {
        placement.entry.identity.path: Path(placement.location).read_bytes()
        for placement, _ in result.placed
    }
    assert found.items() <= tree.items()
    failed = paths(item for item, _ in result.failed)
    assert found.keys() | failed == tree.keys()
    folders = {path[:end] for path in tree for end, letter in enumerate(path) if letter == "/"}
    clashing = folders & tree.keys()
    too_long = {path for path in tree if len(os.fsencode(f"{root}/{path}")) > 3900}
    assert failed - too_long <= {
        path for path in tree if path in clashing or any(path.startswith(f"{c}/") for c in clashing)
    }
    assert leftovers(root) == []
