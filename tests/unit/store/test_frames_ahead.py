from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.digest import digest_of
from b10_store.format.frame import decompress_frame
from b10_store.format.manifest import Identity
from b10_store.format.names import FRAME_RAW_LIMIT, Address
from b10_store.tree.frames_ahead import FramesAhead
from b10_store.tree.scan import LocalFile, hash_files
from b10_store.tree.walk import walk
from tests.support.cache_trees import noise
from tests.support.engine_hosts import Hosts
from tests.support.packed import memory_store
from tests.support.values import ADDRESS, OTHER_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from b10_store.digest import Digest
    from b10_store.format.pack_footer import StoredFrame
    from b10_store.tree.scan import Scanned
    from tests.support.engine_hosts import EngineHost

SMALL = {"ab/one.py": b"one" * 100, "ab/two.py": b"two" * 100, "cd/three.so": noise(5000)}
TREE = {**SMALL, "cd/empty": b"", "cd/large.so": noise(FRAME_RAW_LIMIT)}


def anything(_: Identity) -> bool:
    return True


def scan_ahead(host: EngineHost, ahead: FramesAhead) -> list[Scanned]:
    files = [
        LocalFile(Identity("inductor", item.path), item)
        for item in walk(str(host.root), lambda path: path != ".b10_transfer")
    ]
    return hash_files(files, {}, 2, ahead)[0]


def blobs_in(frames: Iterable[StoredFrame]) -> dict[Digest, bytes]:
    return {
        piece.digest: raw[piece.offset : piece.offset + piece.size]
        for frame in frames
        for raw in [decompress_frame(frame.stored, frame.raw_size)]
        for piece in frame.pieces
    }


@pytest.fixture
def host(tmp_path: Path) -> EngineHost:
    return Hosts(tmp_path, memory_store()).new().write(TREE)


def test_small_files_come_into_frames_while_they_are_hashed(host: EngineHost) -> None:
    ahead = FramesAhead(anything, str(host.scratch))
    scanned = scan_ahead(host, ahead)
    assert {item.file.identity.path: item.digest for item in scanned} == {
        path: digest_of(data) for path, data in TREE.items()
    }
    digests, frames = ahead.take({item.digest for item in scanned})
    assert blobs_in(frames) == {digest_of(data): data for data in SMALL.values()}
    assert digests == {digest_of(data) for data in SMALL.values()}


def test_a_save_that_is_fenced_takes_its_frames_once_more(host: EngineHost) -> None:
    with FramesAhead(anything, str(host.scratch)) as ahead:
        wanted = {item.digest for item in scan_ahead(host, ahead)}
        _, broken_off = ahead.take(wanted)
        next(iter(broken_off))
        first, again = (blobs_in(ahead.take(wanted)[1]) for _ in range(2))
    assert first == again
    assert first


def test_what_is_not_expected_is_hashed_alone(host: EngineHost) -> None:
    ahead = FramesAhead(lambda identity: identity.path == "ab/two.py", str(host.scratch))
    scanned = scan_ahead(host, ahead)
    assert len(scanned) == len(TREE)
    _, frames = ahead.take({item.digest for item in scanned})
    assert list(blobs_in(frames).values()) == [TREE["ab/two.py"]]


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [((b"one", b"two", b"three"), (b"three", b"one", b"two")), ((b"one", b"three"), (b"three",))],
)
def test_a_frame_of_which_a_blob_is_not_wanted_is_not_taken(
    tmp_path: Path, wanted: tuple[bytes, ...], taken: tuple[bytes, ...]
) -> None:
    ahead = FramesAhead(anything, str(tmp_path))
    one, two, three = (digest_of(data) for data in (b"one", b"two", b"three"))
    ahead.make(7, [(one, b"one"), (two, b"two")])
    ahead.make(3, [(three, b"three"), (one, b"one")])
    digests, frames = ahead.take({digest_of(data) for data in wanted})
    assert list(blobs_in(frames).items()) == [(digest_of(data), data) for data in taken]
    assert digests == {digest_of(data) for data in taken}
    assert list(tmp_path.iterdir()) == []


def test_no_frame_is_larger_than_a_frame_may_be(tmp_path: Path) -> None:
    ahead = FramesAhead(anything, str(tmp_path))
    blobs = [(digest_of(data), data) for data in (noise(FRAME_RAW_LIMIT - 9), b"x" * 10, b"y" * 9)]
    ahead.make(0, blobs)
    _, frames = ahead.take({digest for digest, _ in blobs})
    (frame,) = frames
    assert frame.raw_size == FRAME_RAW_LIMIT
    assert [piece.digest for piece in frame.pieces] == [blobs[0][0], blobs[2][0]]


def test_what_is_beyond_the_memory_for_frames_is_read_again(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("b10_store.tree.frames_ahead._KEPT_BYTES", 64)
    ahead = FramesAhead(anything, str(host.scratch))
    assert ahead.is_full
    scanned = scan_ahead(host, ahead)
    data = noise(100)
    ahead.make(0, [(digest_of(data), data)])
    digests, frames = ahead.take({digest_of(data), *(item.digest for item in scanned)})
    assert (digests, list(frames)) == (set(), [])


def test_where_the_work_folder_takes_nothing_files_are_read_again(host: EngineHost) -> None:
    ahead = FramesAhead(anything, str(host.folder / "gone"))
    outcome = host.save(artifacts=scan_ahead(host, ahead), ahead=ahead)
    assert outcome.added == len(TREE)
    assert ahead.is_full


def test_a_frame_that_the_work_folder_damaged_is_not_uploaded(host: EngineHost) -> None:
    ahead = FramesAhead(anything, str(host.scratch))
    artifacts = scan_ahead(host, ahead)
    file = ahead._file  # pyright: ignore[reportPrivateUsage]
    assert file is not None
    file.seek(5)
    file.write(b"?")
    with pytest.raises(OSError, match="gives back other bytes"):
        host.save(artifacts=artifacts, ahead=ahead)
    assert host.remote.list("manifests") == []


def test_frames_that_nobody_takes_are_let_go_of(host: EngineHost) -> None:
    with FramesAhead(anything, str(host.scratch)) as ahead:
        scanned = scan_ahead(host, ahead)
    assert len(scanned) == len(TREE)
    assert list(host.scratch.iterdir()) == []


@pytest.mark.parametrize("changed", ["", "ab/two.py"])
def test_a_save_that_uploads_frames_made_ahead_stores_what_was_hashed(
    host: EngineHost, changed: str
) -> None:
    ahead = FramesAhead(anything, str(host.scratch))
    request = host.request(artifacts=scan_ahead(host, ahead), ahead=ahead)
    if changed:
        (host.root / changed).write_bytes(b"something else by now")
    outcome = host.store().save(request)
    assert (outcome.added, outcome.left_out) == (len(TREE), ())
    other = Hosts(host.folder, host.remote).new()
    other.load()
    assert other.tree() == TREE


def test_a_frame_made_ahead_of_a_blob_that_is_stored_is_not_uploaded(host: EngineHost) -> None:
    host.save()
    ahead = FramesAhead(anything, str(host.scratch))
    host.write({"ab/two.py": TREE["ab/two.py"], "ef/new.py": b"new"})
    outcome = host.save(artifacts=scan_ahead(host, ahead), ahead=ahead)
    assert outcome.added == 1
    assert outcome.uploaded_bytes < 200


def test_everything_is_expected_where_nothing_is_stored(host: EngineHost) -> None:
    expects = host.store().frames_ahead(ADDRESS).expects
    assert expects(Identity("inductor", "ab/one.py"))


def test_what_a_head_lists_is_not_expected(host: EngineHost) -> None:
    host.save()
    expects = host.store().frames_ahead(ADDRESS).expects
    assert not expects(Identity("inductor", "ab/one.py"))
    assert expects(Identity("inductor", "ab/other.py"))


def test_what_another_namespace_may_have_is_not_expected(host: EngineHost) -> None:
    host.save()
    store, other = host.store(), Identity("inductor", "ab/other.py")
    namespace = Address(ADDRESS.environment_key, "second")
    assert not store.frames_ahead(namespace).expects(other)
    assert store.frames_ahead(OTHER_ADDRESS).expects(other)
