"""The recipes of CONTRIBUTING.md: each place that a new thing needs has a test that names it.

Whoever forgets a step learns here which file to touch.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import get_args

import pytest

from b10_transfer.caches.folders import VARIABLES
from b10_transfer.caches.kinds import ROOT_KINDS, RootKind
from b10_transfer.caches.roots import ROOT_NAMES
from b10_transfer.doctor.findings import Code
from b10_transfer.doctor.misses import ADVICE, HARMLESS
from b10_transfer.settings import Settings
from tests.support.machines import CPU_MACHINE, GPU_MACHINE
from tests.support.sites import CHECKOUT, FOREIGN

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
FACTS = (CHECKOUT / "tests/unit/test_cache_folders.py").read_text(encoding="utf-8")


def texts_of(folder: str) -> dict[str, str]:
    """The text of every module below a folder, by its path."""
    found = sorted((CHECKOUT / folder).rglob("*.py"))
    return {path.relative_to(CHECKOUT).as_posix(): path.read_text("utf-8") for path in found}


def fields_of_environments() -> dict[str, str]:
    """The name and the source of every fact, of machines with and without a GPU."""
    environments = [machine.environment() for machine in (CPU_MACHINE, GPU_MACHINE)]
    return {
        item.name: item.source
        for environment in environments
        for item in (*environment.fields, *environment.recorded)
    }


# A cache root.


def test_the_variables_that_place_each_root_are_in_the_table_of_cache_folders() -> None:
    missing = f"add {set(ROOT_NAMES) ^ VARIABLES.keys()} to VARIABLES in caches/folders.py"
    assert tuple(VARIABLES) == ROOT_NAMES, f"{missing}, in the order of ROOT_KINDS in kinds.py"


@pytest.mark.parametrize("kind", ROOT_KINDS, ids=lambda kind: kind.name)
def test_where_each_root_lies_is_tested(kind: RootKind) -> None:
    function = getattr(kind.resolve, "__name__", "")
    assert f"cache_folders.{function}" in FACTS, "add its facts to tests/unit/test_cache_folders.py"


@pytest.mark.parametrize("name", ROOT_NAMES)
def test_each_root_and_its_variable_are_in_the_table_of_the_readme(name: str) -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `") and f"`{name}`" in line]
    variable = VARIABLES.get(name, ("its variable",))[0]
    assert any(f"`{variable}`" in row for row in rows), (
        f"add `{name}` and `{variable}` to README.md's table of cache roots"
    )


def test_no_test_sees_a_root_that_the_developer_chose() -> None:
    seen = [name for names in VARIABLES.values() for name in names if not name.startswith(FOREIGN)]
    assert seen == [], f"add {seen} to FOREIGN in tests/support/sites.py"


# A field of the environment.


def test_doctor_has_advice_for_each_field_in_which_environments_differ() -> None:
    without = fields_of_environments().keys() - HARMLESS - ADVICE.keys()
    assert without == set(), f"add {without} to ADVICE in b10_transfer/doctor/misses.py"


def test_a_machine_of_the_tests_has_no_fact_of_the_machine_that_runs_them() -> None:
    given = {"a test", "platform.machine()", "the highest that torch would choose"}
    real = {name for name, source in fields_of_environments().items() if source not in given}
    assert real == set(), f"add {real} to `Machine` in tests/support/machines.py"


# A setting.


def variables_of_settings() -> set[str]:
    return set(re.findall(r"\b[A-Z][A-Z0-9_]{7,}\b", Settings.__doc__ or ""))


def test_each_field_of_the_settings_says_which_variable_it_is() -> None:
    described = set(re.findall(r"^    (\w+): ", inspect.getdoc(Settings) or "", re.MULTILINE))
    missing = {item.name for item in dataclasses.fields(Settings)} ^ described
    assert missing == set(), f"describe {missing} in the docstring of Settings, by its variable"


def test_the_readme_has_every_setting_and_no_other() -> None:
    _, _, section = README.partition("\n### Settings\n")
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \|", section.partition("\n### ")[0], re.MULTILINE)
    missing = set(rows) ^ variables_of_settings()
    assert missing == set(), (
        f"{missing}: in README.md's table of settings, or in the docstring of Settings, only"
    )


def test_no_test_sees_a_setting_of_the_developers() -> None:
    seen = [name for name in variables_of_settings() if not name.startswith(FOREIGN)]
    assert seen == [], f"add {seen} to FOREIGN in tests/support/sites.py"


def test_each_setting_is_set_in_a_test_of_settings() -> None:
    texts = [text for name, text in texts_of("tests/unit").items() if "settings" in name]
    untested = [name for name in variables_of_settings() if not any(name in text for text in texts)]
    assert untested == [], f"set {untested} in a test in tests/unit/test_settings.py"


# A code of doctor. docs/operations.md is compared in tests/unit/doctor/test_examination.py.


@pytest.mark.parametrize("code", get_args(Code))
def test_each_code_of_doctor_is_found_and_its_finding_is_tested(code: str) -> None:
    findings = "b10_transfer/doctor/findings.py"
    found = [text for name, text in texts_of("b10_transfer").items() if name != findings]
    assert any(f'"{code}"' in text for text in found), f"no module of doctor/ finds {code}"
    tests = texts_of("tests").values()
    assert any(f'"{code}"' in text for text in tests), f"add a test of {code} to tests/unit/doctor/"
