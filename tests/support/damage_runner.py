"""Runs cases of damage one after the other; says which one it is at, so that a death names it.

To be started as a program: `python -m tests.support.damage_runner FOLDER PROOF`, with the cases, a
JSON object a line, on its standard input.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import b10_transfer
from b10_transfer.operations import upkeep
from tests.support.cache_trees import snapshot
from tests.support.damage import Damage
from tests.support.damaged_stores import Original, made_again
from tests.support.sites import Host
from tests.support.trees import (
    artifacts_of,
    differences,
    entries_without_parts,
    put_artifacts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from b10_transfer import OperationStatus
    from tests.support.trees import Artifact, Artifacts

FAILED = "FAILED: "


def main() -> None:
    """Run the cases; the exit status is 0 whatever they found."""
    logging.disable(logging.CRITICAL)
    original = Original(Path(sys.argv[1]))
    proof = _PROOFS[sys.argv[2]]
    if proof is prove_healing_by_one_that_has_all:
        original.let_the_saver_remember()
    for line in sys.stdin:
        _say(line.strip())
        case = Damage(**json.loads(line))
        store = original.damaged(case)
        try:
            proof(original, store, case)
        except AssertionError as error:
            _say(f"{FAILED}{error}")
        finally:
            original.clean_up()


def prove_load(original: Original, store: Path, case: Damage) -> None:
    """A load brings no wrong bytes, and all that can be verified."""
    host = Host(store, original.folder / "new")
    before = snapshot(store)
    status = _as(host, b10_transfer.load_compile_cache)
    assert snapshot(store) == before, "the load changed the store"
    here = artifacts_of(host)
    _require_nothing_wrong(here, original.everything)
    lost = sorted(original.verifiable(case) - here.keys())
    assert not lost, f"could be verified and was not loaded: {lost}"
    assert status.name == ("SUCCESS" if here else "ERROR"), status.name


def prove_healing_by_one_that_has_all(original: Original, store: Path, case: Damage) -> None:
    """The saver, who never loaded, saves once more: then a new host gets everything.

    It compares the lengths of packs; what a load would find, a check finds for it.
    """
    host = original.host_with_everything(store)
    if case.file.startswith("packs/") and case.kind in ("zeros", "flip", "swap"):
        upkeep.check(host.settings(), read_data=True, repair=True)
    assert _as(host, b10_transfer.save_compile_cache), "the save failed"
    _require_whole(original, store, original.everything)


def prove_healing_by_one_that_loaded(original: Original, store: Path, _: Damage) -> None:
    """A host loads what is left, and the compiler makes the same bytes again."""
    _load_compile_save(original, store, lambda name, artifact: (name, artifact))


def prove_healing_by_other_bytes(original: Original, store: Path, _: Damage) -> None:
    """A host loads what is left, and the compiler makes other bytes, as compilers do."""
    _load_compile_save(original, store, made_again)


def _load_compile_save(
    original: Original, store: Path, compile_one: Callable[[str, Artifact], tuple[str, Artifact]]
) -> None:
    host = Host(store, original.folder / "new")
    _as(host, b10_transfer.load_compile_cache)
    lacking = original.everything.keys() - artifacts_of(host).keys()
    put_artifacts(host, dict(compile_one(name, original.everything[name]) for name in lacking))
    assert _as(host, b10_transfer.save_compile_cache), "the save failed"
    _require_whole(original, store, artifacts_of(host))


def _require_whole(original: Original, store: Path, expected: Artifacts) -> None:
    host = Host(store, original.folder / "newer")
    status = _as(host, b10_transfer.load_compile_cache)
    lines = differences(artifacts_of(host), expected)
    assert not lines, f"not healed: {lines}"
    assert status.name == "SUCCESS", status.name


def _require_nothing_wrong(here: Artifacts, everything: Artifacts) -> None:
    lines = [line for line in differences(here, everything) if not line.startswith("missing: ")]
    lines += entries_without_parts(here)
    assert not lines, f"installed: {lines}"


def _as(host: Host, operation: Callable[[], OperationStatus]) -> OperationStatus:
    os.environ.clear()
    os.environ.update(host.variables())
    return operation()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


_PROOFS: dict[str, Callable[[Original, Path, Damage], None]] = {
    proof.__name__: proof
    for proof in (
        prove_load,
        prove_healing_by_one_that_has_all,
        prove_healing_by_one_that_loaded,
        prove_healing_by_other_bytes,
    )
}

if __name__ == "__main__":
    main()
