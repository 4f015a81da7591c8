"""The files in which compilers keep their measurements, and which they rewrite.

Inductor keeps the timings of max-autotune in one JSON file for each kind of device,
`cache/<hash of the device and versions>`; on CPUs its name is always the same
(torch/_inductor/codecache.py, CacheBase and PersistentCache).
"""

from __future__ import annotations

import json
from typing import cast

from b10_transfer.foreign_json import parse_object


def unite_timings(others: bytes, preferred: bytes) -> bytes:
    """Merge two files of timings; where both have the same key, `preferred` wins.

    A damaged file counts as empty.

    Returns:
        The merged bytes; one of the two unchanged when it already has everything.

    Raises:
        ValueError: both are damaged.
    """
    try:
        theirs = parse_object(others)
    except ValueError:
        parse_object(preferred)
        return preferred
    try:
        ours = parse_object(preferred)
    except ValueError:
        return others
    try:
        united = _unite(theirs, ours)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if united == ours:
        return preferred
    return others if united == theirs else json.dumps(united).encode()


def _unite(others: dict[str, object], preferred: dict[str, object]) -> dict[str, object]:
    united = dict(others)
    for name, value in preferred.items():
        other = united.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            value = _unite(cast("dict[str, object]", other), cast("dict[str, object]", value))
        united[name] = value
    return united
