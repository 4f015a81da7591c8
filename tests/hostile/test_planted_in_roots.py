"""Links, pipes and hard links where a load would write: nothing outside the cache root changes."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

import pytest

from b10_store.paths import RECORD_FOLDER
from b10_transfer import CacheError, OperationStatus
from tests.support.cache_trees import leftovers, snapshot
from tests.support.programs import LOAD, run_python
from tests.support.sites import Host
from tests.support.staged import make_root, placement_of, staged
from tests.support.timings import TIMINGS, timings
from tests.support.trees import artifacts_of, compiled, differences, put_artifacts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = compiled("good")
MIB = 1 << 20
_SECONDS = 300.0


@pytest.fixture
def loader(tmp_path: Path) -> Host:
    """A host with an empty cache root, beside a store that has something for it."""
    saver = Host(tmp_path / "store", tmp_path / "saver")
    put_artifacts(saver, GOOD)
    saver.write(timings({"mm": 1.0}))
    assert saver.save().status is OperationStatus.SUCCESS
    host = Host(saver.store, tmp_path / "loader")
    host.root.mkdir(parents=True)
    return host


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder in which a load has no business, with names that it would use."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("loaded", "hashed", "lock", "old.tmp", "staging-0", "x.py"):
        (folder / name).write_bytes(b"not to be read or written")
    return folder


def make_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "x.py")


def make_dangling_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "nothing")


def make_link_to_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def make_endless_link(path: Path, outside: Path) -> None:
    del outside
    path.symlink_to(path)


def make_link_to_zeros(path: Path, outside: Path) -> None:
    del outside
    path.symlink_to("/dev/zero")


def make_pipe(path: Path, outside: Path) -> None:
    del outside
    os.mkfifo(path)


def make_folder(path: Path, outside: Path) -> None:
    del outside
    path.mkdir()


def make_hard_link(path: Path, outside: Path) -> None:
    path.hardlink_to(outside / "x.py")


KINDS = [
    make_link,
    make_dangling_link,
    make_link_to_folder,
    make_endless_link,
    make_link_to_zeros,
    make_pipe,
    make_folder,
    make_hard_link,
]


def load(host: Host, make: Callable[[Path, Path], None]) -> str:
    """The status of a load; in a process of its own where it could hang."""
    if make not in (make_pipe, make_link_to_zeros):
        return host.load().status.name
    done = run_python(LOAD, host.variables(), seconds=_SECONDS)
    if "CacheError" in done.stderr:
        raise CacheError(done.stderr)
    assert done.stdout, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("make", KINDS)
def test_what_is_in_the_place_of_a_file_is_left_alone(
    loader: Host, outside: Path, make: Callable[[Path, Path], None]
) -> None:
    names = [name for name in GOOD if name.startswith("inductor/") and name.endswith(".py")]
    for name in names:
        place = loader.root / name.partition("/")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        make(place, outside)
    before = snapshot(outside)
    assert load(loader, make) == "SUCCESS"
    assert snapshot(outside) == before
    for name in names:
        (loader.root / name.partition("/")[2]).rename(outside / "moved")
        if (outside / "moved").is_dir() and not (outside / "moved").is_symlink():
            (outside / "moved").rmdir()
        else:
            (outside / "moved").unlink()
    found = artifacts_of(loader)
    assert (
        differences(
            {name: item for name, item in found.items() if not name.endswith(TIMINGS)},
            {name: item for name, item in GOOD.items() if name not in names},
        )
        == []
    )


@pytest.mark.parametrize("make", KINDS)
def test_a_file_that_is_united_with_the_stored_one_is_read_only_when_it_is_one(
    loader: Host, outside: Path, make: Callable[[Path, Path], None]
) -> None:
    place = loader.root / TIMINGS
    place.parent.mkdir()
    make(place, outside)
    before = snapshot(outside)
    assert load(loader, make) == "SUCCESS"
    after = snapshot(outside)
    # Taking the place of a hard link changes the number of links of the file, and so its time.
    assert {name: status[1:3] for name, status in after.items()} == {
        name: status[1:3] for name, status in before.items()
    }
    assert (outside / "x.py").read_bytes() == b"not to be read or written"
    found = {n: a for n, a in artifacts_of_regular(loader).items() if not n.endswith(TIMINGS)}
    assert found.keys() == GOOD.keys()


def artifacts_of_regular(host: Host) -> dict[str, bytes]:
    """Every regular file in the inductor root."""
    return {f"inductor/{path}": data for path, data in host.tree().items()}


@pytest.mark.parametrize("make", [make_link_to_folder, make_dangling_link, make_link])
def test_a_link_in_the_place_of_the_local_record_is_not_followed(
    loader: Host, outside: Path, make: Callable[[Path, Path], None]
) -> None:
    make(loader.root / RECORD_FOLDER, outside)
    before = snapshot(outside)
    with contextlib.suppress(CacheError):
        loader.load()
    assert snapshot(outside) == before


@pytest.mark.parametrize("name", ["lock", "loaded", "hashed", "environment"])
@pytest.mark.parametrize("make", [make_link, make_dangling_link, make_pipe, make_folder])
def test_what_is_in_the_place_of_a_record_hangs_no_load_and_leads_nowhere(
    loader: Host, outside: Path, name: str, make: Callable[[Path, Path], None]
) -> None:
    (loader.root / RECORD_FOLDER).mkdir()
    make(loader.root / RECORD_FOLDER / name, outside)
    before = snapshot(outside)
    with contextlib.suppress(CacheError):
        load(loader, make)
    changed = {
        path
        for path, status in snapshot(outside).items()
        if before.get(path, (0,) * 5)[1:3] != status[1:3]
    }
    assert changed == set()


@pytest.mark.parametrize("make", [make_link, make_dangling_link, make_hard_link, make_pipe])
@pytest.mark.parametrize("size", [10, 3 * MIB], ids=["whole", "in parts"])
def test_what_is_planted_in_the_staging_folder_is_never_opened(
    tmp_path: Path, outside: Path, make: Callable[[Path, Path], None], size: int
) -> None:
    root = make_root(tmp_path / "root")
    data = bytes(size)
    staging = staged([placement_of(root, "ab/x.py", data)], [])
    (private,) = (root / RECORD_FOLDER).iterdir()
    make(private / "ab/x.py", outside)
    before = snapshot(outside)
    digest = placement_of(root, "ab/x.py", data).entry.digest
    if size < MIB:
        staging.put([(digest, data)])
    else:
        stream = staging.stream(digest)
        stream.write(data)
        stream.commit()
    result = staging.place()
    staging.close()
    assert [placement.entry.identity.path for placement, _ in result.failed] == ["ab/x.py"]
    assert not (root / "ab/x.py").exists()
    if make is not make_hard_link:
        assert snapshot(outside) == before
    assert (outside / "x.py").read_bytes() == b"not to be read or written"
    assert not (outside / "nothing").exists()


def no_chance(size: int) -> bytes:
    return bytes(size)


def test_a_folder_that_others_made_is_not_taken_for_staging(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root(tmp_path / "root")
    monkeypatch.setattr("os.urandom", no_chance)
    (root / RECORD_FOLDER / f"staging-{'0' * 16}").symlink_to(outside)
    before = snapshot(outside)
    with pytest.raises(FileExistsError):
        staged([placement_of(root, "x.py", b"x")], [b"x"])
    assert snapshot(outside) == before


def test_loaded_files_have_no_special_modes_whatever_their_folder_has(loader: Host) -> None:
    loader.root.chmod(0o3777)
    before = os.umask(0)
    try:
        assert loader.load().status is OperationStatus.SUCCESS
    finally:
        os.umask(before)
    for folder, _, names in os.walk(loader.root):
        for name in names:
            mode = os.lstat(os.path.join(folder, name)).st_mode
            assert stat.S_ISREG(mode)
            assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX)
    assert leftovers(loader.root) == []
