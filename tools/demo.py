"""The main job in front of your eyes: one replica compiles and saves, the next starts warm.

Run as `./tools/dev demo`. Needs a C++ compiler and no GPU; takes about a minute and a half on
two cores. Exits with 1 if a warm replica compiled anything or computed something else.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tools.compile_model import (
    Call,
    Outcome,
    Question,
    Request,
    compile_in,
)
from tools.replica import Replica, ReplicaFailedError

if TYPE_CHECKING:
    from tools.transfers import Loaded, Saved

_FIRST = Question("transformer", 32)
_SECOND = Question("transformer", 48)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One column of the table: the same calls made cold and made warm.

    Attributes:
        title: Which shapes were called.
        cold: The first calls without stored artifacts.
        saved: The save after them.
        loaded: The load of the warm replica.
        warm: The first calls of the warm replica, for the same questions.
    """

    title: str
    cold: tuple[Call, ...]
    saved: Saved
    loaded: Loaded
    warm: tuple[Call, ...]

    @property
    def cold_seconds(self) -> float:
        """Seconds of the first calls, compiling."""
        return sum(call.wall_seconds for call in self.cold)

    @property
    def warm_seconds(self) -> float:
        """Seconds of the first calls after the load."""
        return sum(call.wall_seconds for call in self.warm)

    @property
    def recompiled(self) -> int:
        """Artifacts that the compiler wrote although everything had been loaded."""
        return sum(len(call.made) for call in self.warm)

    @property
    def largest_difference(self) -> float:
        """Largest difference between an output made warm and the same output made cold."""
        differences = (call.difference for call in self.warm)
        return max(float("nan") if value is None else value for value in differences)

    @property
    def succeeded(self) -> bool:
        """Whether the warm replica compiled nothing and computed the same, bit by bit."""
        same = all(call.equal is True for call in self.warm)
        return same and self.recompiled == 0 and self.loaded.status == "SUCCESS"


def _replica(folder: Path, name: str, user: str) -> Replica:
    home = folder / name
    return Replica(
        store=folder / "store",
        cache_root=home / f"torchinductor_{user}",
        home=home,
        host_temporary=home / "tmp",
    )


def _tell(console: Console, outcome: Outcome) -> None:
    if outcome.loaded is not None:
        loaded = outcome.loaded
        console.print(
            f"  load(): {loaded.status}, {loaded.loaded} artifacts, {loaded.bytes_loaded:,} bytes "
            f"in {loaded.wall_seconds:.2f} s"
        )
    console.print(f"  import of torch: {outcome.import_seconds:.1f} s")
    for number, call in enumerate(outcome.calls, start=1):
        console.print(
            f"  first call, shape {number}: {call.wall_seconds:.1f} s, "
            f"{len(call.made)} artifacts written by the compiler"
        )
    if outcome.saved is not None:
        saved = outcome.saved
        console.print(
            f"  save(): {saved.status}, {saved.added} artifacts added, "
            f"{saved.uploaded_bytes:,} bytes written in {saved.wall_seconds:.2f} s"
        )
    console.print()


def _run(folder: Path, console: Console) -> tuple[Comparison, Comparison]:
    outputs = [str(folder / f"outputs-{number}.pt") for number in (1, 2)]

    console.print(
        "[bold]Step 1.[/] Replica 1 is a new machine, and the store is empty too: it compiles a "
        "small transformer for one shape, with the C++ header that torch precompiles first, and "
        "saves."
    )
    first = compile_in(
        _replica(folder, "replica-1", "ann"), Request((_FIRST,), outputs=outputs[0], save=True)
    )
    _tell(console, first)

    console.print(
        "[bold]Step 2.[/] Replica 2 is another new machine, with its folders at other paths: it "
        "loads and makes the same call, which must compile nothing. Then it is called with a "
        "second shape, which nobody has compiled yet, and saves: only what is new is added."
    )
    second = compile_in(
        _replica(folder, "replica-2", "bob"),
        Request(
            (_FIRST, _SECOND), load=True, references=(outputs[0],), outputs=outputs[1], save=True
        ),
    )
    _tell(console, second)

    console.print(
        "[bold]Step 3.[/] Replica 3 is new again, at a third path: it loads the work of both and "
        "calls both shapes. Neither may compile anything."
    )
    third = compile_in(
        _replica(folder, "replica-3", "eve"),
        Request((_FIRST, _SECOND), load=True, references=(outputs[1],)),
    )
    _tell(console, third)
    return _compare(first, second, third)


def _compare(first: Outcome, second: Outcome, third: Outcome) -> tuple[Comparison, Comparison]:
    if not (first.saved and second.loaded and second.saved and third.loaded):
        raise ReplicaFailedError("a replica left out a load or a save that it was asked for")
    return (
        Comparison("one shape", first.calls, first.saved, second.loaded, second.calls[:1]),
        Comparison(
            "a second shape added",
            (*first.calls, *second.calls[1:]),
            second.saved,
            third.loaded,
            third.calls,
        ),
    )


def _table(comparisons: tuple[Comparison, ...]) -> Table:
    table = Table(title="Cold and warm: the first call of each shape")
    table.add_column()
    for comparison in comparisons:
        table.add_column(comparison.title, justify="right")
    rows = {
        "cold, seconds": [f"{each.cold_seconds:.2f}" for each in comparisons],
        "warm, seconds": [f"{each.warm_seconds:.2f}" for each in comparisons],
        "load, seconds": [f"{each.loaded.wall_seconds:.2f}" for each in comparisons],
        "artifacts loaded": [f"{each.loaded.loaded}" for each in comparisons],
        "artifacts compiled again": [f"{each.recompiled}" for each in comparisons],
        "largest difference of the outputs": [
            f"{each.largest_difference:g}" for each in comparisons
        ],
        "artifacts added by the save": [f"{each.saved.added}" for each in comparisons],
        "bytes written by the save": [f"{each.saved.uploaded_bytes:,}" for each in comparisons],
        "bytes stored": [f"{each.saved.stored_bytes:,}" for each in comparisons],
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _demonstrate(folder: Path) -> int:
    console = Console(highlight=False)
    comparisons = _run(folder, console)
    console.print(_table(comparisons))
    console.print(
        "Seconds are those of the first calls; the import of torch comes on top, cold and warm."
    )
    if all(comparison.succeeded for comparison in comparisons):
        console.print("[green]The warm replicas compiled nothing and computed the same.[/]")
        return 0
    console.print("[red]A warm replica compiled artifacts again, or computed something else.[/]")
    for comparison in comparisons:
        for call in comparison.warm:
            for path in call.made:
                console.print(f"  compiled again: {path}", markup=False)
    return 1


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the folders, and name them")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="b10-demo-"))
    try:
        return _demonstrate(folder)
    except ReplicaFailedError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if arguments.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
