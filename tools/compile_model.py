"""What a replica does: load, compile some models, save; and what it measured.

Run as `python -m tools.compile_model REQUEST`, with a request in JSON; the last line printed
is the outcome in JSON. The values at the top are for both sides; torch is imported only by the
process that compiles.
"""

from __future__ import annotations

import copy
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

# Not dynamic unless asked for: each length is compiled by itself, so the artifacts of one do not
# depend on the order in which a process met the lengths.
_COMPILED: dict[str, dict[str, Any]] = {
    "static": {"dynamic": False},
    "dynamic": {"dynamic": True},
    "max-autotune": {"dynamic": False, "mode": "max-autotune"},
    "freezing": {"dynamic": False, "options": {"freezing": True}},
    "training": {"dynamic": False},
}

# Of a training: the second step's loss is of what the first one changed.
_STEPS = 2
_LEARNING_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Question:
    """One call of a compiled model, or a few steps of its training.

    Attributes:
        model: The name of a small model.
        length: Of its input, in tokens or pixels.
        way: How it is compiled: static, dynamic, max-autotune, freezing or training.
    """

    model: str
    length: int
    way: str = "static"


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
        packages: Before the save, have torch write the packages of TORCH_CACHING_PRECOMPILE:
            only torch.compiler.save_cache_artifacts() does (torch/_dynamo/precompile_context.py).
        save: Save at the end.
    """

    questions: tuple[Question, ...]
    load: bool = False
    references: tuple[str, ...] = ()
    outputs: str | None = None
    rendezvous: str | None = None
    packages: bool = False
    save: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """What a question took, with the torch.compile() of a model that it was the first to need.

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


def compile_in(replica: Replica, request: Request, **changes: str | None) -> Outcome:
    """Run a request in a new process of the replica.

    Args:
        replica: Where to run.
        request: What to do.
        changes: Variables of the replica's environment: settings of torch.

    Raises:
        ReplicaFailedError: The process failed; the message has its output.
    """
    line = replica.run(__name__, json.dumps(asdict(request)), **changes)
    answer: dict[str, Any] = json.loads(line)
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


@dataclass(slots=True)
class _Subject:
    """A model of this process, and what torch.compile made of it when it was first asked."""

    model: nn.Module
    compiled: Callable[[Tensor], Tensor] | None = None


def _respond(forward: Callable[[Tensor], Tensor], asked: Tensor) -> Tensor:
    import torch

    # Not inference_mode(): there torch 2.13 fails on the packages of its TORCH_CACHING_PRECOMPILE
    # (an AssertionError in torch/_dynamo/utils.py, CleanupHook.create), wherever they were made.
    with torch.no_grad():
        return forward(asked)


def _train(forward: Callable[[Tensor], Tensor], model: nn.Module, asked: Tensor) -> Tensor:
    """Take some steps; returns their losses and the whole state of the model after them."""
    import torch
    from torch.nn.functional import nll_loss

    model.train()
    parameters = list(model.parameters())
    losses: list[Tensor] = []
    for _ in range(_STEPS):
        loss = nll_loss(forward(asked), torch.arange(len(asked)))
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=_LEARNING_RATE)
        losses.append(loss.detach().reshape(1))
    state = (value.detach().float().flatten() for value in model.state_dict().values())
    return torch.cat([*losses, *state])


def _answer_compiled(question: Question, subject: _Subject, asked: Tensor) -> Tensor:
    import torch

    if subject.compiled is None:
        # Ignored: torch annotates the backend as a bare Callable.
        subject.compiled = torch.compile(  # pyright: ignore[reportUnknownMemberType]
            subject.model, **_COMPILED[question.way]
        )
    if question.way == "training":
        return _train(subject.compiled, subject.model, asked)
    return _respond(subject.compiled, asked)


def _answer(question: Question, subject: _Subject, reference: Tensor | None) -> tuple[Tensor, Call]:
    import torch

    from tools.small_models import example

    cache_root = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    asked = example(question.model, question.length)
    eager = copy.deepcopy(subject.model)
    before = artifacts_below(cache_root)
    wall, cpu = time.perf_counter(), _cpu_seconds()
    output = _answer_compiled(question, subject, asked)
    wall, cpu = time.perf_counter() - wall, _cpu_seconds() - cpu
    made = written_since(before, cache_root)
    training = question.way == "training"
    expected = _train(eager, eager, asked) if training else _respond(eager, asked)
    return output, Call(
        wall_seconds=wall,
        cpu_seconds=cpu,
        made=made,
        eager_difference=float((output - expected).abs().max()),
        difference=None if reference is None else float((output - reference).abs().max()),
        equal=None if reference is None else torch.equal(output, reference),
    )


def _answer_all(request: Request) -> tuple[Call, ...]:
    import torch

    from tools.small_models import build

    subjects = {(each.model, each.way): _Subject(build(each.model)) for each in request.questions}
    reference: dict[str, Tensor] = {}
    for path in request.references:
        reference |= torch.load(path, weights_only=True)
    outputs: dict[str, Tensor] = {}
    calls: list[Call] = []
    for question in request.questions:
        name = f"{question.model} {question.length} {question.way}"
        subject = subjects[question.model, question.way]
        outputs[name], call = _answer(question, subject, reference.get(name))
        calls.append(call)
    if request.packages:
        torch.compiler.save_cache_artifacts()
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
