"""Links and files in the places of the folders of a store: none is followed, none is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from b10_store.remote.folder_names import FOLDERS
from b10_store.remote.protocol import Range
from b10_store.testing.places import FolderPlace

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.remote.protocol import Remote


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(tmp_path / "store")


@pytest.mark.parametrize("target", ["secret", "packs/b", "nothing"])
def test_a_link_in_place_of_a_file_is_not_followed(place: FolderPlace, target: str) -> None:
    place.put("packs/b", b"a pack")
    place.put("secret", b"outside")
    os.symlink(place.folder / target, place.folder / "packs/a")
    with pytest.raises(OSError):  # noqa: PT011  ELOOP here, EMLINK on other systems
        list(place.remote.read("packs/a", [Range(0, 10)]))
    with pytest.raises(FileExistsError):
        place.remote.open_token("packs/a")
    place.remote.create("packs", "a", [b"mine"])
    assert (place.folder / "packs/a").read_bytes() == b"mine"
    assert not (place.folder / "packs/a").is_symlink()
    assert place.get("secret") == b"outside"


Change = Callable[["Remote"], object]
CHANGES: dict[str, Change] = {
    "create": lambda remote: remote.create("packs", "new", [b"x"]),
    "open_token": lambda remote: remote.open_token("sessions/new"),
    "rename": lambda remote: remote.rename("packs/a", "trash/gc/a"),
    "touch": lambda remote: remote.touch("manifests/a"),
    "delete": lambda remote: remote.delete("quarantine/a"),
    "remove_folder": lambda remote: remote.remove_folder("trash/empty"),
    "now": lambda remote: remote.now(),
}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder outside the store, with everything that a store's folder may have."""
    folder = tmp_path / "victim"
    for name in ("a", "empty", "gc/a"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name == "empty" else path.write_bytes(b"precious")
        os.utime(path, (1, 1))
    return folder


def state(folder: Path) -> dict[str, tuple[float, bytes]]:
    """Every file and folder, with its time and its bytes."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_store_with_a_link_in_the_place_of_a_folder_is_not_changed(
    place: FolderPlace, victim: Path, folder: str, change: Change
) -> None:
    for name in ("packs/a", "manifests/a", "quarantine/a", "trash/gc/a"):
        place.put(name, b"")
    if (place.folder / folder).exists():
        shutil.rmtree(place.folder / folder)
    (place.folder / folder).symlink_to(victim)
    before, stored = state(victim), state(place.folder)
    with pytest.raises(OSError, match="a link or a file"):
        change(place.remote)
    assert (state(victim), state(place.folder)) == (before, stored)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_link_that_takes_the_place_of_a_folder_later_is_not_followed(
    place: FolderPlace, victim: Path, change: Change
) -> None:
    place.remote.now()
    for folder in FOLDERS:
        shutil.rmtree(place.folder / folder, ignore_errors=True)
        (place.folder / folder).symlink_to(victim)
    before = state(victim)
    with pytest.raises(OSError, match="a link or a file"):
        change(place.remote)
    assert state(victim) == before


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_is_read_through_a_link_in_the_place_of_a_folder(
    place: FolderPlace, victim: Path, folder: str
) -> None:
    place.folder.mkdir()
    (place.folder / folder).symlink_to(victim)
    for looking in (
        lambda: list(place.remote.read(f"{folder}/a", [Range(0, 10)])),
        lambda: place.remote.stat(f"{folder}/a"),
        lambda: place.remote.list(folder),
        lambda: place.remote.list(f"{folder}/gc"),
    ):
        with pytest.raises(OSError, match="a link or a file") as caught:
            looking()
        assert caught.value.filename == str(place.folder / folder)


def test_the_store_itself_may_be_a_link(place: FolderPlace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place.folder.symlink_to(tmp_path / "elsewhere")
    place.remote.create("packs", "a.pack", [b"x"])
    assert (tmp_path / "elsewhere/packs/a.pack").read_bytes() == b"x"
    assert place.remote.stat("packs/a.pack").size == 1


def test_a_file_that_is_a_link_is_touched_itself(place: FolderPlace, victim: Path) -> None:
    place.put("manifests/b", b"")
    (place.folder / "manifests/a").symlink_to(victim / "a")
    before = state(victim)
    place.remote.touch("manifests/a")
    assert state(victim) == before
