"""Sizes, times and counts, formatted for people."""

from __future__ import annotations

import time

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


def size_text(count: int) -> str:
    """Return a size with about three digits, in powers of 1000: `0 B`, `12.3 kB`, `812 MB`."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        # A number that rounds up to a thousand belongs to the next unit.
        if value < 999.5 or unit == "TB":
            return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"
    raise AssertionError  # the loop ends with the largest unit


def span_text(seconds: float) -> str:
    """Return a span of time in one unit: `5 s`, `12 min`, `3 h`, `40 d`; at least `0 s`."""
    if seconds < _MINUTE:
        return f"{max(0, int(seconds))} s"
    if seconds < _HOUR:
        return f"{int(seconds / _MINUTE)} min"
    if seconds < 2 * _DAY:
        return f"{int(seconds / _HOUR)} h"
    return f"{int(seconds / _DAY)} d"


def short_span_text(seconds: float) -> str:
    """Return the same for narrow columns: `5s`, `12m`, `3h`, `40d`."""
    return span_text(seconds).replace(" min", "m").replace(" ", "")


def ago_text(then: float, now: float) -> str:
    """Return how long ago a time was: `3 h ago`."""
    return f"{span_text(now - then)} ago"


def date_text(then: float) -> str:
    """Return a time to the minute, in UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(then))
    except (OverflowError, ValueError, OSError):
        return "an impossible time"


def count_text(count: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: `1 manifest`, `2 manifests`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def until_text(seconds: float) -> str:
    """Return the time of day some seconds from now, for the end of a wait."""
    form = "%H:%M:%S" if seconds < 86_400 else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(time.time() + seconds))
