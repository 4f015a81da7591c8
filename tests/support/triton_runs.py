"""What Triton makes of many cache folders, one after the other, in one process.

Run as `python -m tests.support.triton_runs FOLDERS`, with the folders in JSON; the last line
printed is what became of each, in JSON. It compiles for compute capability 9.0, down to device
code, and launches nothing, so no GPU need be there.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tools.replica import Replica

KERNELS = ("add", "scale")
"""Two of `tools.kernels`, each with a folder of its own in the cache."""

TIMINGS = "timings"
"""What is called so in an answer is the timings of an autotuned kernel."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a process got of one kernel.

    Attributes:
        hit: whether it was found in the cache; None when Triton failed.
        error: the name of the exception that Triton raised, or "".
        texts: what was compiled on the way to the device code, and that.
        code: SHA-256 of the device code.
        notes: what a launch needs to know of it, as text.
    """

    hit: bool | None = None
    error: str = ""
    texts: str = ""
    code: str = ""
    notes: str = ""

    def found(self, *, hit: bool) -> Made:
        """The same result, from the cache or not."""
        return replace(self, hit=hit)


def make_in(replica: Replica, folders: Iterable[Path]) -> list[dict[str, Made]]:
    """Let a new process compile the kernels, and read timings, with each cache folder in turn.

    Args:
        replica: where to run.
        folders: of Triton.

    Returns:
        For each folder what became of each kernel, and of the timings.

    Raises:
        ReplicaFailedError: the process failed otherwise than in Triton.
    """
    line = replica.run(__name__, json.dumps([str(folder) for folder in folders]))
    answers: list[dict[str, dict[str, Any]]] = json.loads(line)
    return [{name: Made(**made) for name, made in answer.items()} for answer in answers]


def _compile(name: str) -> Made:
    triton = _module("triton")
    kernels = _module("tools.kernels")
    hits: list[bool] = []

    def listen(*, cache_hit: bool, **_others: object) -> None:
        hits.append(cache_hit)

    triton.knobs.compilation.listener = listen
    ((function, signature),) = [item for item in kernels.SIGNATURES if item[0].__name__ == name]
    source = _module("triton.compiler").ASTSource(function, signature, {"block": kernels.BLOCK})
    kernel = triton.compile(source, target=_gpu())
    return Made(
        hit=hits[-1],
        texts=" ".join(sorted(kernel.asm)),
        code=hashlib.sha256(kernel.asm["cubin"]).hexdigest(),
        notes=repr(kernel.metadata),
    )


def _tune() -> Made:
    """Ask for timings as an autotuned kernel does at its first call, and make some up."""
    triton = _module("triton")
    configs = [triton.Config({}, num_warps=number) for number in (4, 8)]
    tuner = triton.autotune(configs=configs, key=["count"])(_module("tools.kernels").add)

    def measure() -> None:
        tuner.configs_timings = {config: [float(config.num_warps)] for config in configs}

    hit = tuner.check_disk_cache((128,), configs, measure)
    timings = {str(config): time for config, time in tuner.configs_timings.items()}
    return Made(hit=hit, notes=json.dumps(timings, sort_keys=True))


def _gpu() -> object:
    return _module("triton.backends.compiler").GPUTarget("cuda", 90, 32)


def _module(name: str) -> Any:
    """A module, of which no types are known."""
    return importlib.import_module(name)


def _attempt(work: Callable[[], Made]) -> Made:
    try:
        return work()
    except Exception as error:  # noqa: BLE001  # what Triton raises is what is asked for
        return Made(error=type(error).__name__)


def main(argument: str) -> None:
    """Work with each of the folders and print what came of it."""
    knobs = _module("triton.knobs")
    # Autotuner asks the driver what the GPU is.
    _module("triton.runtime.driver").driver.set_active(SimpleNamespace(get_current_target=_gpu))
    answers: list[dict[str, Any]] = []
    for folder in json.loads(argument):
        knobs.cache.dir = folder
        made = {name: _attempt(partial(_compile, name)) for name in KERNELS}
        made[TIMINGS] = _attempt(_tune)
        answers.append({name: asdict(item) for name, item in made.items()})
    sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
