"""Compile some Triton kernels for a GPU that need not be there; load before, save after.

Run as `python -m tools.compile_kernels REQUEST`, with a request in JSON; the last line printed
is the outcome in JSON. The kernels are compiled down to device code for compute capability 9.0,
so the cache gets the same files as on a real GPU; none is launched.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tools import transfers

if TYPE_CHECKING:
    from tools.replica import Replica


@dataclass(frozen=True, slots=True)
class Request:
    """What one process shall do, in this order."""

    load: bool = False
    compile: bool = False
    save: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """One compiled kernel.

    Attributes:
        name: The name of its function.
        hit: Whether Triton found it in its cache.
        code: SHA-256 of the device code that Triton handed out.
    """

    name: str
    hit: bool
    code: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one process did."""

    loaded: transfers.Loaded | None
    kernels: tuple[Kernel, ...]
    saved: transfers.Saved | None


def compile_in(replica: Replica, request: Request, **changes: str | None) -> Outcome:
    """Run a request in a new process of the replica.

    Args:
        replica: Where to run.
        request: What to do.
        changes: Variables of the replica's environment: where Triton keeps its cache.

    Raises:
        ReplicaFailedError: The process failed; the message has its output.
    """
    line = replica.run(__name__, json.dumps(asdict(request)), **changes)
    answer: dict[str, Any] = json.loads(line)
    loaded, saved = answer["loaded"], answer["saved"]
    return Outcome(
        loaded=None if loaded is None else transfers.Loaded(**loaded),
        kernels=tuple(Kernel(**kernel) for kernel in answer["kernels"]),
        saved=None if saved is None else transfers.Saved(**saved),
    )


def _compile() -> tuple[Kernel, ...]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from tools import kernels

    hits: list[bool] = []

    def listen(*, cache_hit: bool, **_others: object) -> None:
        hits.append(cache_hit)

    triton.knobs.compilation.listener = listen
    target = GPUTarget("cuda", 90, 32)
    compiled: list[Kernel] = []
    for function, signature in kernels.SIGNATURES:
        source = ASTSource(function, signature, {"block": kernels.BLOCK})
        kernel = triton.compile(source, target=target)
        code = hashlib.sha256(kernel.asm["cubin"]).hexdigest()
        compiled.append(Kernel(kernel.name, hits[-1], code))
    return tuple(compiled)


def main(argument: str) -> None:
    """Do what the request says and print the outcome."""
    request = Request(**json.loads(argument))
    loaded = transfers.load() if request.load else None
    compiled = _compile() if request.compile else ()
    saved = transfers.save() if request.save else None
    print(json.dumps(asdict(Outcome(loaded, compiled, saved))))


if __name__ == "__main__":
    main(sys.argv[1])
