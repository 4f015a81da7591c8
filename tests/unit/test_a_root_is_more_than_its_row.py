"""A cache root, or a field of the key, is named in several places: each of them has all.

Whoever adds one learns here what else it needs.
"""

from __future__ import annotations

import pytest

from b10_transfer.caches.folders import VARIABLES
from b10_transfer.caches.kinds import ROOT_KINDS, RootKind
from b10_transfer.caches.roots import ROOT_NAMES
from b10_transfer.doctor.misses import ADVICE, HARMLESS
from tests.support.machines import CPU_MACHINE, GPU_MACHINE
from tests.support.sites import CHECKOUT, FOREIGN

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
FACTS = (CHECKOUT / "tests/unit/test_cache_folders.py").read_text(encoding="utf-8")


def test_the_variables_that_place_each_root_are_in_the_table_of_cache_folders() -> None:
    assert tuple(VARIABLES) == ROOT_NAMES, "add the root to cache_folders.VARIABLES"


@pytest.mark.parametrize("kind", ROOT_KINDS, ids=lambda kind: kind.name)
def test_where_each_root_lies_is_tested(kind: RootKind) -> None:
    function = getattr(kind.resolve, "__name__", "")
    assert f"cache_folders.{function}" in FACTS, "add its facts to tests/unit/test_cache_folders.py"


@pytest.mark.parametrize("name", ROOT_NAMES)
def test_each_root_and_its_variable_are_in_the_table_of_the_readme(name: str) -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `") and f"`{name}`" in line]
    assert any(f"`{VARIABLES[name][0]}`" in row for row in rows), "add a row to README's table"


def test_no_test_sees_a_root_that_the_developer_chose() -> None:
    seen = [name for names in VARIABLES.values() for name in names if not name.startswith(FOREIGN)]
    assert seen == [], "add the variable to FOREIGN in tests/support/sites.py"


def test_doctor_has_advice_for_each_field_in_which_environments_differ() -> None:
    environments = [machine.environment() for machine in (CPU_MACHINE, GPU_MACHINE)]
    fields = {
        item.name
        for environment in environments
        for item in (*environment.fields, *environment.recorded)
    }
    assert fields - HARMLESS - ADVICE.keys() == set(), "add the field to ADVICE in doctor/misses.py"
