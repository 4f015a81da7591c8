"""A compiled sum in a process of its own, which is told the vector instruction set to compile for.

Run as `python -m tests.support.vector_runs REQUEST`, the request in JSON. Each thing is printed, as
a line of JSON, as soon as it is known: code for another instruction set may end the process.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.replica import Replica, artifacts_below, written_since

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch._dynamo.callback import CallbackArgs

    from tools.transfers import Loaded, Saved

_TIME_LIMIT_SECONDS = 300.0

_FASTER = {
    # With one kernel, a precompiled header for each instruction set costs more than it saves.
    "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0",
    # torch believes what the CPU says of itself: its trial compilations take as long as the kernel.
    "TORCHINDUCTOR_VEC_ISA_OK": "1",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What a process found out; None for what it did not live to see, or was not asked for.

    Attributes:
        died: whether a signal ended it.
        loaded: what its load brought.
        found: artifacts in the cache root before anything was compiled.
        hits: graphs that Inductor says it took from its cache.
        misses: graphs that it says it did not find there.
        made: artifacts that were new, or written again, after the compiled call.
        outputs: what the compiled function returned.
        difference: the largest relative difference from what it returns without compilation.
        saved: what its save published.
    """

    died: bool
    loaded: Loaded | None = None
    found: int | None = None
    hits: int | None = None
    misses: int | None = None
    made: tuple[str, ...] | None = None
    outputs: tuple[float, ...] | None = None
    difference: float | None = None
    saved: Saved | None = None


def compile_with_product(replica: Replica, capability: str, *, save: bool = False) -> Run:
    """Load, compile for what ATEN_CPU_CAPABILITY says, and save when asked to."""
    return _run(replica, {"load": True, "save": save}, ATEN_CPU_CAPABILITY=capability)


def compile_without_product(replica: Replica, capability: str) -> Run:
    """Compile for what ATEN_CPU_CAPABILITY says; nothing but torch is imported or set."""
    own = {name: None for name in replica.environment() if name.startswith(("B10", "BASETEN_"))}
    request = {"load": False, "save": False}
    return _run(replica, request, **own, ATEN_CPU_CAPABILITY=capability)


def _run(replica: Replica, request: dict[str, bool], **changes: str | None) -> Run:
    for folder in (replica.store, replica.home / "work", replica.host_temporary):
        folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(request)],
        cwd=replica.home,
        env=replica.environment(**_FASTER, **changes),
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode <= 0, done.stderr
    answers: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        answers |= json.loads(line)
    return _as_run(answers, died=done.returncode < 0)


def _as_run(answers: dict[str, Any], *, died: bool) -> Run:
    transfers = importlib.import_module("tools.transfers")
    types = {"loaded": transfers.Loaded, "saved": transfers.Saved}
    values: dict[str, Any] = {
        name: types[name](**value) if name in types else value for name, value in answers.items()
    }
    for name in ("made", "outputs"):
        if name in values:
            values[name] = tuple(values[name])
    return Run(died=died, **values)


def _tell(**found: object) -> None:
    print(json.dumps(found), flush=True)  # noqa: T201  # the parent reads it


def _partition(energies: Tensor) -> Tensor:
    """A sum along the vectors: lanes that are left out or added count in every number."""
    return energies.exp().sum(dim=-1)


def _tell_of_hits(_: CallbackArgs) -> None:
    counters: Any = importlib.import_module("torch._dynamo.utils").counters
    inductor = counters["inductor"]
    _tell(hits=inductor["fxgraph_cache_hit"], misses=inductor["fxgraph_cache_miss"])


def _compile() -> None:
    import torch

    importlib.import_module("torch._dynamo.callback").on_compile_end(_tell_of_hits)
    cache_root = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    before = artifacts_below(cache_root)
    _tell(found=len(before))
    energies = torch.randn(32, 256, generator=torch.Generator().manual_seed(0))
    expected = _partition(energies)
    # Ignored: torch annotates the backend as a bare Callable.
    compiled: Callable[[Tensor], Tensor] = torch.compile(_partition, dynamic=False)  # pyright: ignore[reportUnknownMemberType]
    outputs = compiled(energies)
    _tell(
        made=written_since(before, cache_root),
        outputs=[float(number) for number in outputs],
        difference=float(((outputs - expected) / expected).abs().max()),
    )


def main(argument: str) -> None:
    """Do what the request says."""
    request: dict[str, bool] = json.loads(argument)
    if request["load"]:
        _tell(loaded=asdict(importlib.import_module("tools.transfers").load()))
    _compile()
    if request["save"]:
        _tell(saved=asdict(importlib.import_module("tools.transfers").save()))


if __name__ == "__main__":
    main(sys.argv[1])
