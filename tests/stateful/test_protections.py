"""The machine finds what is lost when a protection is taken out of the engine."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from b10_store.gc import stages as gc_stages
from b10_store.gc import trash
from b10_store.gc import visit as gc
from b10_store.packs import health as pack_health
from b10_store.packs import reader as fetch
from b10_store.remote.folder_names import PACKS
from b10_store.save import save, session
from tests.support.stateful_damage import DamageMachine
from tests.support.stateful_stalls import StallMachine
from tests.support.unprotected import (
    no_fence,
    no_witness,
    nothing_is_referenced,
    one_look,
    publish_by_name,
)
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from b10_store.packs.reader import Fetched, Sink, Wanted
    from b10_store.remote.protocol import Remote
    from b10_store.save.plan import SavePlan

SEEDS = 8
EXAMPLES = 150

pytestmark = pytest.mark.slow


def everything_is_sound(*_: object) -> bool:
    return True


class LatePacks(WrappedRemote):
    """Packs are written after the manifest that names them."""

    def __init__(self, inner: Remote) -> None:
        super().__init__(inner)
        self._packs: list[tuple[str, bytes]] = []

    def create(self, folder: str, name: str | Callable[[], str], chunks: Iterable[bytes]) -> None:
        if folder != PACKS:
            super().create(folder, name, chunks)
            return
        data = b"".join(chunks)
        self._packs.append((name if isinstance(name, str) else name(), data))

    def write_packs(self) -> None:
        for name, data in self._packs:
            super().create(PACKS, name, [data])


def publish_first(real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def saved(remote: Remote, *arguments: Any) -> Any:
        late = LatePacks(remote)
        outcome = real(late, *arguments)
        late.write_packs()
        return outcome

    return saved


def any_bytes(items: Sequence[Wanted], raw: bytes, start: int, sink: Sink, result: Fetched) -> None:
    sink.put([(item.digest, raw[item.offset - start :][: item.size]) for item in items])
    result.delivered.update(item.digest for item in items)


def carries_nothing(real: Callable[..., Any]) -> Callable[..., Any]:
    def finished(plan: SavePlan, *arguments: Any) -> Any:
        return real(dataclasses.replace(plan, kept={}), *arguments)

    return finished


def removed_by_environment(remote: Remote, reader: Any, address: Any) -> int:
    moved = 0
    for name in reader.names():
        if name.address.environment_key == address.environment_key:
            remote.rename(name.manifest_path, f"trash/0000000000000-{'0' * 32}/{name}.manifest")
            moved += 1
    return moved


def patched(owner: object, name: str, make: Callable[..., object]) -> tuple[object, str, object]:
    return owner, name, make(getattr(owner, name))


def protections() -> dict[str, tuple[type[StallMachine], tuple[object, str, object]]]:
    stages = gc_stages.Stages
    visit = vars(gc)["_Visit"]
    return {
        "fence": (StallMachine, (stages, "_fence", no_fence)),
        "witness": (StallMachine, (stages, "_witness", no_witness)),
        "token written in place": (StallMachine, (session.Session, "publish", publish_by_name)),
        "looking after the token": (StallMachine, patched(save, "_look", one_look)),
        "packs before the manifest": (
            StallMachine,
            patched(save, "_save_in_session", publish_first),
        ),
        "reading manifests again": (StallMachine, (gc, "referenced_packs", nothing_is_referenced)),
        "nothing goes while a manifest cannot be read": (
            DamageMachine,
            (visit, "_is_sound", everything_is_sound),
        ),
        "digest of each artifact": (DamageMachine, (fetch, "_deliver", any_bytes)),
        "suspect packs verified by a save": (
            DamageMachine,
            (pack_health, "is_intact", everything_is_sound),
        ),
        "entries of others": (StallMachine, patched(save, "finish_entries", carries_nothing)),
        "a day in trash": (StallMachine, (trash, "TRASH_SECONDS", 0.0)),
        "namespaces apart": (
            StallMachine,
            (__import__("b10_store.store", fromlist=["remove"]), "remove", removed_by_environment),
        ),
    }


def is_found(machine: type[StallMachine], number: int) -> bool:
    try:
        run_state_machine_as_test(
            seed(number)(type("Machine", (machine,), {})),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=35,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
                report_multiple_bugs=False,
            ),
        )
    except Exception:  # noqa: BLE001  # whatever it is that the machine stumbles over
        return True
    return False


@pytest.mark.parametrize("protection", protections())
def test_a_protection_that_is_taken_out_is_missed(
    monkeypatch: pytest.MonkeyPatch, protection: str
) -> None:
    machine, (owner, name, replacement) = protections()[protection]
    monkeypatch.setattr(owner, name, replacement)
    assert any(is_found(machine, number) for number in range(SEEDS))
