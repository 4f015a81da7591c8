"""Whether a file is whole, as far as its form tells: empty, zeros, and cut short anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

import blake3
import pytest

from b10_transfer.caches.file_forms import check_of
from b10_transfer.caches.kinds import INDUCTOR, TRITON, user_kind
from tests.support.cache_trees import TRITON_HASH, elf

if TYPE_CHECKING:
    from b10_transfer.caches.kinds import RootKind

USERS = user_kind("mine", "/mine")
KEY = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrs"

SOURCE = b'''# a comment with an apostrophe: don't
import torch
text = """a string with (brackets [ and 'quotes"""
def call(args):
    return {"a": [args, f"{args}"], 'b': r"\\d("}
'''
CPP = b"""#include <torch/csrc/inductor/cpp_prefix.h>
// don't close this (
extern "C" void kernel(const float* in, float* out) {
    for (long x = 0; x < 1'000; x++) { out[x] = in['a' - '{']; /* ] */ }
    const char* text = R"x(a raw " { string)x";
}
"""


def sha256_name(content: bytes) -> str:
    return base64.b32encode(hashlib.sha256(content).digest())[:51].decode().lower()


GRAPH = b"\x80\x04](" + b"".join(b"K" + bytes([number]) for number in range(1, 200)) + b"e."
"""The pickle of a list of numbers."""
WHOLE = {
    f"ab/c{sha256_name(SOURCE.strip())}.py": SOURCE,
    f"cd/c{KEY}.main.cpp": CPP,
    f"cd/c{KEY}.cpp": CPP,
    f"cd/c{KEY}.main.so": elf(b"code" * 50),
    f"fxgraph/ab/f{KEY}/{sha256_name(GRAPH)}": GRAPH,
    f"fxgraph/ab/f{KEY}/{KEY}": GRAPH,
    f"aotautograd/a{KEY}/{sha256_name(GRAPH)}": GRAPH,
    "dynamo/code_state_job_0.pkl": GRAPH,
    "ab/x.best_config": json.dumps({"num_warps": 4, "num_stages": 2}).encode(),
    f"cache/{'0' * 64}": json.dumps({"cache": {"mm": {"x": 1.5}}}).encode(),
    f"{TRITON_HASH}/kernel.json": json.dumps({"name": "kernel", "shared": 0}).encode(),
    f"{TRITON_HASH}/kernel.cubin": elf(b"code" * 50),
    "model/factors.json": json.dumps([1, {"a": None}]).encode(),
    "rank_0_0/vllm_compile_cache.py": b"{(0, 1, 'x'): 'artifact', (0, 2, 'y'): 'artifact'}",
}


def flaw(path: str, data: bytes, kind: RootKind = INDUCTOR, block: int = 1 << 20) -> str:
    check = check_of(kind, path)
    for start in range(0, len(data), block):
        check.feed(memoryview(data)[start : start + block])
    return check.flaw()


@pytest.mark.parametrize("path", WHOLE)
def test_a_whole_file_has_no_flaw_however_its_bytes_come(path: str) -> None:
    for block in (1, 7, 1 << 20):
        assert flaw(path, WHOLE[path], block=block) == ""


@pytest.mark.parametrize("path", WHOLE)
def test_a_file_that_is_empty_zeros_or_half_is_not_whole(path: str) -> None:
    data = WHOLE[path]
    for damaged in (b"", bytes(len(data)), data[: len(data) // 2], data[:-1].rstrip()[:-1]):
        assert flaw(path, damaged), damaged


def test_a_library_of_which_the_end_was_never_written_is_not_whole() -> None:
    data = next(Path(blake3.__file__).parent.glob("*.so")).read_bytes()
    assert flaw("x.so", data) == ""
    for written in (len(data) // 2, len(data) - 64):
        assert flaw("x.so", data[:written] + bytes(len(data) - written))


def test_a_name_that_vouches_for_its_content_tells_every_change() -> None:
    path = f"ab/c{sha256_name(SOURCE.strip())}.py"
    assert flaw(path, SOURCE.strip()) == ""
    for size in range(len(SOURCE)):
        if SOURCE[:size].strip() != SOURCE.strip():
            assert flaw(path, SOURCE[:size] + bytes(len(SOURCE) - size))


def test_a_source_of_a_name_of_another_make_is_judged_by_its_brackets() -> None:
    assert flaw(f"ab/c{KEY}.py", SOURCE) == ""
    assert flaw(f"ab/c{KEY}.py", SOURCE[: SOURCE.index(b"]")])
    assert flaw(f"ab/c{KEY}.py", SOURCE[: SOURCE.index(b"quotes")])


def test_text_with_a_nul_is_not_whole() -> None:
    for suffix in ("ttir", "ttgir", "llir", "ptx", "amdgcn", "source"):
        path = f"{TRITON_HASH}/kernel.{suffix}"
        assert flaw(path, b"module {}\n", TRITON) == ""
        for damaged in (b"", b"module {}\n" + bytes(4096)):
            assert flaw(path, damaged, TRITON) == "a broken intermediate form"
    assert flaw("include/x.h", b"int x;\0") == "broken source code"


def test_an_empty_file_that_no_compiler_named_may_be_meant_so() -> None:
    for path in ("package/__init__.py", ".committed", "x.h", "x.h.gch", "unknown", "x.bin"):
        assert flaw(path, b"") == ""


def test_zeros_are_no_artifact_of_any_kind() -> None:
    for kind in (INDUCTOR, USERS):
        assert flaw("weights.bin", bytes(3 << 20), kind) == "nothing but zeros"
        assert flaw("weights.bin", bytes(3 << 20) + b"1", kind) == ""


def test_in_a_folder_of_the_users_own_only_what_a_compiler_named_is_judged_by_its_form() -> None:
    for path in ("x.json", "x.py", "x.pkl", "x.h"):
        assert flaw(path, b"{ anything, // but that", USERS) == ""
    assert flaw(f"ab/c{KEY}.py", b"(", USERS)
    assert flaw(f"{TRITON_HASH}/k.json", b"[]", USERS)
    assert flaw("x.so", b"", USERS)


def test_json_of_kernels_and_of_tuning_is_an_object() -> None:
    for path in (f"{TRITON_HASH}/k.json", "k.autotune.json", "ab/x.best_config"):
        for damaged in (b"[]", b"null", b"{}{}", b'{"a": 1}{"b"'):
            assert flaw(path, damaged, TRITON) == "broken JSON"
    assert flaw("x.json", b"null") == ""


def test_a_pickle_is_walked_and_never_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    planted = f"\x80\x04cos\nmkdir\n(X\x04\0\0\0{'here'}tR.".encode("latin-1")
    assert flaw(f"fxgraph/ab/f{KEY}/{KEY}", planted) == ""
    assert list(tmp_path.iterdir()) == []


def test_of_a_pickle_the_first_opcodes_are_walked_over() -> None:
    """Tens of millions fit into one, and would take seconds."""
    path = f"ab/c{KEY}.pkl"
    assert flaw(path, b"\x80\x04" + b"N" * 100_000 + b"\xff.")
    assert flaw(path, b"\x80\x04" + b"N" * 300_000 + b"\xff.") == ""


def test_of_json_that_is_too_large_the_form_is_not_known() -> None:
    """Reading it could take two hundred times its size of memory."""
    path = f"ab/c{KEY}.json"
    assert flaw(path, b"[" + b"[]," * 1000)
    assert flaw(path, b"[" + b"[]," * 2_000_000) == ""


@pytest.mark.parametrize(
    "text",
    [
        b'"""' + b'\\"""' * 250_000,
        b"(" * 1_000_000,
        b'R"x(' * 250_000,
        b"/*" * 500_000,
        b"'" * 10**6,
    ],
    ids=["quotes", "brackets", "raw strings", "comments", "apostrophes"],
)
def test_a_planted_source_takes_no_time(text: bytes) -> None:
    started = time.thread_time()
    for path in (f"ab/c{KEY}.py", f"ab/c{KEY}.cpp"):
        flaw(path, text + b"}")
    assert time.thread_time() - started < 10


# Native code.


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_library_of_any_class_and_byte_order_is_measured(bits: int, order: str) -> None:
    header = bytearray(64)
    header[:4] = b"\x7fELF"
    header[4:6] = bytes([1 if bits == 32 else 2, 1 if order == "<" else 2])
    if bits == 32:
        struct.pack_into(order + "I", header, 0x20, 1000)
        struct.pack_into(order + "HH", header, 0x2E, 40, 5)
    else:
        struct.pack_into(order + "Q", header, 0x28, 1000)
        struct.pack_into(order + "HH", header, 0x3A, 40, 5)
    assert flaw("x.so", bytes(header) + b"x" * (1200 - 64)) == ""
    assert flaw("x.so", bytes(header) + b"x" * (1199 - 64))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x7fELF", b"MZ" + bytes(100), elf()[:63], b"\x7fELF\x03" + bytes(100), bytes(4096)],
)
def test_what_is_no_elf_file_is_not_whole(data: bytes) -> None:
    assert flaw("x.so", data)
