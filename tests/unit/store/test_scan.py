from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from b10_store.digest import digest_of
from b10_store.folders import Bounds
from b10_store.format.manifest import Identity
from b10_store.packs.writer import write_packs
from b10_store.tree.scan import (
    CANONICAL_LIMIT,
    CHANGED,
    Fingerprint,
    LocalFile,
    Scanned,
    Skipped,
    hash_files,
)
from b10_store.tree.walk import walk
from tests.support.cache_trees import noise
from tests.support.crowd import OTHER_USER
from tests.support.packed import memory_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_store.digest import Digest
    from b10_store.tree.scan import FoundFile

MIB = 1 << 20

needs_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give files away"
)


class Remembered(NamedTuple):
    fingerprint: Fingerprint
    digest: Digest
    size: int


def everything(_: str) -> bool:
    return True


def write(root: Path, **contents: bytes) -> None:
    for name, data in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def found_paths(root: Path, enter: Callable[[str], bool] = everything) -> list[str]:
    return [item.path for item in walk(str(root), enter)]


def local(
    item: FoundFile, canonical: Callable[[bytes], bytes] | None = None, mtime_ns: int | None = None
) -> LocalFile:
    return LocalFile(Identity("inductor", item.path), item, mtime_ns, canonical=canonical)


def scan(
    root: Path,
    known: dict[str, Remembered] | None = None,
    canonical: Callable[[bytes], bytes] | None = None,
) -> tuple[list[Scanned], list[Skipped]]:
    files = [local(item, canonical) for item in walk(str(root), everything)]
    scanned, skipped, _ = hash_files(files, known or {}, workers=2)
    return scanned, skipped


def test_a_walk_finds_regular_files_in_order(tmp_path: Path) -> None:
    write(tmp_path, b=b"", a__z=b"1", a__b__c=b"22", a_=b"")
    assert found_paths(tmp_path) == ["a/b/c", "a/z", "a_", "b"]


def test_a_walk_notes_what_the_file_is_like(tmp_path: Path) -> None:
    write(tmp_path, a=b"123", tool=b"")
    (tmp_path / "tool").chmod(0o744)
    one, two = walk(str(tmp_path), everything)
    status = (tmp_path / "a").stat()
    assert one.fingerprint == (3, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    assert one.location == str(tmp_path / "a")
    assert (one.executable, two.executable) == (False, True)


def test_a_walk_takes_no_links_to_files_and_nothing_twice(tmp_path: Path) -> None:
    write(tmp_path, real__a=b"")
    (tmp_path / "file").symlink_to(tmp_path / "real/a")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    skipped: list[Skipped] = []
    found = walk(str(tmp_path), everything, Bounds(), skipped)
    assert [item.path for item in found] == ["real/a"]
    assert skipped == [Skipped(str(tmp_path / "file"), "a link that leads to no folder")]


def test_a_walk_follows_ones_own_links_to_folders_also_one_behind_another(tmp_path: Path) -> None:
    root, big, bigger = tmp_path / "root", tmp_path / "big", tmp_path / "bigger"
    for folder in (root, big, bigger):
        folder.mkdir()
    write(big, x__a=b"1")
    write(bigger, b=b"22")
    (root / "first").symlink_to("../big")
    (root / "again").symlink_to(big)
    (big / "second").symlink_to(bigger)
    (bigger / "back").symlink_to(root)
    found = walk(str(root), everything, Bounds())
    assert [item.path for item in found] == ["again/second/b", "again/x/a"]
    assert [os.path.isfile(item.location) for item in found] == [True, True]


def test_a_link_that_is_not_followed_is_named_with_the_reason(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, real__a=b"")
    (tmp_path / "refused").mkdir()
    for name, target in (("dangling", "../none"), ("endless", "endless"), ("told", "../refused")):
        (root / name).symlink_to(target)
    (root / "unseen").symlink_to("../none")

    def refuse_link(target: str) -> str:
        return f"to {target}"

    bounds = Bounds(refuse_link=refuse_link)
    skipped: list[Skipped] = []
    walk(str(root), lambda path: path != "unseen", bounds, skipped)
    assert dict(skipped) == {
        str(root / "dangling"): "a link that leads to no folder",
        str(root / "endless"): "a link that leads to no folder",
        str(root / "told"): f"to {tmp_path}/refused",
    }


@needs_root
def test_a_link_of_or_to_another_users_is_not_followed(tmp_path: Path) -> None:
    root, theirs = tmp_path / "root", tmp_path / "theirs"
    write(root, real__a=b"")
    write(theirs, b=b"")
    write(tmp_path / "mine", c=b"")
    (root / "to theirs").symlink_to(theirs)
    (root / "planted").symlink_to(tmp_path / "mine")
    os.chown(theirs, OTHER_USER, OTHER_USER)
    os.chown(root / "planted", OTHER_USER, OTHER_USER, follow_symlinks=False)
    root.chmod(0o1777)
    skipped: list[Skipped] = []
    assert [item.path for item in walk(str(root), everything, Bounds(), skipped)] == ["real/a"]
    assert dict(skipped) == {
        str(root / "planted"): "a link of another user",
        str(root / "to theirs"): "a link to a folder of another user",
    }


def test_a_walk_goes_no_deeper_than_artifacts_may_lie(tmp_path: Path) -> None:
    names = "/".join(["d"] * 200)
    (tmp_path / names).mkdir(parents=True)
    (tmp_path / names / "x").write_bytes(b"")
    write(tmp_path, a=b"")
    assert found_paths(tmp_path) == ["a"]


def test_a_walk_enters_only_what_it_may(tmp_path: Path) -> None:
    write(tmp_path, a__x=b"", a__b__y=b"", c__z=b"")
    asked: list[str] = []

    def enter(path: str) -> bool:
        asked.append(path)
        return path != "a/b"

    assert found_paths(tmp_path, enter) == ["a/x", "c/z"]
    assert sorted(asked) == ["a", "a/b", "c"]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert found_paths(tmp_path / "missing") == []
    write(tmp_path, a=b"")
    assert found_paths(tmp_path / "a") == []


def test_a_folder_that_vanishes_during_the_walk_holds_nothing(tmp_path: Path) -> None:
    write(tmp_path, a__x=b"", b__y=b"")

    def enter(path: str) -> bool:
        if path == "a":
            (tmp_path / "a/x").unlink()
            (tmp_path / "a").rmdir()
        return True

    assert found_paths(tmp_path, enter) == ["b/y"]


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5])
def test_a_file_of_any_size_is_hashed(tmp_path: Path, size: int) -> None:
    data = noise(size)
    write(tmp_path, a=data)
    ((item,), skipped) = scan(tmp_path)
    assert skipped == []
    assert (item.digest, item.size) == (digest_of(data), size)
    assert b"".join(item.read()) == data
    assert all(len(block) <= MIB for block in item.read())


def test_many_files_are_hashed_in_order(tmp_path: Path) -> None:
    write(tmp_path, **{f"f{number:03}": b"%d" % number for number in range(300)})
    scanned, _ = scan(tmp_path)
    assert [item.digest for item in scanned] == [digest_of(b"%d" % n) for n in range(300)]


def test_what_is_known_of_a_file_stays_with_what_was_hashed(tmp_path: Path) -> None:
    write(tmp_path, a=b"x")
    (tmp_path / "a").chmod(0o755)
    (found,) = walk(str(tmp_path), everything)
    file = LocalFile(Identity("r", "g/a", "avx2"), found, mtime_ns=5, group_length=1, bundle="b")
    ((item,), _, _) = hash_files([file], {}, workers=1)
    assert item.identity == ("r", "g/a", "avx2")
    assert item.group == ("r", "g", "avx2")
    assert item.file == file


def test_a_file_that_was_hashed_before_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, a=b"x", b=b"y")
    remembered = digest_of(b"what it was then")
    (a, b) = walk(str(tmp_path), everything)
    other = b.fingerprint._replace(inode=b.fingerprint.inode + 1)
    known = {
        "a": Remembered(a.fingerprint, remembered, 7),
        "b": Remembered(other, remembered, 7),
    }
    ((one, two), _) = scan(tmp_path, known)
    assert (one.digest, one.size) == (remembered, 7)
    assert (two.digest, two.size) == (digest_of(b"y"), 1)


def test_a_file_that_changed_since_the_walk_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, a=b"old", b=b"same", c=b"gone", d=b"a link soon")
    files = [local(item) for item in walk(str(tmp_path), everything)]
    (tmp_path / "a").write_bytes(b"newer")
    (tmp_path / "c").unlink()
    (tmp_path / "d").unlink()
    (tmp_path / "d").symlink_to(tmp_path / "b")
    scanned, skipped, _ = hash_files(files, {}, workers=1)
    assert [item.identity.path for item in scanned] == ["b"]
    assert [Path(item.location).name for item in skipped] == ["a", "c", "d"]
    assert "changed" in skipped[0].reason


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_a_file_that_changes_while_it_is_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    write(tmp_path, a=noise(size))
    read = os.read

    def racing(handle: int, length: int) -> bytes:
        data = read(handle, length)
        with (tmp_path / "a").open("ab") as file:
            file.write(b"more")
        return data

    files = [local(item) for item in walk(str(tmp_path), everything)]
    monkeypatch.setattr(os, "read", racing)
    scanned, skipped, _ = hash_files(files, {}, workers=1)
    monkeypatch.undo()
    assert scanned == []
    assert skipped == [Skipped(files[0].found.location, CHANGED)]


def test_a_file_that_shrinks_while_it_is_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a=noise(3 * MIB))
    read = os.read

    def cut(handle: int, length: int) -> bytes:
        data = read(handle, length)
        os.truncate(tmp_path / "a", 2 * MIB)
        return data

    files = [local(item) for item in walk(str(tmp_path), everything)]
    monkeypatch.setattr(os, "read", cut)
    assert hash_files(files, {}, workers=1)[0] == []


def test_a_canonical_form_is_hashed_and_read_in_place_of_the_bytes(tmp_path: Path) -> None:
    write(tmp_path, a=b"on disk")
    ((item,), _) = scan(tmp_path, canonical=lambda data: data.upper() + b"!")
    assert (item.digest, item.size) == (digest_of(b"ON DISK!"), 8)
    assert b"".join(item.read()) == b"ON DISK!"


def refuse(_: bytes) -> bytes:
    raise ValueError("not what it should be")


def test_a_file_that_has_no_canonical_form_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, a=b"x")
    scanned, skipped = scan(tmp_path, canonical=refuse)
    assert scanned == []
    assert skipped[0].reason == "not what it should be"


@pytest.mark.parametrize(
    ("size", "taken"), [(CANONICAL_LIMIT, True), (CANONICAL_LIMIT + 1, False), (5 * MIB, False)]
)
def test_a_file_too_large_for_a_canonical_form_is_left_out(
    tmp_path: Path, size: int, taken: bool
) -> None:
    write(tmp_path, a=bytes(size))
    assert len(scan(tmp_path, canonical=bytes)[0]) == taken


def test_a_canonical_form_that_is_too_large_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, a=bytes(CANONICAL_LIMIT))
    scanned, skipped = scan(tmp_path, canonical=lambda data: data + b"!")
    assert scanned == []
    assert "canonical" in skipped[0].reason


def test_a_file_that_lost_its_canonical_form_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, a=b"x")
    (found,) = walk(str(tmp_path), everything)
    ((item,), _, _) = hash_files([local(found, bytes)], {}, workers=1)
    with pytest.raises(OSError, match="not what it should be"):
        list(item._replace(file=local(found, refuse)).read())


@pytest.mark.parametrize("canonical", [None, bytes], ids=["as it is", "canonical"])
def test_a_file_that_grows_without_end_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, canonical: Callable[[bytes], bytes] | None
) -> None:
    write(tmp_path, a=b"x")
    ((item,), _) = scan(tmp_path, canonical=canonical)
    reads: list[int] = []

    def endless(_: int, length: int) -> bytes:
        reads.append(length)
        return bytes(length)

    monkeypatch.setattr(os, "read", endless)
    written = write_packs(memory_store(), [item], workers=1, limit=10 * MIB)
    monkeypatch.undo()
    assert (written.changed, written.packs) == ([item.digest], {})
    assert len(reads) < 4


def test_what_took_the_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, a=b"x", b=b"y")
    ((item, other), _) = scan(tmp_path)
    (tmp_path / "a").unlink()
    with pytest.raises(FileNotFoundError):
        list(item.read())
    (tmp_path / "a").symlink_to(tmp_path / "b")
    with pytest.raises(OSError, match="a"):
        list(item.read())
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")
    with pytest.raises(OSError, match="not a regular file"):
        list(item.read())
    (tmp_path / "b").unlink()
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError, match="not a regular file"):
        list(other.read())


def test_a_pipe_in_place_of_a_file_is_left_out_and_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, a=b"x")
    files = [local(item) for item in walk(str(tmp_path), everything)]
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")
    outcome: list[int] = []
    thread = threading.Thread(
        target=lambda: outcome.append(len(hash_files(files, {}, workers=1)[1])), daemon=True
    )
    thread.start()
    thread.join(300)
    assert outcome == [1]
