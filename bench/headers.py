"""What a replica on a new machine pays for Inductor's precompiled header, by how it is carried.

Three ways: not at all, as a placeholder (the default), or in full. For each the warm start of a
small model is timed, and then the first call of a model that nobody has compiled. Figures are
medians; the ways are measured in turn, since machines are noisy. Needs g++; takes minutes.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from tools.compile_model import Outcome, Question, Request, compile_in
from tools.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Sequence

_STORED = Question("gelu-perceptron", 8)
_MISSED = Question("transformer", 8)
_WAYS = {
    "not at all": {"B10_CACHE_ROOTS": "inductor"},
    "placeholder": {"B10_CACHE_HEADERS": "placeholder"},
    "in full": {"B10_CACHE_HEADERS": "full"},
}


def main(arguments: Sequence[str]) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="tools/dev bench headers", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="rounds (default: %(default)s)")
    runs: int = parser.parse_args(arguments).runs
    folder = Path(tempfile.mkdtemp(prefix="b10-headers-"))
    try:
        _measure(folder, runs)
    finally:
        shutil.rmtree(folder)
    return 0


def _measure(folder: Path, runs: int) -> None:
    stores = {way: folder / way.replace(" ", "-") for way in _WAYS}
    for way, settings in _WAYS.items():
        cold = compile_in(
            _replica(folder, stores[way], "saver"), Request((_STORED,), save=True), **settings
        )
        if cold.saved is not None:
            print(f"saved {way}: {cold.saved.uploaded_bytes / 1e6:.1f} MB", flush=True)
    figures: defaultdict[str, list[float]] = defaultdict(list)
    for run in range(runs):
        for way, settings in _WAYS.items():
            replica = _replica(folder, stores[way], f"{stores[way].name}-{run}")
            outcome = compile_in(replica, Request((_STORED, _MISSED), load=True), **settings)
            for name, value in _figures(outcome).items():
                figures[f"{way:<12} {name}"].append(value)
            shutil.rmtree(replica.home)
    for name, values in figures.items():
        print(
            f"{name}: {statistics.median(values):.2f} s  ({min(values):.2f} to {max(values):.2f})"
        )


def _figures(outcome: Outcome) -> dict[str, float]:
    stored, unavailable = outcome.calls
    load = 0.0 if outcome.loaded is None else outcome.loaded.wall_seconds
    return {
        "load, wall": load,
        "load and warm call, wall": load + stored.wall_seconds,
        "warm call, processor": stored.cpu_seconds,
        "call of what nobody compiled, wall": unavailable.wall_seconds,
        "call of what nobody compiled, processor": unavailable.cpu_seconds,
    }


def _replica(folder: Path, store: Path, name: str) -> Replica:
    home = folder / name
    return Replica(
        store=store, cache_root=home / "inductor", home=home, host_temporary=home / "tmp"
    )
