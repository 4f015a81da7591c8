"""Measure how long loads and saves take, beside copying the tree and beside archives of it.

Trees are grown from real artifacts, compiled at the first run, and kept in ~/.cache. Each figure is
the median of some rounds. The product runs in a new process each time: "seconds" includes its
imports, "call" does not. Ratios are of seconds, taken within a round. Use the quietest machine that
there is: on one that others use, "low" and "cpu" (processor time, the interpreter's start included)
say more than the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import costs, headers, places, plot, report, trees
from bench.rounds import GROUPS, Rounds, names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SIZES = "6k,20k,60k"
_STICKS = ("cp", "zstd", "gzip", "torch")
_QUICK_STICKS = "cp,zstd,gzip"
_OTHERS: dict[str, Callable[[Sequence[str]], int]] = {
    "headers": headers.main,
    "costs": costs.main,
}
_EXAMPLES = """examples:
  tools/dev bench                                     everything; half an hour
  tools/dev bench --only load --size 6k --runs 5      while you work on loads: half a minute
  tools/dev bench --only save --size 6k --runs 5      saves: a minute
  tools/dev bench --only load,half --size 60k --place disk --json before.json
  tools/dev bench costs                               operations on the shared folder, counted
  tools/dev bench headers                             how to carry Inductor's precompiled header

groups of operations (--only):
  load   first load into an empty root; load of nothing new
  half   load where every second artifact is there
  save   first save; nothing new, at once and 2 s later; a second namespace; 5 % more
  look   list, info, gc
"""


def main(arguments: Sequence[str]) -> int:
    """Measure and print; return the exit code."""
    if arguments and arguments[0] in _OTHERS:
        return _OTHERS[arguments[0]](arguments[1:])
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        groups = names(asked.only, GROUPS)
        places_asked = names(asked.place, places.NAMES)
        sticks = names(asked.sticks, _STICKS)
        sizes = [_files(size) for size in asked.size.split(",")]
        if asked.plot is not None and len(sizes) < 2:
            parser.error("--plot: a picture needs two sizes")
    except ValueError as error:
        parser.error(str(error))
    print(report.machine(), f"load average {os.getloadavg()[0]:.1f}", sep="; ", flush=True)
    results: list[report.Result] = []
    for files in sizes:
        tree = trees.grown_tree(files)
        for name in places_asked:
            results.append(_measure(tree, name, groups, sticks, asked.runs))
            print(f"\n{report.as_table(results[-1])}", flush=True)
    if asked.plot is not None:
        picture = plot.as_svg(results, places_asked[0], report.machine())
        asked.plot.write_text(picture, encoding="utf-8")
    if asked.json is not None:
        asked.json.write_text(json.dumps(report.as_json(results), indent=1), encoding="utf-8")
    return 0


def _measure(
    tree: Path, place_name: str, groups: Sequence[str], sticks: Sequence[str], runs: int
) -> report.Result:
    with places.open_place(place_name) as place:
        rounds = Rounds(place, tree, sticks)
        rounds.measure(groups, runs)
        files = [path for path in tree.rglob("*") if path.is_file()]
        return report.Result(
            place=place_name,
            files=len(files),
            raw_bytes=sum(path.stat().st_size for path in files),
            stored_bytes=rounds.stored_bytes(),
            runs=runs,
            rows=report.rows_of(rounds.figures),
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/dev bench",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", default=",".join(GROUPS), help="groups of operations (default: %(default)s)"
    )
    parser.add_argument(
        "--size", default=_SIZES, help="artifacts of the trees (default: %(default)s)"
    )
    parser.add_argument(
        "--place", default=",".join(places.NAMES), help="where (default: %(default)s)"
    )
    parser.add_argument(
        "--sticks",
        default=_QUICK_STICKS,
        help=f"what to measure beside: {', '.join(_STICKS)} (default: %(default)s)",
    )
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--plot", type=Path, help="an SVG file for a picture of the first place")
    return parser


def _files(size: str) -> int:
    """How many files a size asks for: 500, 6k, 60k.

    Raises:
        ValueError: it is not such a size.
    """
    number = size.removesuffix("k")
    if not number.isdecimal() or not int(number):
        raise ValueError(f"--size {size}: a number of artifacts, such as 500 or 6k")
    return int(number) * (1000 if size.endswith("k") else 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
