"""Files of Triton that a crash of the machine cut short, emptied or filled with zeros."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest

from b10_transfer.caches.kinds import DEEP_GEMM, INDUCTOR, TRITON
from b10_transfer.caches.roots import CacheRoot
from tests.support.cache_trees import TRITON_HASH, triton_kernel, write_tree
from tests.support.scanned_roots import artifacts_in

if TYPE_CHECKING:
    from pathlib import Path

    from b10_transfer.caches.kinds import RootKind

TIMINGS = json.dumps({"key": [128], "configs_timings": [[{"num_warps": 4}, [0.1]]]}).encode()
NOTES = json.dumps({"hash": "00", "target": {"arch": 90}, "name": "kernel"}).encode()


def artifacts_below(folder: Path, kind: RootKind = TRITON) -> tuple[list[str], list[str]]:
    """Paths of the artifacts, and names of what was skipped."""
    return artifacts_in(CacheRoot(kind, str(folder)))


def device_code(bits: int, order: str) -> bytes:
    """An ELF file as ptxas writes it: the program headers come last, after those of sections."""
    number, *sizes = {32: (1, 52, 40, 32), 64: (2, 64, 64, 56)}[bits]
    head, section, program = sizes
    identification = b"\x7fELF" + bytes([number, 1 if order == "<" else 2, 1]).ljust(12, b"\0")
    word = {32: "I", 64: "Q"}[bits]
    sections = head + 100
    programs = sections + 3 * section
    fields = struct.pack(
        f"{order}HHI{word}{word}{word}IHHHHHH",
        *(2, 190, 1, 0, programs, sections, 0, head, program, 2, section, 3, 0),
    )
    return identification + fields + b"code" * 25 + b"x" * (3 * section + 2 * program)


@pytest.mark.parametrize("kind", [TRITON, INDUCTOR], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("name", "data"), [("kernel.autotune.json", TIMINGS), ("kernel.json", NOTES)]
)
def test_json_of_triton_cut_short_anywhere_is_skipped(
    tmp_path: Path, kind: RootKind, name: str, data: bytes
) -> None:
    folder = TRITON_HASH if kind is TRITON else f"triton/0/{TRITON_HASH}"
    for size in range(len(data)):
        write_tree(tmp_path, {f"{folder}/{name}": data[:size], f"{folder}/kernel.ptx": b"//"})
        assert artifacts_below(tmp_path, kind) == ([f"{folder}/kernel.ptx"], [name]), size
    write_tree(tmp_path, {f"{folder}/{name}": data})
    assert artifacts_below(tmp_path, kind) == (
        [f"{folder}/{other}" for other in sorted((name, "kernel.ptx"))],
        [],
    )


@pytest.mark.parametrize(
    "data",
    [bytes(100), b"[1]", b"null", b"\xff{}", b"[" * 100_000],
    ids=["zeros", "a list", "null", "no text", "deep"],
)
def test_what_is_no_json_object_is_skipped(tmp_path: Path, data: bytes) -> None:
    name = "kernel.autotune.json"
    write_tree(tmp_path, {f"{TRITON_HASH}/{name}": data, "ab/other": data + b"x"})
    assert artifacts_below(tmp_path, INDUCTOR) == (["ab/other"], [name])


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_device_code_cut_short_anywhere_is_skipped(tmp_path: Path, bits: int, order: str) -> None:
    whole = device_code(bits, order)
    path = f"{TRITON_HASH}/kernel.cubin"
    for size in range(4, len(whole)):
        write_tree(tmp_path, {path: whole[:size]})
        assert artifacts_below(tmp_path) == ([], ["kernel.cubin"]), size
    write_tree(tmp_path, {path: bytes(len(whole))})
    assert artifacts_below(tmp_path) == ([], ["kernel.cubin"])
    write_tree(tmp_path, {path: whole})
    assert artifacts_below(tmp_path) == ([path], [])


def test_device_code_of_another_form_is_taken_as_it_is(tmp_path: Path) -> None:
    write_tree(tmp_path, {f"{TRITON_HASH}/kernel.hsaco": b"__CLANG_OFFLOAD_BUNDLE__"})
    assert artifacts_below(tmp_path) == ([f"{TRITON_HASH}/kernel.hsaco"], [])


@pytest.mark.parametrize("name", ["kernel.cubin", "kernel.json", "kernel.ptx"])
def test_a_group_with_an_empty_file_is_skipped_whole(tmp_path: Path, name: str) -> None:
    folder = tmp_path / TRITON_HASH
    kernel = triton_kernel(folder)
    write_tree(folder, {**kernel, name: b""})
    paths, skipped = artifacts_below(tmp_path)
    assert paths == []
    assert skipped
    write_tree(folder, kernel)
    assert artifacts_below(tmp_path) == ([f"{TRITON_HASH}/{path}" for path in sorted(kernel)], [])


def test_of_a_bundle_with_damaged_device_code_nothing_is_taken(tmp_path: Path) -> None:
    folder = "cache/kernel.sm90_gemm.0abc"
    cut_short = device_code(64, "<")[:-1]
    write_tree(tmp_path, {f"{folder}/kernel.cu": b"//", f"{folder}/kernel.cubin": cut_short})
    assert artifacts_below(tmp_path, DEEP_GEMM) == ([], ["kernel.cubin"])
