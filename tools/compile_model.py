"""What a replica does: load, compile some models, save; and what it measured.

Run as `python -m tools.compile_model REQUEST`, with a request in JSON; the last line printed
is the outcome in JSON. The values at the top are for both sides; torch is imported only by the
process that compiles.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools import transfers
from tools.replica import Replica, artifacts_below, written_since

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

_RENDEZVOUS_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Question:
    """One call of a compiled model: which model, and the length of its input in tokens."""

    model: str
    length: int


@dataclass(frozen=True, slots=True)
class Request:
    """What one process of a replica shall do, in this order.

    Attributes:
        load: Load before torch is imported.
        questions: The calls to make. Each distinct one compiles a graph of its own. Without
            any, torch is not imported.
        references: Files of outputs to compare with; those they lack are not compared.
        outputs: The file to write the outputs to.
        rendezvous: Before the save, wait until two processes have come to this folder.
        save: Save at the end.
    """

    questions: tuple[Question, ...]
    load: bool = False
    references: tuple[str, ...] = ()
    outputs: str | None = None
    rendezvous: str | None = None
    save: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """The first call for one question.

    Attributes:
        wall_seconds: Time that passed.
        cpu_seconds: Processor time of this process and its C++ compilers.
        made: Artifacts that were new, or written again, after the call.
        eager_difference: Largest difference from the same model without compilation.
        difference: Largest difference from the reference; None without one.
        equal: Whether the output is the reference, bit by bit; None without one.
    """

    wall_seconds: float
    cpu_seconds: float
    made: tuple[str, ...]
    eager_difference: float
    difference: float | None
    equal: bool | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one process of a replica measured.

    Attributes:
        import_seconds: What the import of torch and of its compiler took.
        calls: In the order of the questions.
        loaded: None unless a load was asked for.
        saved: None unless a save was asked for.
    """

    import_seconds: float
    calls: tuple[Call, ...]
    loaded: transfers.Loaded | None
    saved: transfers.Saved | None


def compile_in(replica: Replica, request: Request) -> Outcome:
    """Run a request in a new process of the replica.

    Raises:
        ReplicaFailedError: The process failed; the message has its output.
    """
    answer: dict[str, Any] = json.loads(replica.run(__name__, json.dumps(asdict(request))))
    loaded, saved = answer["loaded"], answer["saved"]
    return Outcome(
        import_seconds=answer["import_seconds"],
        calls=tuple(Call(made=tuple(call.pop("made")), **call) for call in answer["calls"]),
        loaded=None if loaded is None else transfers.Loaded(**loaded),
        saved=None if saved is None else transfers.Saved(**saved),
    )


def _cpu_seconds() -> float:
    """Processor time of this process and of those children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _import_torch() -> float:
    """Import what every process of torch.compile imports, and return the seconds it took."""
    start = time.perf_counter()
    # The two behind torch are what torch.compile would otherwise import, unmeasured.
    for module in ("torch", "torch._dynamo", "torch._inductor.compile_fx"):
        importlib.import_module(module)
    return time.perf_counter() - start


def _compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    import torch

    # Not dynamic: each length is compiled by itself, so the artifacts of one do not depend on
    # the order in which a process met the lengths.
    # Ignored: torch annotates the backend as a bare Callable.
    return torch.compile(model, dynamic=False)  # pyright: ignore[reportUnknownMemberType]


def _answer(
    question: Question,
    compiled: Callable[[Tensor], Tensor],
    eager: Callable[[Tensor], Tensor],
    reference: Tensor | None,
) -> tuple[Tensor, Call]:
    import torch

    from tools.small_models import tokens

    cache_root = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    asked = tokens(question.length)
    before = artifacts_below(cache_root)
    wall, cpu = time.perf_counter(), _cpu_seconds()
    with torch.inference_mode():
        output = compiled(asked)
    wall, cpu = time.perf_counter() - wall, _cpu_seconds() - cpu
    made = written_since(before, cache_root)
    with torch.inference_mode():
        eager_difference = float((output - eager(asked)).abs().max())
    return output, Call(
        wall_seconds=wall,
        cpu_seconds=cpu,
        made=made,
        eager_difference=eager_difference,
        difference=None if reference is None else float((output - reference).abs().max()),
        equal=None if reference is None else torch.equal(output, reference),
    )


def _answer_all(request: Request) -> tuple[Call, ...]:
    import torch

    from tools.small_models import build

    names = {question.model for question in request.questions}
    eager = {name: build(name) for name in names}
    compiled = {name: _compiled(model) for name, model in eager.items()}
    reference: dict[str, Tensor] = {}
    for path in request.references:
        reference |= torch.load(path, weights_only=True)
    outputs: dict[str, Tensor] = {}
    calls: list[Call] = []
    for question in request.questions:
        name = f"{question.model} {question.length}"
        outputs[name], call = _answer(
            question, compiled[question.model], eager[question.model], reference.get(name)
        )
        calls.append(call)
    if request.outputs is not None:
        torch.save(outputs, request.outputs)
    return tuple(calls)


def _meet(folder: Path) -> None:
    """Return when two processes have called this for the same folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + _RENDEZVOUS_SECONDS
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody else came to {folder}")
        time.sleep(0.005)


def main(argument: str) -> None:
    """Do what the request says and print the outcome."""
    fields: dict[str, Any] = json.loads(argument)
    questions = tuple(Question(**question) for question in fields.pop("questions"))
    request = Request(questions=questions, **fields)
    loaded = transfers.load() if request.load else None
    import_seconds = _import_torch() if questions else 0.0
    calls = _answer_all(request) if questions else ()
    if request.rendezvous is not None:
        _meet(Path(request.rendezvous))
    saved = transfers.save() if request.save else None
    outcome = Outcome(import_seconds, calls, loaded, saved)
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main(sys.argv[1])
