"""A picture of a run, as SVG that is readable on light and on dark pages."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from bench import sticks
from bench.rounds import OURS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bench.report import Result

_PANELS = {
    "Load into an empty cache root": "first load",
    "First save": "first save",
}
_SERIES = {
    OURS: "b10-transfer, imports included",
    sticks.COPY: "cp -r",
    sticks.ZSTD.name: "tar | zstd -T2",
    sticks.GZIP.name: "tar czf",
}
_WIDTH, _HEIGHT = 420, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 56, 36, 14, 40

_STYLE = """
svg { font: 12px system-ui, sans-serif; }
text { fill: #24292f; } .title { font-weight: 600; font-size: 14px; } .small { font-size: 11px; }
path { fill: none; stroke-width: 2; } .grid { stroke: #d0d7de; stroke-width: 1; }
.s0 { stroke: #0969da; stroke-width: 3; } .s1 { stroke: #57606a; } .s2 { stroke: #bc4c00; }
.s3 { stroke: #8250df; } circle.s0 { fill: #0969da; } circle.s1 { fill: #57606a; }
circle.s2 { fill: #bc4c00; } circle.s3 { fill: #8250df; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } .grid { stroke: #30363d; }
.s0 { stroke: #58a6ff; } .s1 { stroke: #8b949e; } .s2 { stroke: #f0883e; } .s3 { stroke: #bc8cff; }
circle.s0 { fill: #58a6ff; } circle.s1 { fill: #8b949e; }
circle.s2 { fill: #f0883e; } circle.s3 { fill: #bc8cff; }
}
"""


class _Scale(NamedTuple):
    """A logarithmic scale, from values to places on the picture."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return where a value lies."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)


def as_svg(results: Sequence[Result], place: str, machine: str) -> str:
    """Draw seconds over artifacts, both logarithmic, for loads and for saves.

    Args:
        results: of a run; trees of at least two sizes.
        place: the results to draw.
        machine: what it was measured on.

    Raises:
        ValueError: there are not two sizes of that place.
    """
    chosen = sorted((each for each in results if each.place == place), key=lambda each: each.files)
    if len(chosen) < 2:
        raise ValueError(f"a picture needs trees of two sizes, measured on {place}")
    width = _WIDTH * len(_PANELS)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT + 64}" role="img">',
        f"<title>Seconds over artifacts, on {place}</title><style>{_STYLE}</style>",
    ]
    for index, (title, operation) in enumerate(_PANELS.items()):
        lines += _panel(chosen, title, operation, index * _WIDTH)
    lines += _legend({row.who for result in chosen for row in result.rows}, _HEIGHT + 18)
    lines.append(f'<text class="small" x="{_LEFT}" y="{_HEIGHT + 50}">{escape(machine)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _panel(results: Sequence[Result], title: str, operation: str, left: int) -> Iterator[str]:
    curves = {who: dict(_points(results, operation, who)) for who in _SERIES}
    seconds = [value for curve in curves.values() for value in curve.values()]
    files = [result.files for result in results]
    across = _Scale(files[0], files[-1], left + _LEFT, left + _WIDTH - _RIGHT)
    up = _Scale(
        10 ** math.floor(math.log10(min(seconds))),
        10 ** math.ceil(math.log10(max(seconds))),
        _HEIGHT - _BOTTOM,
        _TOP,
    )
    yield f'<text class="title" x="{left + _LEFT}" y="20">{escape(title)}</text>'
    yield from _grid(files, across, up)
    for index, curve in enumerate(curves.values()):
        yield from _curve(curve, across, up, index)


def _points(results: Sequence[Result], operation: str, who: str) -> Iterator[tuple[int, float]]:
    for result in results:
        for row in result.rows:
            if (row.operation, row.who) == (operation, who):
                yield result.files, row.seconds


def _grid(files: Sequence[int], across: _Scale, up: _Scale) -> Iterator[str]:
    value = up.low
    while value <= up.high * 1.001:
        y = up.place(value)
        yield f'<path class="grid" d="M{across.start} {y:.1f} H{across.end}"/>'
        yield _label(f"{value:g} s", across.start - 6, y + 4, "end")
        value *= 10
    for count in files:
        x = across.place(count)
        yield _label(f"{count:,}", x, up.start + 18, "end" if count == files[-1] else "middle")


def _label(text: str, x: float, y: float, anchor: str) -> str:
    return f'<text class="small" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{text}</text>'


def _curve(curve: Mapping[int, float], across: _Scale, up: _Scale, index: int) -> Iterator[str]:
    places = [(across.place(files), up.place(seconds)) for files, seconds in curve.items()]
    if places:
        line = " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        yield f'<path class="s{index}" d="M{line}"/>'
    for x, y in places:
        yield f'<circle class="s{index}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'


def _legend(measured: Collection[str], top: int) -> Iterator[str]:
    x = _LEFT
    for index, (who, label) in enumerate(_SERIES.items()):
        if who not in measured:
            continue
        yield f'<path class="s{index}" d="M{x} {top} h18"/>'
        yield f'<text x="{x + 24}" y="{top + 4}">{escape(label)}</text>'
        x += 44 + 7 * len(label)
