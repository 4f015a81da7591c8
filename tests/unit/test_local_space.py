from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_store.errors import NoSpaceError
from b10_transfer.local.space import LocalSpace
from tests.support.mounts import fill, tmpfs

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def test_what_fits_exactly_fits_and_one_byte_more_does_not(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size=MIB) as disk:
        LocalSpace([(str(disk), MIB)]).require()
        with pytest.raises(NoSpaceError) as caught:
            LocalSpace([(str(disk), MIB), (str(disk), 1)]).require()
        assert str(disk) in str(caught.value)
        assert "1.1 MB are needed and 1.0 MB are free" in str(caught.value)


def test_small_files_are_counted_in_whole_blocks(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size=MIB) as disk:
        LocalSpace([(str(disk), 1)] * 256).require()
        with pytest.raises(NoSpaceError):
            LocalSpace([(str(disk), 1)] * 257).require()
        LocalSpace([(str(disk), 0)] * 10_000).require()


def test_folders_of_one_filesystem_share_its_room_and_others_have_their_own(
    tmp_path: Path,
) -> None:
    with tmpfs(tmp_path / "a", size=MIB) as a, tmpfs(tmp_path / "b", size=MIB) as b:
        (a / "sub").mkdir()
        LocalSpace([(str(a), MIB), (str(b), MIB)]).require()
        with pytest.raises(NoSpaceError):
            LocalSpace([(str(a), MIB // 2), (str(a / "sub"), MIB // 2 + 1)]).require()


def test_nothing_needs_no_room() -> None:
    LocalSpace([]).require()


def test_watching_notices_within_16_mib_that_the_room_is_gone(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size=64 * MIB) as disk:
        space = LocalSpace([(str(disk), MIB)] * 40)
        space.require()
        fill(disk, leave=20 * MIB)
        for _ in range(15):
            space.watch(str(disk), MIB)
        with pytest.raises(NoSpaceError, match="are needed and"):
            space.watch(str(disk), MIB)


def test_watching_says_nothing_while_the_rest_fits(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size=40 * MIB) as disk:
        space = LocalSpace([(str(disk), MIB)] * 40)
        for number in range(40):
            space.watch(str(disk), MIB)
            (disk / str(number)).write_bytes(bytes(MIB))


def test_writing_more_than_was_announced_is_watched_too(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size=8 * MIB) as disk:
        space = LocalSpace([(str(disk), 1)])
        with pytest.raises(NoSpaceError):
            space.watch(str(disk), 17 * MIB)


def test_once_the_room_was_found_gone_nothing_more_may_be_written(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size=8 * MIB) as disk:
        space = LocalSpace([(str(disk), 20 * MIB)])
        with pytest.raises(NoSpaceError, match="are needed and"):
            space.require()
        for _ in range(3):
            with pytest.raises(NoSpaceError, match="are needed and"):
                space.watch(str(disk), 1)
