"""Real models, compiled by real torch on the CPU, each replica in a process of its own."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tools import compile_model
from tools.compile_model import Outcome, Question, Request
from tools.replica import Replica, artifacts_below

if TYPE_CHECKING:
    from pathlib import Path

    from tools.transfers import Loaded, Saved

pytestmark = pytest.mark.torch

FIRST = Question("transformer", 32)
SECOND = Question("transformer", 48)
OTHER_MODEL = Question("gelu-perceptron", 8)

# Inductor itself cannot compile below a path with a space: it splits its compiler's command line
# there. A tree that was loaded into such a path works, as long as nothing is left to compile.
WARM_CACHE_ROOTS = {
    "the folder of another user": "elsewhere/torchinductor_bob",
    "a path with a space": "my models/inductor cache",
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A replica that compiled something, with what it measured and its file of outputs."""

    replica: Replica
    outcome: Outcome
    outputs: str


def loaded_by(outcome: Outcome) -> Loaded:
    assert outcome.loaded is not None
    return outcome.loaded


def saved_by(outcome: Outcome) -> Saved:
    assert outcome.saved is not None
    return outcome.saved


def compile_in(replica: Replica, request: Request) -> Outcome:
    """Run without the precompiled header, which all replicas here have in common."""
    return compile_model.compile_in(replica, request, B10_CACHE_ROOTS="inductor,triton")


def contents(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in artifacts_below(folder)}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def other_model(host: Path) -> Compiled:
    """Another model, compiled and not saved. Its compilation makes torch's precompiled header."""
    replica = Replica(
        store=host / "no store",
        cache_root=host / "other" / "torchinductor_ann",
        home=host / "other",
        host_temporary=host / "tmp",
    )
    outputs = str(host / "other.pt")
    outcome = compile_in(replica, Request((OTHER_MODEL,), outputs=outputs))
    assert outcome.calls[0].made
    return Compiled(replica, outcome, outputs)


@pytest.fixture(scope="module")
def cold(host: Path, other_model: Compiled) -> Compiled:
    """The transformer, compiled for one shape and saved into an empty store."""
    replica = Replica(
        store=host / "store",
        cache_root=host / "cold" / "torchinductor_ann",
        home=host / "cold",
        host_temporary=other_model.replica.host_temporary,
    )
    outputs = str(host / "cold.pt")
    outcome = compile_in(replica, Request((FIRST,), outputs=outputs, save=True))
    assert saved_by(outcome).status == "SUCCESS"
    assert saved_by(outcome).added == len(artifacts_below(replica.cache_root)) > 0
    return Compiled(replica, outcome, outputs)


@pytest.fixture(scope="module")
def warm(host: Path, cold: Compiled) -> dict[str, Compiled]:
    """New replicas with empty caches: each loads, makes the same call, and saves."""
    request = Request((FIRST,), load=True, references=(cold.outputs,), save=True)
    runs: dict[str, Compiled] = {}
    for name, cache_root in WARM_CACHE_ROOTS.items():
        replica = Replica(
            store=cold.replica.store,
            cache_root=host / cache_root,
            home=host / name,
            host_temporary=cold.replica.host_temporary,
        )
        runs[name] = Compiled(replica, compile_in(replica, request), cold.outputs)
    return runs


def new_replica(name: str, tmp_path: Path, cold: Compiled, store: Path) -> Replica:
    return Replica(
        store=store,
        cache_root=tmp_path / name / "torchinductor_eve",
        home=tmp_path / name,
        host_temporary=cold.replica.host_temporary,
    )


@pytest.fixture
def store(tmp_path: Path, cold: Compiled) -> Path:
    """A copy of the store, for tests that may add to it."""
    return shutil.copytree(cold.replica.store, tmp_path / "store")


@pytest.mark.parametrize("place", WARM_CACHE_ROOTS)
def test_a_replica_that_loaded_compiles_nothing(
    place: str, cold: Compiled, warm: dict[str, Compiled]
) -> None:
    replica, outcome = warm[place].replica, warm[place].outcome
    assert loaded_by(outcome).status == "SUCCESS"
    assert loaded_by(outcome).loaded == saved_by(cold.outcome).added
    assert outcome.calls[0].made == ()
    assert saved_by(outcome).recompiled == 0
    assert contents(replica.cache_root).keys() == contents(cold.replica.cache_root).keys()


@pytest.mark.parametrize("place", WARM_CACHE_ROOTS)
def test_a_replica_that_loaded_computes_the_same(place: str, warm: dict[str, Compiled]) -> None:
    call = warm[place].outcome.calls[0]
    assert call.equal is True
    assert call.eager_difference < 1e-5


def test_the_first_call_after_a_load_costs_under_a_fifth_of_the_cold_one(
    cold: Compiled, warm: dict[str, Compiled]
) -> None:
    # Processor time, of the C++ compilers too: other processes of the machine hardly add to it.
    # The best of the warm calls, as one may still have met a busy neighbour.
    cheapest = min(run.outcome.calls[0].cpu_seconds for run in warm.values())
    assert cheapest < cold.outcome.calls[0].cpu_seconds / 5


@pytest.mark.parametrize("place", WARM_CACHE_ROOTS)
def test_a_save_by_a_replica_that_compiled_nothing_is_skipped(
    place: str, warm: dict[str, Compiled]
) -> None:
    saved = saved_by(warm[place].outcome)
    assert (saved.status, saved.added, saved.uploaded_bytes) == ("SKIPPED", 0, 0)


def test_a_save_with_nothing_new_writes_nothing(cold: Compiled, store: Path) -> None:
    replica = Replica(
        store=store,
        cache_root=cold.replica.cache_root,
        home=cold.replica.home,
        host_temporary=cold.replica.host_temporary,
    )
    before = contents(store)
    saved = saved_by(compile_in(replica, Request((), save=True)))
    assert (saved.status, saved.added, saved.uploaded_bytes) == ("SKIPPED", 0, 0)
    assert contents(store) == before


@pytest.mark.slow
def test_a_second_shape_adds_only_itself_and_the_next_replica_has_both(
    tmp_path: Path, cold: Compiled, store: Path
) -> None:
    second = new_replica("second", tmp_path, cold, store)
    both = str(tmp_path / "both.pt")
    adding = compile_in(
        second,
        Request((FIRST, SECOND), load=True, references=(cold.outputs,), outputs=both, save=True),
    )
    known, unknown = adding.calls
    saved, first_saved = saved_by(adding), saved_by(cold.outcome)
    assert (known.made, known.equal) == ((), True)
    assert saved.status == "SUCCESS"
    assert saved.added == saved.recompiled == len(unknown.made) > 0
    # A save that wrote the first shape again would write all that the manifest references. What is
    # new is about half of it: other shapes are other kernels.
    assert saved.stored_bytes > first_saved.stored_bytes
    assert 0 < saved.uploaded_bytes < saved.stored_bytes * 2 / 3

    third = new_replica("third", tmp_path, cold, store)
    warm = compile_in(third, Request((SECOND, FIRST), load=True, references=(both,)))
    assert loaded_by(warm).loaded == first_saved.added + saved.added
    assert [(call.made, call.equal) for call in warm.calls] == [((), True), ((), True)]


def test_a_load_leaves_an_unrelated_file_alone(tmp_path: Path, cold: Compiled) -> None:
    replica = new_replica("visited", tmp_path, cold, cold.replica.store)
    unrelated = replica.cache_root / "notes" / "mine.txt"
    unrelated.parent.mkdir(parents=True)
    unrelated.write_text("not an artifact of any compiler")
    before = artifacts_below(replica.cache_root)

    outcome = compile_in(replica, Request((), load=True))
    assert loaded_by(outcome).status == "SUCCESS"
    after = artifacts_below(replica.cache_root)
    assert {path: after[path] for path in before} == before
    expected = contents(cold.replica.cache_root)
    expected["notes/mine.txt"] = b"not an artifact of any compiler"
    assert contents(replica.cache_root) == expected


def test_a_load_completes_a_tree_in_which_another_model_was_compiled(
    tmp_path: Path, cold: Compiled, other_model: Compiled
) -> None:
    replica = new_replica("shared", tmp_path, cold, cold.replica.store)
    shutil.copytree(other_model.replica.cache_root, replica.cache_root)
    before = artifacts_below(replica.cache_root)

    outcome = compile_in(
        replica, Request((FIRST, OTHER_MODEL), load=True, references=(cold.outputs,))
    )
    assert loaded_by(outcome).status == "SUCCESS"
    assert [call.made for call in outcome.calls] == [(), ()]
    assert outcome.calls[0].equal is True
    after = artifacts_below(replica.cache_root)
    assert {path: after[path] for path in before} == before


@pytest.mark.slow
def test_two_replicas_that_save_at_once_lose_nothing(tmp_path: Path, cold: Compiled) -> None:
    store = tmp_path / "store"
    questions = [Question("gelu-perceptron", 24), Question("tanh-perceptron", 24)]

    def compile_and_save(question: Question) -> Outcome:
        request = Request(
            (question,),
            outputs=str(tmp_path / f"{question.model}.pt"),
            rendezvous=str(tmp_path / "rendezvous"),
            save=True,
        )
        return compile_in(new_replica(question.model, tmp_path, cold, store), request)

    with ThreadPoolExecutor(max_workers=2) as threads:
        outcomes = list(threads.map(compile_and_save, questions))
    assert [saved_by(outcome).status for outcome in outcomes] == ["SUCCESS", "SUCCESS"]

    third = new_replica("third", tmp_path, cold, store)
    references = tuple(str(tmp_path / f"{question.model}.pt") for question in questions)
    warm = compile_in(third, Request(tuple(questions), load=True, references=references))
    assert [(call.made, call.equal) for call in warm.calls] == [((), True), ((), True)]
