"""Calls of the product, each in a new process that measures itself.

The clock of such a process starts with its first line, so the interpreter's own start is not in it,
and everything that the product imports is.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PROGRAM = """
import time
begin = time.perf_counter()
import b10_transfer
from b10_transfer.operations import imports
imports.import_for({operation!r})
ready = time.perf_counter()
{call}
end = time.perf_counter()
import json, resource
status = {{}}
with open("/proc/self/status") as lines:
    for line in lines:
        name, _, value = line.partition(":")
        status[name] = value.split()
helpers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([ready - begin, end - ready, int(status["VmHWM"][0]), helpers]))
"""

_CALLS = {
    "load": "assert b10_transfer.load_compile_cache().name in ('SUCCESS', 'SKIPPED')",
    "save": "assert b10_transfer.save_compile_cache().name in ('SUCCESS', 'SKIPPED')",
    "list": "assert b10_transfer.list_available_caches()",
    "info": "assert b10_transfer.get_cache_info()['b10fs_cache_exists']",
    "gc": "from b10_transfer.operations import upkeep; upkeep.collect()",
}
_OPERATIONS = {"list": "look", "info": "look", "gc": "collect"}
"""What the product calls the operations of other names."""


@dataclass(frozen=True, slots=True)
class Took:
    """What one action cost.

    Attributes:
        seconds: from its begin to its end; of the product, its imports included.
        cpu_seconds: processor time of all its processes; of the product, the interpreter's start
            included. It says more than `seconds` on a machine that others use.
        call_seconds: the product's call alone; None for others.
        peak_bytes: the most memory of the process, its largest helper process added; None for
            others.
    """

    seconds: float
    cpu_seconds: float
    call_seconds: float | None = None
    peak_bytes: int | None = None


class CallFailedError(Exception):
    """A call of the product ended otherwise than it should; the message has its output."""


def call(name: str, root: Path, store: Path, home: Path, **variables: str) -> Took:
    """Call the product in a new process, as a replica of its own.

    Args:
        name: load, save, list, info or gc.
        root: the cache root of Inductor.
        store: the shared folder.
        home: a folder for everything else that belongs to the replica.
        variables: environment variables besides.

    Raises:
        CallFailedError: the process failed, or the status was not a good one.
    """
    text = _PROGRAM.format(operation=_OPERATIONS.get(name, name), call=_CALLS[name])
    replica = Replica(store=store, cache_root=root, home=home, host_temporary=home / "tmp")
    # As installed: what is imported was compiled before.
    environment = replica.environment(B10_AUTO_GC="0", PYTHONDONTWRITEBYTECODE=None, **variables)
    return _run(text, home, environment)


def cpu_seconds() -> float:
    """Return the processor time of all processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(text: str, home: Path, environment: Mapping[str, str]) -> Took:
    for folder in (home / "work", home / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    before = cpu_seconds()
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CallFailedError(done.stderr)
    imported, called, peak, helpers = json.loads(done.stdout.splitlines()[-1])
    return Took(imported + called, cpu_seconds() - before, called, (peak + helpers) << 10)
