"""What max-autotune measured, in the one file in which Inductor keeps it."""

from __future__ import annotations

import json
import secrets
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.cache_trees import Tree
    from tests.support.sites import Host, Site

TIMINGS = f"cache/{'0123456789abcdef' * 4}"
"""Its path below the inductor root."""

Measured = dict[str, float]
"""By operation: seconds."""


def timings(measured: Measured) -> Tree:
    """The file as Inductor writes it."""
    cache = {operation: {"inputs": {"highest": value}} for operation, value in measured.items()}
    content = {"system": {"hash": TIMINGS.rpartition("/")[2]}, "cache": cache}
    return {TIMINGS: json.dumps(content, indent=4).encode()}


def parse(data: bytes) -> Measured:
    """What a file says; like Inductor, this fails on one that is not whole."""
    content: dict[str, Any] = json.loads(data)
    assert content["system"] == {"hash": TIMINGS.rpartition("/")[2]}
    return {operation: value["inputs"]["highest"] for operation, value in content["cache"].items()}


def measured_by(host: Host) -> Measured:
    """What the file of a host says."""
    return parse((host.root / TIMINGS).read_bytes())


def measure(host: Host, measured: Measured) -> None:
    """Add to the file as Inductor does: read it, and rename a new one to its place."""
    path = host.root / TIMINGS
    path.parent.mkdir(parents=True, exist_ok=True)
    known = measured_by(host) if path.is_file() else {}
    temporary = path.with_name(f".{threading.get_ident()}.tmp")
    temporary.write_bytes(timings({**known, **measured})[TIMINGS])
    temporary.replace(path)


def stored_in(site: Site) -> Measured:
    """What a new host gets."""
    host = site.host(f"new {secrets.token_hex(4)}")
    report = host.load()
    assert (report.unavailable, report.problems) == (0, ())
    return measured_by(host)
