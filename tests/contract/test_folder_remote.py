"""What only a folder on a filesystem can get wrong."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest

from b10_store.remote.folder import FolderRemote
from b10_store.remote.protocol import Range
from b10_store.testing.places import FolderPlace
from tests.support.cache_trees import noise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, links and pipes of POSIX")


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(tmp_path / "store")


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make_files(place: FolderPlace) -> list[Path]:
    """One file of every kind that a store holds."""
    remote = place.remote
    remote.create("packs", "a.pack", [b"x"])
    remote.create("", "FORMAT", [b"x"])
    remote.open_token("sessions/t").close()
    remote.open_token("sessions/u").close()
    remote.rename("sessions/u", "trash/gc/u")
    names = ("packs/a.pack", "FORMAT", "sessions/t", "trash/gc/u")
    return [place.folder / name for name in names]


@pytest.mark.usefixtures("strict_umask")
@pytest.mark.parametrize(
    ("store_mode", "file_mode", "folder_mode"),
    [
        (0o777, 0o666, 0o777),
        (0o775, 0o664, 0o775),
        (0o750, 0o640, 0o750),
        (0o700, 0o600, 0o700),
        (0o2770, 0o660, 0o2770),
        (0o1777, 0o666, 0o777),
        (0o555, 0o644, 0o755),
    ],
)
def test_modes_follow_the_store_and_not_the_umask(
    place: FolderPlace, store_mode: int, file_mode: int, folder_mode: int
) -> None:
    place.folder.mkdir()
    place.folder.chmod(store_mode)
    for file in make_files(place):
        assert mode_of(file) == file_mode
    for folder in ("packs", "sessions", "trash", "trash/gc"):
        assert mode_of(place.folder / folder) == folder_mode


@pytest.mark.parametrize(
    ("parent_mode", "store_mode", "file_mode"),
    [
        (0o777, 0o775, 0o664),
        (0o2777, 0o2775, 0o664),
        (0o757, 0o755, 0o644),
        (0o2770, 0o2770, 0o660),
        (0o1777, 0o750, 0o640),
    ],
)
def test_a_store_takes_after_its_parent_unless_that_is_sticky_and_is_never_everybodys(
    tmp_path: Path, parent_mode: int, store_mode: int, file_mode: int
) -> None:
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent").chmod(parent_mode)
    place = FolderPlace(tmp_path / "parent/store")
    before = os.umask(0o027)
    try:
        files = make_files(place)
    finally:
        os.umask(before)
    for folder in (place.folder, *(file.parent for file in files)):
        assert mode_of(folder) == store_mode
    assert {mode_of(file) for file in files} == {file_mode}


def test_an_error_names_the_whole_path_and_no_other(place: FolderPlace) -> None:
    place.remote.create("packs", "a.pack", [b"x"])
    with pytest.raises(FileNotFoundError) as caught:
        place.remote.stat("packs/absent.pack")
    told = repr(str(place.folder / "packs/absent.pack"))
    assert str(caught.value) == f"[Errno 2] No such file or directory: {told}"


@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="changes a folder's group")
def test_a_setgid_store_gives_its_group_to_everything(place: FolderPlace) -> None:
    place.folder.mkdir()
    os.chown(place.folder, -1, 4321)
    place.folder.chmod(0o2775)
    files = make_files(place)
    assert {file.stat().st_gid for file in files} == {4321}
    assert {file.parent.stat().st_gid for file in files} == {4321}


def test_a_file_is_flushed_then_closed_then_renamed_then_its_folder_flushed(
    place: FolderPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.remote.create("packs", "earlier", [])
    steps: list[str] = []
    kinds: dict[int, str] = {}

    def note(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def noting(first: int | str, *rest: object, **options: object) -> object:
            result = real(first, *rest, **options)
            if name == "open":
                assert isinstance(result, int)
                kinds[result] = "file"
            elif isinstance(first, int):
                steps.append(f"{name} {kinds.get(first, 'folder')}")
            else:
                steps.append(name)
            return result

        return noting

    for name in ("open", "write", "fsync", "close", "replace", "rename", "unlink"):
        monkeypatch.setattr(os, name, note(name, getattr(os, name)))
    place.remote.create("packs", "a", [b"one", b"two"])
    monkeypatch.undo()
    assert steps == [
        *("write file", "write file", "fsync file", "close file", "replace", "fsync folder"),
    ]


def test_a_token_is_flushed_when_it_is_written(
    place: FolderPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = place.remote.open_token("sessions/t")
    sizes: list[int] = []
    flush = os.fsync

    def noting(handle: int) -> None:
        sizes.append(os.fstat(handle).st_size)
        flush(handle)

    monkeypatch.setattr(os, "fsync", noting)
    token.write([b"one", b"two"])
    monkeypatch.undo()
    token.close()
    assert sizes == [6]


@pytest.mark.parametrize("failing", ["fsync", "close", "replace"])
def test_an_error_of_any_last_step_is_an_error_and_leaves_nothing(
    place: FolderPlace, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    place.remote.create("packs", "a", [b"older"])
    real: Callable[..., object] = getattr(os, failing)

    def fail(*arguments: object, **_: object) -> None:
        if failing == "close":
            real(*arguments)
        raise OSError(errno.EDQUOT, "over quota")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="over quota"):
        place.remote.create("packs", "a", [b"new"])
    monkeypatch.undo()
    assert place.names() == {"packs/a"}
    assert place.get("packs/a") == b"older"


def test_a_write_that_takes_only_a_part_goes_on_with_the_rest(
    place: FolderPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = noise(10_000)
    write = os.write

    def write_a_part(handle: int, data: memoryview) -> int:
        return write(handle, data[:777])

    monkeypatch.setattr(os, "write", write_a_part)
    place.remote.create("packs", "a", [content])
    monkeypatch.undo()
    assert place.get("packs/a") == content


def test_a_write_that_takes_nothing_is_an_error(
    place: FolderPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_nothing(*_: object) -> int:
        return 0

    monkeypatch.setattr(os, "write", write_nothing)
    with pytest.raises(OSError, match="nothing was written"):
        place.remote.create("packs", "a", [b"content"])
    assert place.names() == set()


def test_a_file_being_written_has_a_name_that_no_reader_takes(place: FolderPlace) -> None:
    seen: set[str] = set()

    def chunks() -> Iterator[bytes]:
        seen.update(place.names())
        yield b"x"

    place.remote.create("manifests", "a.manifest", chunks())
    (name,) = seen
    assert name.startswith("manifests/")
    assert ".manifest.tmp-" in name
    assert not name.endswith(".manifest")


def test_a_pipe_in_place_of_a_file_is_refused_and_does_not_hang(place: FolderPlace) -> None:
    place.put("packs/b", b"")
    os.mkfifo(place.folder / "packs/a")
    with pytest.raises(OSError, match="not a regular file"):
        list(place.remote.read("packs/a", [Range(0, 10)]))
    assert sorted(place.remote.list("packs")) == ["a", "b"]


def test_a_device_in_place_of_a_file_is_refused() -> None:
    remote = FolderRemote("/dev")
    with pytest.raises(OSError, match="not a regular file"):
        list(remote.read("zero", [Range(0, 10)]))


def test_a_store_that_was_deleted_and_made_again_is_found(place: FolderPlace) -> None:
    make_files(place)
    shutil.rmtree(place.folder)
    place.put("packs/other", b"1234")
    assert place.remote.stat("packs/other").size == 4
    assert list(place.remote.read("packs/other", [Range(0, 2)])) == [b"12"]
    place.remote.create("packs", "new", [b"x"])
    assert place.names() == {"packs/other", "packs/new"}


def test_a_folder_that_was_replaced_shows_in_the_next_listing(place: FolderPlace) -> None:
    make_files(place)
    (place.folder / "packs").rename(place.folder / "old")
    place.put("packs/other", b"1234")
    assert place.remote.list("packs") == ["other"]
    place.remote.create("packs", "new", [b"x"])
    assert place.names() >= {"packs/other", "packs/new"}


def test_an_error_names_the_whole_path(place: FolderPlace) -> None:
    place.put("packs/b", b"")
    for missing in (
        lambda: place.remote.stat("packs/a"),
        lambda: place.remote.rename("packs/a", "trash/gc/a"),
        lambda: place.remote.delete("packs/a"),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            missing()
        assert caught.value.filename == str(place.folder / "packs/a")
        assert str(caught.value).endswith(f"{place.folder}/packs/a'")


def test_many_threads_list_one_folder_at_once_and_each_sees_all_of_it(place: FolderPlace) -> None:
    for number in range(500):
        place.put(f"packs/{number}", b"")
    with ThreadPoolExecutor(8) as pool:
        listings = list(pool.map(place.remote.list, ["packs"] * 64))
    assert {len(set(listing)) for listing in listings} == {500}


def test_a_link_to_a_folder_is_listed_as_a_file(place: FolderPlace) -> None:
    place.put("packs/b", b"")
    os.symlink(place.folder / "packs", place.folder / "packs/a")
    assert sorted(place.remote.list("packs")) == ["a", "b"]


def test_a_folder_in_place_of_a_file_is_refused_without_a_leak(place: FolderPlace) -> None:
    (place.folder / "packs/a").mkdir(parents=True)
    place.remote.now()
    place.remote.stat("packs/a")
    process = psutil.Process()
    before = process.num_fds()
    for _ in range(20):
        with pytest.raises(OSError, match="not a regular file"):
            list(place.remote.read("packs/a", [Range(0, 10)]))
    assert process.num_fds() == before
    with pytest.raises(OSError, match="directory"):
        place.remote.create("packs", "a", [b"x"])
    assert place.names() == set()


def test_nothing_is_touched_before_the_first_write(place: FolderPlace) -> None:
    assert place.remote.list("packs") == []
    with pytest.raises(FileNotFoundError):
        place.remote.stat("FORMAT")
    with pytest.raises(FileNotFoundError):
        list(place.remote.read("FORMAT", [Range(0, 1)]))
    assert not place.folder.exists()


def test_the_first_write_makes_the_store_and_its_parents(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "not/yet/there")
    place.remote.create("packs", "a", [b"x"])
    assert place.names() == {"packs/a"}


def test_a_file_that_shrinks_while_it_is_read_ends_early(place: FolderPlace) -> None:
    place.put("packs/a", b"0123456789")
    parts = place.remote.read("packs/a", [Range(0, 2), Range(2, 8)])
    assert next(parts) == b"01"
    os.truncate(place.folder / "packs/a", 5)
    assert next(parts) == b"234"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_descriptor_outlives_its_use(place: FolderPlace) -> None:
    place.put("packs/a", b"0123456789")
    process = psutil.Process()
    before = process.num_fds()
    remote = FolderRemote(str(place.folder))
    first = remote.read("packs/a", [Range(0, 1), Range(1, 1)])
    next(first)
    del first
    with pytest.raises(FileExistsError):
        remote.open_token("packs/a")
    with pytest.raises(ZeroDivisionError):
        remote.create("packs", "b", (b"x" * (1 // count) for count in (1, 0)))
    remote.now()
    del remote
    assert process.num_fds() == before
