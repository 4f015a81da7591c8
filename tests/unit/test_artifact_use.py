"""Unit tests for b10_transfer.local.artifact_use: what is in use, by files' times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from b10_store.digest import digest_of
from b10_store.format.manifest import Identity
from b10_store.tree.scan import Fingerprint, FoundFile, LocalFile, Scanned
from b10_transfer.caches.kinds import FLASHINFER, HEADERS, INDUCTOR, TRITON, user_kind
from b10_transfer.caches.roots import CacheRoot
from b10_transfer.local.artifact_use import artifact_use
from b10_transfer.local.record import Loaded

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from b10_transfer.caches.kinds import RootKind

DAY = 86_400 * 10**9
NOW = time.time_ns()
LOADED = NOW - DAY
DIGEST = digest_of(b"")


def scanned(kind: RootKind, path: str, *, changed: int, accessed: int) -> Scanned:
    identity = Identity(kind.name, path)
    found = FoundFile(path, path, Fingerprint(1, changed, changed, 1), False, accessed)
    return Scanned(LocalFile(identity, found), DIGEST, 1)


def brought(kind: RootKind, path: str, opened: int = 0) -> Scanned:
    """A file that a load put there, and that was opened so many ns before now; 0: never."""
    placed = LOADED - 10**9
    return scanned(kind, path, changed=placed, accessed=NOW - opened if opened else placed - 10**6)


def dormant(folder: Path, kind: RootKind, items: Iterable[Scanned], days: int = 30) -> set[str]:
    files = list(items)
    common = {item.file.identity.path: DIGEST for item in files if item.file.found.accessed_ns != 1}
    use = artifact_use(
        files,
        {kind.name: CacheRoot(kind, str(folder))},
        {kind.name: Loaded(LOADED, common, set())},
        days,
    )
    assert not use.unsure or not use.idle
    return {identity.path for identity in use.dormant}


def test_what_a_load_brought_and_was_opened_since_is_in_use(tmp_path: Path) -> None:
    items = [brought(INDUCTOR, "ab/cab.py", opened=1), brought(INDUCTOR, "ab/cac.py")]
    assert dormant(tmp_path, INDUCTOR, items) == {"ab/cac.py"}


def test_what_was_made_since_the_load_is_in_use_although_nothing_opened_it(tmp_path: Path) -> None:
    made = scanned(INDUCTOR, "ab/cab.py", changed=LOADED + 1, accessed=LOADED)
    unknown = scanned(INDUCTOR, "ab/cac.py", changed=LOADED - 1, accessed=1)
    assert dormant(tmp_path, INDUCTOR, [made, unknown]) == set()


@pytest.mark.parametrize(("days", "expected"), [(0, set[str]()), (30, {"ab/cab.py"})])
def test_what_was_opened_long_ago_is_in_use_no_more(
    tmp_path: Path, days: int, expected: set[str]
) -> None:
    old = scanned(INDUCTOR, "ab/cab.py", changed=NOW - 50 * DAY, accessed=NOW - 40 * DAY)
    assert dormant(tmp_path, INDUCTOR, [old], days) == expected


@pytest.mark.parametrize(
    ("kind", "opened", "others"),
    [
        (INDUCTOR, "ab/cab.main.so", ["ab/cab.main.cpp"]),
        (INDUCTOR, "fxgraph/fa/fab/0", ["fxgraph/fa/fab/1"]),
        (INDUCTOR, f"triton/0/{'A' * 52}/x.json", [f"triton/0/{'A' * 52}/x.cubin"]),
        (TRITON, f"{'A' * 52}/x.json", [f"{'A' * 52}/x.cubin"]),
        (FLASHINFER, "0.2/90/cached_ops/op/op.so", ["0.2/90/generated/op/op.cu"]),
        (user_kind("mine", "/mine"), "model/a", ["model/b"]),
    ],
)
def test_what_is_of_use_together_is_in_use_together(
    tmp_path: Path, kind: RootKind, opened: str, others: list[str]
) -> None:
    items = [brought(kind, opened, opened=1), *(brought(kind, path) for path in others)]
    assert dormant(tmp_path, kind, items) == set()
    assert dormant(tmp_path, kind, items[1:]) == set(others)


def test_profiles_of_two_jobs_have_nothing_in_common(tmp_path: Path) -> None:
    items = [
        brought(INDUCTOR, "dynamo/code_state_a.b_0.pkl", opened=1),
        brought(INDUCTOR, "dynamo/code_state_a.c_0.pkl"),
    ]
    assert dormant(tmp_path, INDUCTOR, items) == {"dynamo/code_state_a.c_0.pkl"}


def test_a_precompiled_header_is_in_use_by_being_there(tmp_path: Path) -> None:
    assert dormant(tmp_path, HEADERS, [brought(HEADERS, "cabc.h")]) == set()


def test_where_nothing_can_be_tried_nothing_is_said_to_be_idle(tmp_path: Path) -> None:
    lost = tmp_path / "file"
    lost.write_bytes(b"")
    items = [brought(INDUCTOR, "ab/cab.py")]
    roots = {INDUCTOR.name: CacheRoot(INDUCTOR, str(lost / "below"))}
    records = {INDUCTOR.name: Loaded(LOADED, {"ab/cab.py": DIGEST}, set())}
    use = artifact_use(items, roots, records, 30)
    assert (len(use.idle), len(use.unsure)) == (0, 1)
