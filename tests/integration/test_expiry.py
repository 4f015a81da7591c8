"""What a load brought and nobody uses makes room: real files, and their times of access."""

from __future__ import annotations

import base64
import mmap
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from b10_store.save.expiry import CROWD_LIMIT
from b10_transfer.errors import CacheError
from b10_transfer.local.artifact_use import keeps_access_times
from b10_transfer.status import OperationStatus
from tests.support.cache_trees import Tree, noise, pickled
from tests.support.mounts import tmpfs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b10_transfer.operations.reports import SaveReport
    from tests.support.sites import Host, Site

MIB = 1 << 20
PROFILES = 2 * CROWD_LIMIT
SIZE = 100_000
"""So 1 MB, in MAX_CACHE_SIZE_MB, has room for five versions."""


def source(seed: int) -> bytes:
    """A source that takes `SIZE` bytes compressed, more or less."""
    return b"# " + base64.b85encode(noise(SIZE, seed)) + b"\n"


def version(number: int) -> Tree:
    """What a compiler makes for one version of a model: two files of it, in one folder or two."""
    return {
        f"a{number}/ca{number}.py": source(2 * number),
        f"b{number}/cb{number}.py": source(2 * number + 1),
    }


def replica(site: Site, name: str, number: int, used: int | None = None) -> Host:
    """A fresh host that loads, opens one earlier version, and compiles another."""
    host = site.host(name)
    host.load(MAX_CACHE_SIZE_MB="1")
    for path in version(used) if used is not None else ():
        if (host.root / path).exists():
            (host.root / path).read_bytes()
    host.write(version(number))
    return host


def stored(site: Site, name: str = "reader") -> set[str]:
    host = site.host(name)
    host.load()
    return set(host.tree())


def needs_access_times(site: Site) -> None:
    site.folder.mkdir(exist_ok=True)
    if not keeps_access_times(str(site.folder)):
        pytest.skip("the filesystem of temporary files keeps no access times")


def test_fresh_replicas_save_every_version_and_the_oldest_unused_ones_go(site: Site) -> None:
    needs_access_times(site)
    for number in range(8):
        report = replica(site, f"v{number}", number).save(MAX_CACHE_SIZE_MB="1")
        assert report.status is OperationStatus.SUCCESS
        assert report.added == 2
        assert report.stored_bytes <= MIB
    assert stored(site) == {path for number in range(3, 8) for path in version(number)}


def test_what_was_opened_since_the_load_is_kept_and_what_was_not_goes(site: Site) -> None:
    needs_access_times(site)
    for number in range(8):
        replica(site, f"v{number}", number, used=0).save(MAX_CACHE_SIZE_MB="1")
    kept = {path for number in (0, 4, 5, 6, 7) for path in version(number)}
    assert stored(site) == kept


def test_a_second_save_with_nothing_new_is_skipped_although_something_expired(site: Site) -> None:
    needs_access_times(site)
    for number in range(5):
        replica(site, f"v{number}", number).save(MAX_CACHE_SIZE_MB="1")
    host = replica(site, "last", 5)
    first = host.save(MAX_CACHE_SIZE_MB="1")
    assert (first.status, first.expired) == (OperationStatus.SUCCESS, 2)
    assert "2 expired" in str(first)
    for _ in range(2):
        assert host.save(MAX_CACHE_SIZE_MB="1").status is OperationStatus.SKIPPED
    assert host.load(MAX_CACHE_SIZE_MB="1").status is OperationStatus.SKIPPED
    assert host.save(MAX_CACHE_SIZE_MB="1").status is OperationStatus.SKIPPED


def test_what_is_used_and_does_not_fit_is_an_error_that_says_so(site: Site) -> None:
    needs_access_times(site)
    for number in range(5):
        replica(site, f"v{number}", number).save(MAX_CACHE_SIZE_MB="1")
    host = replica(site, "all", 5)
    for path in host.tree():
        (host.root / path).read_bytes()
    with pytest.raises(CacheError, match="compiled and is used here takes"):
        host.save(MAX_CACHE_SIZE_MB="1")


def test_without_access_times_every_version_is_saved_too_and_what_is_here_is_kept_longest(
    site: Site,
) -> None:
    with tmpfs(site.folder, 64 * MIB) as folder:
        subprocess.run(["mount", "-o", "remount,noatime", folder], check=True)  # noqa: S607
        assert not keeps_access_times(str(folder))
        for number in range(8):
            report = replica(site, f"v{number}", number).save(MAX_CACHE_SIZE_MB="1")
            assert (report.status, report.added) == (OperationStatus.SUCCESS, 2)
            assert report.stored_bytes <= MIB
        assert stored(site) == {path for number in range(3, 8) for path in version(number)}


def read(path: Path) -> None:
    path.read_bytes()


def map_into_memory(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert len(mapped) > SIZE


def look_at(path: Path) -> None:
    path.stat()
    os.listdir(path.parent)


@pytest.mark.parametrize(
    ("use", "is_use"), [(read, True), (map_into_memory, True), (look_at, False)]
)
def test_reading_and_mapping_a_file_is_use_and_looking_at_it_is_none(
    site: Site, use: Callable[[Path], None], is_use: bool
) -> None:
    needs_access_times(site)
    for number in range(5):
        replica(site, f"v{number}", number).save(MAX_CACHE_SIZE_MB="1")
    host = replica(site, "last", 5)
    for path in version(0):
        use(host.root / path)
    host.save(MAX_CACHE_SIZE_MB="1")
    assert len(version(0).keys() & stored(site)) == (2 if is_use else 0)


def profiles(first: int, count: int) -> Tree:
    return {
        f"dynamo/code_state_job{number}_0.pkl": pickled(noise(100, number))
        for number in range(first, first + count)
    }


def save_of(site: Site, name: str, tree: Tree) -> SaveReport:
    host = site.host(name)
    host.load()
    host.write(tree)
    return host.save()


def test_profiles_of_one_job_each_do_not_pile_up(site: Site) -> None:
    needs_access_times(site)
    assert save_of(site, "one", profiles(0, CROWD_LIMIT)).expired == 0
    assert save_of(site, "two", profiles(1000, 3)).expired == 0
    last = save_of(site, "three", {**profiles(2000, 3), "ab/cab.py": b"pass\n"})
    assert (last.expired, last.left_out) == (3, 0)
    found = stored(site)
    assert {*profiles(1000, 3), *profiles(2000, 3), "ab/cab.py"} <= found
    assert len([path for path in found if path.startswith("dynamo/")]) == CROWD_LIMIT + 3


def test_a_root_that_collects_profiles_offers_the_newest(site: Site) -> None:
    host = site.host("long", profiles(0, PROFILES + 2))
    for number in range(PROFILES + 2):
        path = host.root / f"dynamo/code_state_job{number}_0.pkl"
        os.utime(path, (1e9 + number, 1e9 + number))
    report = host.save()
    assert (report.added, report.left_out) == (PROFILES, 2)
    assert stored(site) == set(profiles(2, PROFILES))
    assert host.save().status is OperationStatus.SKIPPED
