"""One file of a small store is damaged in every way: loads are safe, and saves heal it.

The cases run in a process of their own that names each one before it begins, so that even a case
which kills the process is named.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.damage import Damage, all_flips, cuts, flips, some_of, whole_file_damage
from tests.support.damage_runner import FAILED
from tests.support.damaged_stores import make_parent_and_child, make_two_heads
from tests.support.memory_folders import in_memory
from tests.support.sites import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_STORE_LIMIT = 64 << 10
_FEW = 2
_MANY = 6
_NTH = 6
"""Of the flipped bits; every one of them is a slow test's."""
_SECONDS = 300.0
_SECONDS_A_CASE = 1.0
_HEALED_KINDS = ("zeros", "empty", "gone", "swap")


def sizes_of(store: Path) -> dict[str, int]:
    """Of the store's files: FORMAT, two packs, two manifests, and a session that was left."""
    sizes = {
        path.relative_to(store).as_posix(): path.stat().st_size
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }
    folders = sorted(name.rpartition("/")[0] for name in sizes)
    assert folders == ["", "manifests", "manifests", "packs", "packs", "sessions"]
    assert sum(sizes.values()) < _STORE_LIMIT
    return sizes


def run_cases(folder: Path, proof: str, cases: Sequence[Damage]) -> None:
    lines = [json.dumps(dataclasses.asdict(case)) for case in cases]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.damage_runner", str(folder), proof],
            input="".join(f"{line}\n" for line in lines).encode(),
            cwd=CHECKOUT,
            capture_output=True,
            timeout=_SECONDS + _SECONDS_A_CASE * len(cases),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"it hangs at {(error.stdout or b'').decode().splitlines()[-1:]}")
    said = done.stdout.decode().splitlines()
    assert done.returncode == 0, f"it died at {said[-1:]} with {done.returncode}: {done.stderr!r}"
    failures = [
        f"{case}: {line}" for case, line in itertools.pairwise(said) if line.startswith(FAILED)
    ]
    assert failures == []
    assert said == lines


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as folder:
        yield folder


@pytest.mark.parametrize("make_store", [make_two_heads, make_parent_and_child])
def test_a_load_survives_whatever_happened_to_a_file_and_brings_what_can_be_verified(
    folder: Path, make_store: Callable[[Path], None]
) -> None:
    make_store(folder)
    sizes = sizes_of(folder / "store")
    cases = [*whole_file_damage(sizes), *cuts(sizes)]
    assert len(cases) == 6 * 6 - 3 + 2 + sum(-(-size // 512) for size in sizes.values())
    run_cases(folder, "prove_load", cases)


def test_a_load_survives_flipped_bits_and_brings_what_can_be_verified(folder: Path) -> None:
    make_two_heads(folder)
    sizes = sizes_of(folder / "store")
    cases = flips(folder / "store", sizes)
    assert len(cases) >= sizes["FORMAT"] + 2 * (120 + 64 + 64) + 2 * 64 + 64
    run_cases(folder, "prove_load", cases[::_NTH])


@pytest.mark.slow
@pytest.mark.parametrize("make_store", [make_two_heads, make_parent_and_child])
def test_a_load_survives_a_flipped_bit_in_any_byte_and_brings_what_can_be_verified(
    folder: Path, make_store: Callable[[Path], None]
) -> None:
    make_store(folder)
    run_cases(folder, "prove_load", all_flips(sizes_of(folder / "store")))


@pytest.mark.parametrize(
    ("make_store", "each"),
    [
        (make_two_heads, _FEW),
        pytest.param(make_two_heads, _MANY, marks=pytest.mark.slow),
        pytest.param(make_parent_and_child, _MANY, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "proof",
    [
        "prove_healing_by_one_that_has_all",
        "prove_healing_by_one_that_loaded",
        "prove_healing_by_other_bytes",
    ],
)
def test_the_next_save_heals_a_store_with_a_damaged_file(
    folder: Path, proof: str, make_store: Callable[[Path], None], each: int
) -> None:
    make_store(folder)
    store = folder / "store"
    sizes = sizes_of(store)
    whole = [case for case in whole_file_damage(sizes) if case.kind in _HEALED_KINDS]
    cases = [*whole, *some_of(cuts(sizes), each), *some_of(flips(store, sizes), each)]
    assert len(cases) >= 3 * 6 + 2 + 5 * min(each, 4) + 6 * each
    run_cases(folder, proof, cases)
