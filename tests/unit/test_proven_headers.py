"""Which precompiled headers are known to be good, and so are fit to be shared."""

from __future__ import annotations

import pytest

from b10_store.digest import Digest
from b10_store.tree.scan import Fingerprint, FoundFile
from b10_transfer.caches.kinds import FULL_HEADERS, HEADERS
from b10_transfer.caches.roots import CacheRoot
from b10_transfer.local.proven_headers import leave_unproven, newest_kernel_ns
from b10_transfer.local.record import Loaded

FOLDER = "/headers"
ROOT = CacheRoot(FULL_HEADERS, FOLDER)
TEXT, PRECOMPILED = "cabc.h", "cabc.h.gch"
KERNEL = "ab/cabc.main.so"
NOTHING = Loaded(0, {}, set())


def found(path: str, moment: int, size: int = 10) -> FoundFile:
    """A file that was written and last changed at `moment`, in ns."""
    return FoundFile(path, FOLDER, Fingerprint(size, moment, moment, 1), False)


def loaded_at(moment: int, *paths: str) -> Loaded:
    return Loaded(moment, dict.fromkeys(paths, Digest("0" * 64)), set())


def kept_of(files: list[FoundFile], kernel_ns: int, loaded: Loaded = NOTHING) -> list[str]:
    kept, left = leave_unproven(ROOT, files, kernel_ns, loaded)
    assert len(kept) + len(left) + sum(not item.fingerprint.size for item in files) == len(files)
    return [item.path for item in kept]


@pytest.mark.parametrize(
    ("path", "moment"),
    [
        (KERNEL, 7),
        (f"torch_compile_cache/0a/rank_0_0/inductor_cache/{KERNEL}", 7),
        ("ab/cabc.so", 0),  # what has no header
        ("A" * 52 + "/__triton_launcher.so", 0),
        ("triton/0/HASH/cuda_utils.so", 0),
        ("ab/cabc.main.o", 0),
        ("cabc.main.so", 0),
    ],
)
def test_only_a_kernel_that_inductor_compiles_with_the_header_proves_anything(
    path: str, moment: int
) -> None:
    assert newest_kernel_ns([(found(path, 7), NOTHING)]) == moment


def test_the_newest_kernel_counts_and_without_any_nothing_is_proven() -> None:
    files = [found(KERNEL, 7), found("cd/cdef.main.so", 9), found("ef/cefg.main.so", 8)]
    assert newest_kernel_ns((item, NOTHING) for item in files) == 9
    assert newest_kernel_ns([]) == 0


def test_a_kernel_that_a_load_brought_proves_nothing_until_it_is_made_again() -> None:
    assert newest_kernel_ns([(found(KERNEL, 7), loaded_at(8, KERNEL))]) == 0
    assert newest_kernel_ns([(found(KERNEL, 9), loaded_at(8, KERNEL))]) == 9
    assert newest_kernel_ns([(found(KERNEL, 7), loaded_at(8, "another"))]) == 7


def test_a_header_goes_with_its_text_once_a_kernel_is_newer_and_else_neither_goes() -> None:
    files = [found(TEXT, 1), found(PRECOMPILED, 5)]
    assert kept_of(files, 6) == [TEXT, PRECOMPILED]
    for kernel_ns in (5, 4, 0):
        assert kept_of(files, kernel_ns) == []


def test_what_is_left_for_a_later_save_is_named() -> None:
    _, left = leave_unproven(ROOT, [found(TEXT, 1), found(PRECOMPILED, 5)], 0, NOTHING)
    assert [item.location for item in left] == [f"{FOLDER}/{TEXT}", f"{FOLDER}/{PRECOMPILED}"]


def test_each_header_is_proven_for_itself() -> None:
    files = [found(TEXT, 1), found(PRECOMPILED, 5), found("cdef.h", 1), found("cdef.h.gch", 9)]
    assert kept_of(files, 6) == [TEXT, PRECOMPILED]


def test_one_that_a_load_brought_is_good_until_it_changes() -> None:
    loaded = loaded_at(8, TEXT, PRECOMPILED)
    assert kept_of([found(TEXT, 7), found(PRECOMPILED, 7)], 0, loaded) == [TEXT, PRECOMPILED]
    assert kept_of([found(TEXT, 7), found(PRECOMPILED, 9)], 0, loaded) == [TEXT]


def test_a_placeholder_is_never_kept_and_a_text_beside_it_only_if_it_was_loaded() -> None:
    files = [found(TEXT, 1), found(PRECOMPILED, 5, size=0)]
    assert kept_of(files, 9) == []
    assert kept_of(files, 9, loaded_at(8, TEXT)) == [TEXT]


def test_where_only_the_text_is_an_artifact_nothing_needs_proof() -> None:
    files = [found(TEXT, 5)]
    assert leave_unproven(CacheRoot(HEADERS, FOLDER), files, 0, NOTHING) == (files, [])
