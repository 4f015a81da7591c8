"""What a run measured, as a table and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import sticks
from bench.rounds import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.calls import Took
    from bench.rounds import Figures

_BESIDES = (sticks.COPY, sticks.ZSTD.name, sticks.GZIP.name)


@dataclass(frozen=True, slots=True)
class Row:
    """An operation, by whom it was done.

    Attributes:
        operation: its name.
        who: ours, or a stick.
        seconds: median; for ours, imports included.
        low: the quickest round.
        high: the slowest round.
        cpu_seconds: the median of its processor time.
        call_seconds: the median of the product's call alone.
        peak_bytes: the most memory that a round took.
        ratios: medians of the rounds' ratios to each stick, which was measured beside it.
    """

    operation: str
    who: str
    seconds: float
    low: float
    high: float
    cpu_seconds: float
    call_seconds: float | None
    peak_bytes: int | None
    ratios: dict[str, float]


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured with one tree in one place.

    Attributes:
        place: its name.
        files: artifacts of the tree.
        raw_bytes: what they hold.
        stored_bytes: the same in the store and in archives.
        runs: rounds.
        rows: what they took.
    """

    place: str
    files: int
    raw_bytes: int
    stored_bytes: dict[str, int]
    runs: int
    rows: tuple[Row, ...]


def machine() -> str:
    """Name what it was measured on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("blake3", "zstandard"))
    return (
        f"{_processor()}, {os.cpu_count()} processors, {memory:.0f} GiB; {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}, {versions}"
    )


def rows_of(figures: Figures) -> tuple[Row, ...]:
    """Summarize what was measured, operation by operation."""
    operations = dict.fromkeys(operation for operation, _ in figures)
    return tuple(
        _row(operation, who, series, figures)
        for operation in operations
        for (name, who), series in figures.items()
        if name == operation and any(took is not None for took in series)
    )


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """The results as values for JSON, the machine beside them."""
    return {"machine": machine(), "results": [asdict(result) for result in results]}


def as_table(result: Result) -> str:
    """A result as text: a line an operation, a column a ratio."""
    stored = ", ".join(f"{who} {size / 1e6:.1f} MB" for who, size in result.stored_bytes.items())
    besides = [stick for stick in _BESIDES if any(row.who == stick for row in result.rows)]
    head = (
        f"{'':38} {'seconds':>8}  {'low to high':15} {'call':>6} {'cpu':>6} {'peak':>7}"
        + "".join(f"{'/ ' + stick:>{len(stick) + 4}}" for stick in besides)
    )
    lines = [
        f"{result.place}: {result.files:,} artifacts, {result.raw_bytes / 1e6:.1f} MB "
        f"({stored}); {result.runs} rounds",
        head,
        *(_line(row, besides) for row in result.rows),
    ]
    return "\n".join(line.rstrip() for line in lines)


def _line(row: Row, besides: Sequence[str]) -> str:
    name = row.operation if row.who == OURS else f"  {row.who}, {row.operation}"
    spread = f"{row.low:.3f} to {row.high:.3f}"
    call = f"{row.call_seconds:6.3f}" if row.call_seconds is not None else " " * 6
    peak = f"{row.peak_bytes / 1e6:4.0f} MB" if row.peak_bytes is not None else " " * 7
    ratios = "".join(
        f"{f'{row.ratios[stick]:.2f}' if stick in row.ratios else '':>{len(stick) + 4}}"
        for stick in besides
    )
    return f"{name:38} {row.seconds:8.3f}  {spread:15} {call} {row.cpu_seconds:6.2f} {peak}{ratios}"


def _row(operation: str, who: str, series: Sequence[Took | None], figures: Figures) -> Row:
    taken = [took for took in series if took is not None]
    seconds = [took.seconds for took in taken]
    calls = [took.call_seconds for took in taken if took.call_seconds is not None]
    peaks = [took.peak_bytes for took in taken if took.peak_bytes is not None]
    ratios = {
        stick: ratio
        for stick in _BESIDES
        if who == OURS
        and (ratio := _ratio(series, figures.get((_compared(operation), stick), ()))) is not None
    }
    return Row(
        operation=operation,
        who=who,
        seconds=statistics.median(seconds),
        low=min(seconds),
        high=max(seconds),
        cpu_seconds=statistics.median(took.cpu_seconds for took in taken),
        call_seconds=statistics.median(calls) if calls else None,
        peak_bytes=max(peaks) if peaks else None,
        ratios=ratios,
    )


def _compared(operation: str) -> str:
    """The operation whose sticks an operation is measured with: others know no second time."""
    if operation.startswith("save"):
        return "first save"
    return "first load" if operation == "load of nothing new" else operation


def _ratio(ours: Sequence[Took | None], others: Sequence[Took | None]) -> float | None:
    ratios = [
        mine.seconds / other.seconds
        for mine, other in zip(ours, others, strict=False)
        if mine is not None and other is not None
    ]
    return statistics.median(ratios) if ratios else None


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
