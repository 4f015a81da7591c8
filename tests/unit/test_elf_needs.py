"""What is read of a library that was planted, and how much of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from b10_transfer.caches.elf_needs import read_dynamic
from b10_transfer.caches.native_needs import (
    HostLibraries,
    join_requirement,
    needs_of,
    split_requirement,
)
from tests.support.planted_elf import NEEDED, RUNPATH, VERSIONS_AT, WANTED, elf, wanted

if TYPE_CHECKING:
    from pathlib import Path

    from b10_transfer.caches.elf_needs import Dynamic

NAMES = b"\0libone.so.1\0libtwo.so.2\0ONE_1.0\0ONE_1.1\0"
ONE, TWO, FIRST, SECOND = (
    NAMES.index(name) for name in (b"libone", b"libtwo", b"ONE_1.0", b"ONE_1.1")
)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of each piece of a file that is read."""
    sizes: list[int] = []
    pread = os.pread

    def counted(handle: int, size: int, start: int) -> bytes:
        sizes.append(size)
        return pread(handle, size, start)

    monkeypatch.setattr(os, "pread", counted)
    return sizes


def parsed(folder: Path, data: bytes) -> Dynamic:
    file = folder / "planted.so"
    file.write_bytes(data)
    found = read_dynamic(str(file))
    assert found is not None
    return found


def test_libraries_and_their_versions_are_read_row_by_row(tmp_path: Path) -> None:
    tags = [(NEEDED, ONE), (NEEDED, TWO), (WANTED, VERSIONS_AT)]
    found = parsed(tmp_path, elf(tags, wanted([ONE, TWO], [FIRST, SECOND]), NAMES))
    assert found.needed == ("libone.so.1", "libtwo.so.2")
    versions = frozenset({"ONE_1.0", "ONE_1.1"})
    assert found.wants == {"libone.so.1": versions, "libtwo.so.2": versions}


def test_rows_that_are_read_again_for_each_row_of_another_list_end_soon(
    tmp_path: Path, reads: list[int]
) -> None:
    strings = b"".join(b"lib%04d.so\0" % number for number in range(4000))
    rows = wanted([11 * row for row in range(2000)], [11 * row + 3 for row in range(2000)])
    parsed(tmp_path, elf([(WANTED, VERSIONS_AT)], rows, strings))
    assert len(reads) < 10_000


def test_a_dynamic_section_that_many_headers_name_ends_soon(
    tmp_path: Path, reads: list[int]
) -> None:
    tags = [(NEEDED, ONE)] * 2000
    found = parsed(tmp_path, elf(tags, b"", NAMES, dynamics=60))
    assert len(found.needed) < 5000
    assert len(reads) < 10_000


def test_of_the_folders_that_a_library_names_few_are_looked_at(tmp_path: Path) -> None:
    strings = b"/a:" * 1000
    tags = [(RUNPATH, 3 * number) for number in range(500)]
    assert len(parsed(tmp_path, elf(tags, b"", strings)).folders) == 16


@pytest.mark.skipif(sys.platform != "linux", reason="ELF")
def test_of_the_libraries_that_one_needs_few_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strings = b"".join(b"lib%04d.so\0" % number for number in range(1000))
    file = tmp_path / "planted.so"
    file.write_bytes(elf([(NEEDED, 11 * number) for number in range(1000)], b"", strings))
    looked: list[str] = []
    hosts = HostLibraries({})

    def nowhere(name: str, _: object) -> str:
        looked.append(name)
        return ""

    monkeypatch.setattr(hosts, "place_of", nowhere)
    assert needs_of(str(file), hosts) == ""
    assert len(looked) == 32


def test_of_the_needs_that_manifests_name_few_are_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []

    def none(location: str) -> None:
        looked.append(location)

    monkeypatch.setattr("b10_transfer.caches.native_needs.read_dynamic", none)
    hosts = HostLibraries({})
    for number in range(5000):
        assert hosts.lacks(f"/lib{number}.so") == f"/lib{number}.so"
    assert len(looked) == 1024


def test_a_requirement_that_is_too_long_is_one_that_no_host_meets() -> None:
    needs = " ".join(f"lib{number}.so" for number in range(1000))
    for host in ("", "0123456789abcdef"):
        told, rest = split_requirement(join_requirement(host, needs))
        assert told not in ("", host)
        assert rest == ""
