"""What `doctor` says of space: on real small filesystems, against what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.cache_trees import noise
from tests.support.doctor_views import found, one, only_problem, problem_codes
from tests.support.mounts import fill, tmpfs
from tests.support.sites import Site

if TYPE_CHECKING:
    from pathlib import Path

MEBIBYTE = 1 << 20
TREE = {f"ab/{number}.bin": noise(MEBIBYTE, number) for number in range(8)}


@pytest.fixture
def saved(tmp_path: Path) -> Site:
    """A site with 8 MB in its store."""
    site = Site(tmp_path)
    site.host("saver", TREE).save()
    return site


def test_a_root_with_too_little_room_for_what_is_stored_is_a_problem(saved: Site) -> None:
    host = saved.host("host")
    with tmpfs(host.root, 4 * MEBIBYTE):
        host.root.chmod(0o755)
        finding = only_problem(host, "space.little")
    assert finding.text.startswith(f"{host.root} (inductor): 4.2 MB free, about 8.4 MB needed")
    assert finding.details["needed"] == 8 * MEBIBYTE


def test_what_is_here_already_needs_no_more_room(saved: Site) -> None:
    host = saved.host("host")
    with tmpfs(host.root, 12 * MEBIBYTE):
        host.root.chmod(0o755)
        host.load()
        assert problem_codes(host) == []


def test_a_root_with_too_few_inodes_for_what_is_stored_is_a_problem(saved: Site) -> None:
    host = saved.host("host")
    with tmpfs(host.root, 64 * MEBIBYTE, files=4):
        host.root.chmod(0o755)
        finding = only_problem(host, "space.little")
    assert "room for 4 more files, and about 8 are needed" in finding.text


def test_a_full_work_folder_is_a_problem(saved: Site) -> None:
    host = saved.host("host")
    host.settings()
    with tmpfs(host.work, 4 * MEBIBYTE):
        fill(host.work, 4096)
        finding = only_problem(host, "space.little")
    assert f"{host.work} (work folder)" in finding.text


def test_a_full_store_is_a_problem(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with tmpfs(site.store, 32 * MEBIBYTE):
        site.store.chmod(0o755)
        site.host("saver", TREE).save()
        fill(site.store, 4096)
        codes = problem_codes(site.host("host"))
        assert set(codes) == {"space.little"}
        finding = found(site.host("host"), "space.little")[-1]
        assert "b10-transfer gc" in finding.advice


def test_a_store_with_too_little_room_for_what_is_here_is_a_problem(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with tmpfs(site.store, 2 * MEBIBYTE):
        site.store.chmod(0o755)
        host = site.host("host", TREE)
        assert problem_codes(host) == ["stored.nothing", "space.little"]
        assert one(host, "space.little").details["uses"] == ["store"]
