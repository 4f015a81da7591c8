from __future__ import annotations

import base64
import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from b10_store.digest import digest_of
from b10_store.format.names import pack_id_of
from b10_store.tree.scan import Fingerprint
from b10_transfer.caches.kinds import INDUCTOR
from b10_transfer.caches.roots import CacheRoot
from b10_transfer.local.record import (
    FORMS,
    Hashed,
    Loaded,
    read_hashed,
    read_loaded,
    write_hashed,
    write_loaded,
)
from b10_transfer.local.root_origin import NOTHING, look_at
from b10_transfer.machine.environment import Environment, Field
from tests.support.cache_trees import LOCAL_RECORD, leftovers
from tests.support.mounts import fill, read_only, tmpfs

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = digest_of(b"some bytes")
OTHER = digest_of(b"other bytes")
LOADED = Loaded(
    finished_ns=1_700_000_000_123_456_789,
    digests={"ab/x.py": DIGEST, 'fxgraph/ü/"quoted"\n': OTHER},
    distrusted={(DIGEST, pack_id_of(OTHER)), (OTHER, pack_id_of(OTHER))},
)
HASHED = {
    "ab/x.py": Hashed(Fingerprint(5, 2**60, 2**60 + 1, 2**63), DIGEST, 4),
    "empty": Hashed(Fingerprint(0, 0, 0, 1), OTHER, 0),
}


def test_what_was_loaded_is_remembered(tmp_path: Path) -> None:
    write_loaded(str(tmp_path), LOADED)
    assert read_loaded(str(tmp_path)) == LOADED
    write_loaded(str(tmp_path), Loaded())
    assert read_loaded(str(tmp_path)) == Loaded()


def test_what_was_hashed_is_remembered(tmp_path: Path) -> None:
    write_hashed(str(tmp_path), HASHED)
    assert read_hashed(str(tmp_path)) == HASHED
    write_hashed(str(tmp_path), {})
    assert read_hashed(str(tmp_path)) == {}


def test_a_file_with_times_that_no_clock_shows_is_hashed_again_and_the_others_are_not(
    tmp_path: Path,
) -> None:
    odd = Hashed(Fingerprint(5, 1 << 63, 1, 1), DIGEST, 5)
    write_hashed(str(tmp_path), {**HASHED, "odd": odd})
    assert read_hashed(str(tmp_path)) == HASHED


def test_nothing_is_remembered_of_a_root_that_is_not_there(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert read_loaded(str(absent)) == Loaded()
    assert read_hashed(str(absent)) == {}
    write_loaded(str(absent), LOADED)
    write_hashed(str(absent), HASHED)
    assert not absent.exists(), "a note is no reason to make a cache root"


DAMAGE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"7",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"version": 1}',
    *(
        b'{"version": 1, "finished_ns": %s, "paths": %s, "digests": %s, "distrusted": %s}' % parts
        for parts in (
            (b'"x"', b'""', b'""', b"[]"),
            (b"1", b"[]", b'""', b"[]"),
            (b"1", b'"a"', b"7", b"[]"),
            (b"1", b'"a"', b'""', b"[]"),
            (b"1", b'"a"', b'"AAAA"', b"[]"),
            (b"1", b'"a"', b'"no base64"', b"[]"),
            (b"1", b'""', b'""', b'[["a"]]'),
            (b"1", b'""', b'""', b"5"),
            (b"Infinity", b'""', b'""', b"[]"),
        )
    ),
    b'{"version": 1, "key": "0", "requirement": "1", "others": {"a": [Infinity, 1, "", ""]}}',
    b'{"version": 1, "key": "0", "requirement": "1", "others": {}, "judged": {"a": [1]}}',
    b'{"version": 1, "key": 7, "requirement": [], "others": [], "judged": {}}',
    *(
        b'{"version": 1, "forms": %d, "needs": %s, "paths": %s, "rows": %s}' % (FORMS, *parts)
        for parts in (
            (b"7", b'"a"', b'"%s"' % base64.b64encode(bytes(72))),
            (b"{}", b"5", b'""'),
            (b"{}", b'"a"', b'""'),
            (b"{}", b'""', b'"%s"' % base64.b64encode(bytes(72))),
            (b"{}", b'"a"', b'"%s"' % base64.b64encode(bytes(71))),
            (b"{}", b'"a"', b"[1, 2]"),
        )
    ),
]


@pytest.mark.parametrize("data", DAMAGE)
def test_a_damaged_record_counts_as_empty(tmp_path: Path, data: bytes) -> None:
    (tmp_path / LOCAL_RECORD).mkdir()
    for name in ("loaded", "hashed", "environment"):
        (tmp_path / LOCAL_RECORD / name).write_bytes(data)
    assert read_loaded(str(tmp_path)) == Loaded()
    assert read_hashed(str(tmp_path)) == {}
    root = CacheRoot(INDUCTOR, str(tmp_path))
    environment = Environment((Field("torch", "2.13", ""),), (), "1" * 16)
    for _ in range(2):
        assert look_at(root, [], environment) == NOTHING


def test_a_record_of_another_release_counts_as_empty(tmp_path: Path) -> None:
    write_loaded(str(tmp_path), LOADED)
    write_hashed(str(tmp_path), HASHED)
    for name in ("loaded", "hashed"):
        path = tmp_path / LOCAL_RECORD / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    assert read_loaded(str(tmp_path)) == Loaded()
    assert read_hashed(str(tmp_path)) == {}


def test_a_record_that_cannot_be_written_is_no_error_and_the_old_one_stays(
    tmp_path: Path,
) -> None:
    write_loaded(str(tmp_path), LOADED)
    with read_only(tmp_path):
        write_loaded(str(tmp_path), Loaded())
        write_hashed(str(tmp_path), HASHED)
        assert read_loaded(str(tmp_path)) == LOADED


def test_a_record_for_which_there_is_no_room_leaves_the_old_one_and_nothing_else(
    tmp_path: Path,
) -> None:
    with tmpfs(tmp_path / "root", size=1 << 20) as root:
        write_loaded(str(root), LOADED)
        fill(root, leave=0)
        write_loaded(str(root), Loaded(digests={str(number): DIGEST for number in range(1000)}))
        assert read_loaded(str(root)) == LOADED
        assert os.listdir(root / LOCAL_RECORD) == ["loaded"]
        assert leftovers(root) == []


def test_a_record_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_loaded(str(tmp_path), LOADED)
    with open(tmp_path / LOCAL_RECORD / "loaded", "rb") as old:
        write_loaded(str(tmp_path), Loaded())
        assert json.loads(old.read())["finished_ns"] == LOADED.finished_ns
    assert os.listdir(tmp_path / LOCAL_RECORD) == ["loaded"]
    assert time.time_ns() > LOADED.finished_ns


def plant(folder: Path, name: str, *, mode: int = 0o600, owner: int | None = None) -> None:
    """Give a record another mode or owner, as a process of somebody else would have made it."""
    record = folder / LOCAL_RECORD / name if name else folder / LOCAL_RECORD
    os.chmod(record, mode)
    if owner is not None:
        os.chown(record, owner, owner)


def test_our_own_folder_is_ours_alone(tmp_path: Path) -> None:
    write_loaded(str(tmp_path), LOADED)
    own = tmp_path / LOCAL_RECORD
    assert own.stat().st_mode & 0o777 == 0o700
    assert (own / "loaded").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_an_earlier_release_made_for_all_becomes_ours_alone(tmp_path: Path) -> None:
    own = tmp_path / LOCAL_RECORD
    own.mkdir(mode=0o755)
    write_loaded(str(tmp_path), LOADED)
    assert own.stat().st_mode & 0o777 == 0o700
    assert read_loaded(str(tmp_path)) == LOADED


@pytest.mark.parametrize(("name", "mode"), [("", 0o777), ("", 0o770), ("hashed", 0o666)])
def test_what_others_could_have_written_is_not_believed(
    name: str, mode: int, tmp_path: Path
) -> None:
    write_hashed(str(tmp_path), HASHED)
    plant(tmp_path, name, mode=mode)
    assert read_hashed(str(tmp_path)) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("name", "mode"), [("", 0o700), ("hashed", 0o600)])
def test_what_belongs_to_another_user_is_not_believed(name: str, mode: int, tmp_path: Path) -> None:
    write_hashed(str(tmp_path), HASHED)
    plant(tmp_path, name, mode=mode, owner=65534)
    assert read_hashed(str(tmp_path)) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nothing_is_noted_in_a_folder_of_another_user(tmp_path: Path) -> None:
    own = tmp_path / LOCAL_RECORD
    own.mkdir()
    os.chown(own, 65534, 65534)
    write_hashed(str(tmp_path), HASHED)
    assert list(own.iterdir()) == []
