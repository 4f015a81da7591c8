"""Real models in the ways that torch can compile them: cold in one place, warm in another.

Each replica is a process of its own. The cold one compiles and saves. The control is a second
process in the same place that neither loads nor saves: what it makes again, and what it costs, is
torch's own doing. The warm one has another cache root, HOME, user and an empty TMPDIR.
"""

from __future__ import annotations

import filecmp
import functools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tools.compile_model import Call, Outcome, Question, Request, compile_in
from tools.replica import Replica, artifacts_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@dataclass(frozen=True, slots=True)
class Case:
    """A model compiled in one way.

    Attributes:
        server: Which replica serves it: those of one server are called in one process, in order.
        questions: The calls.
    """

    server: str
    questions: tuple[Question, ...]


CASES = {
    "training a convolutional network": Case("ways", (Question("convolutions", 8, "training"),)),
    "freezing": Case("more_ways", (Question("deep-convolutions", 16, "freezing"),)),
    "max-autotune": Case("ways", (Question("products", 32, "max-autotune"),)),
    "dynamic shapes": Case(
        "more_ways",
        (Question("deep-perceptron", 16, "dynamic"), Question("deep-perceptron", 24, "dynamic")),
    ),
    "a perceptron": Case("plain", (Question("deep-perceptron", 16),)),
    "a transformer with two shapes": Case(
        "plain", (Question("one-block-transformer", 16), Question("one-block-transformer", 24))
    ),
    "precompiled packages": Case("packages", (Question("deep-perceptron", 16),)),
}
VARIABLES = {"packages": {"TORCH_CACHING_PRECOMPILE": "1"}}

ALL_SERVERS = sorted({case.server for case in CASES.values()})

# What torch leaves only when a setting has had its effect.
TRACES = {"max-autotune": "cache", "precompiled packages": "dynamo"}


@dataclass(frozen=True, slots=True)
class Runs:
    """The three replicas of a server, with what their processes measured."""

    cold_replica: Replica
    warm_replica: Replica
    cold: Outcome
    control: Outcome
    warm: Outcome


def questions_of(server: str) -> tuple[Question, ...]:
    return tuple(
        question for case in CASES.values() if case.server == server for question in case.questions
    )


def replicas_of(host: Path, server: str) -> tuple[Replica, Replica]:
    """The place of the cold replica and of the control, and that of the warm one."""
    store, cold, warm = host / "store" / server, host / "cold" / server, host / "warm" / server
    return (
        # One TMPDIR for the cold replicas of all servers: torch builds its precompiled header, of
        # some 150 MB, once for all of them, and charges it to whichever comes first.
        Replica(store, cold / "torchinductor_ann", cold, host / "tmp", user="ann"),
        Replica(store, warm / "elsewhere" / "cache", warm, warm / "tmp", user="bob"),
    )


def run_all(host: Path, server: str) -> Runs:
    cold_replica, warm_replica = replicas_of(host, server)
    questions, variables = questions_of(server), VARIABLES.get(server, {})
    outputs = str(host / f"{server}.pt")
    making = Request(questions, outputs=outputs, packages=bool(variables), save=True)
    in_place = Request(questions, references=(outputs,))
    elsewhere = Request(questions, references=(outputs,), load=True)
    return Runs(
        cold_replica,
        warm_replica,
        cold=compile_in(cold_replica, making, **variables),
        control=compile_in(cold_replica, in_place, **variables),
        warm=compile_in(warm_replica, elsewhere, **variables),
    )


@pytest.fixture(scope="module")
def runs_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Runs]]:
    """What the replicas of a server did: they run once, when they are first asked for."""
    host = tmp_path_factory.mktemp("host")
    with ThreadPoolExecutor(max_workers=1) as thread:

        @functools.cache
        def start(server: str) -> Future[Runs]:
            return thread.submit(run_all, host, server)

        yield lambda server: start(server).result()


def calls_for(name: str, outcome: Outcome) -> list[Call]:
    case = CASES[name]
    answered = zip(questions_of(case.server), outcome.calls, strict=True)
    return [call for question, call in answered if question in case.questions]


def kinds_made(calls: list[Call]) -> Counter[str]:
    """How many artifacts of each kind were made: many are named by what is in them."""
    return Counter(kind_of(path) for call in calls for path in call.made)


def kind_of(path: str) -> str:
    folder = path.partition("/")[0]
    # Folders of two characters shard what lies in them by its key: there the suffix tells.
    return folder if len(folder) > 2 else path.rpartition(".")[2]


def cpu_seconds(calls: list[Call]) -> float:
    """Processor time, of the C++ compilers too: other processes hardly add to it."""
    return sum(call.cpu_seconds for call in calls)


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_all_that_was_saved_is_loaded(server: str, runs_of: Callable[[str], Runs]) -> None:
    runs = runs_of(server)
    assert runs.cold.saved is not None
    assert runs.warm.loaded is not None
    assert (runs.cold.saved.status, runs.warm.loaded.status) == ("SUCCESS", "SUCCESS")
    assert runs.warm.loaded.loaded == runs.cold.saved.added > 0
    assert artifacts_below(runs.warm_replica.cache_root).keys() == (
        artifacts_below(runs.cold_replica.cache_root).keys()
    )


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_model_makes_no_more_than_in_the_place_where_it_was_compiled(
    name: str, runs_of: Callable[[str], Runs]
) -> None:
    runs = runs_of(CASES[name].server)
    made = kinds_made(calls_for(name, runs.warm))
    in_place = kinds_made(calls_for(name, runs.control))
    assert made - in_place == Counter()
    assert kinds_made(calls_for(name, runs.cold))["so"] > in_place["so"] == made["so"] == 0


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_model_computes_the_same(name: str, runs_of: Callable[[str], Runs]) -> None:
    """The same bits: of outputs, and of losses, parameters and running statistics of a training."""
    runs = runs_of(CASES[name].server)
    calls = calls_for(name, runs.warm)
    assert all(call.equal is True for call in [*calls_for(name, runs.control), *calls])
    assert max(call.eager_difference for call in calls) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_the_first_calls_of_a_loaded_model_cost_under_a_fifth_of_the_cold_ones(
    name: str, runs_of: Callable[[str], Runs]
) -> None:
    """Under a tenth, or twice what torch needs where it had compiled, if that is more."""
    runs = runs_of(CASES[name].server)
    cold, control, warm = (
        cpu_seconds(calls_for(name, outcome)) for outcome in (runs.cold, runs.control, runs.warm)
    )
    assert warm < min(cold / 5, max(cold / 10, 2 * control))


@pytest.mark.parametrize("server", ALL_SERVERS)
def test_a_replica_with_an_empty_temporary_folder_builds_no_precompiled_header(
    server: str, runs_of: Callable[[str], Runs]
) -> None:
    runs = runs_of(server)
    cold, warm = runs.cold_replica.host_temporary, runs.warm_replica.host_temporary
    built = {path.name: path for path in cold.rglob("*.gch")}
    reused = {path.name: path for path in warm.rglob("*.gch")}
    assert reused
    # gcc never writes the same bytes twice: what is equal was brought.
    assert all(filecmp.cmp(built[name], path, shallow=False) for name, path in reused.items())


@pytest.mark.parametrize(("name", "trace"), TRACES.items())
def test_what_a_setting_leaves_is_loaded_too(
    name: str, trace: str, runs_of: Callable[[str], Runs]
) -> None:
    runs = runs_of(CASES[name].server)
    loaded = artifacts_below(runs.warm_replica.cache_root)
    assert [path for path in loaded if kind_of(path) == trace]


def test_a_model_compiled_for_every_length_is_compiled_once(
    runs_of: Callable[[str], Runs],
) -> None:
    name = "dynamic shapes"
    first, second = calls_for(name, runs_of(CASES[name].server).cold)
    assert first.made
    assert second.made == ()
