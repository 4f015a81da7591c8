"""Anything in any order: hosts save, load, clean, die, stall; a model says what must be offered.

The same machine runs on a store in memory and on one in a real folder, with and without damage.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.stateful_damage import DamageMachine
from tests.support.stateful_stalls import StallMachine

STEPS = 35
"""In one example, at most."""
SEEDS = 5
"""Of the long run: each begins again, as what one draws later depends on what it drew before."""


class FolderMachine(StallMachine):
    """On a real folder."""

    kind = "folder"


class DamagedFolderMachine(DamageMachine):
    """On a real folder."""

    kind = "folder"


IN_MEMORY = [StallMachine, DamageMachine]
IN_A_FOLDER = [FolderMachine, DamagedFolderMachine]


def run(machine: type[StallMachine], examples: int, number: int | None = None) -> None:
    """Try that many orders; why one of them failed is not asked, as that takes long."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        report_multiple_bugs=False,
    )
    tried = machine if number is None else seed(number)(type("Seeded", (machine,), {}))
    run_state_machine_as_test(tried, settings=chosen)


@pytest.mark.parametrize("machine", IN_MEMORY)
def test_what_was_saved_is_offered_whatever_happens(machine: type[StallMachine]) -> None:
    run(machine, 50)


@pytest.mark.parametrize("machine", IN_A_FOLDER)
def test_the_same_on_a_real_folder(machine: type[StallMachine]) -> None:
    run(machine, 10)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(SEEDS))
@pytest.mark.parametrize("machine", IN_MEMORY)
def test_the_same_very_often(machine: type[StallMachine], number: int) -> None:
    run(machine, 300, number)


@pytest.mark.slow
@pytest.mark.parametrize("machine", IN_A_FOLDER)
def test_the_same_often_on_a_real_folder(machine: type[StallMachine]) -> None:
    run(machine, 100)
