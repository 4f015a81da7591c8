"""The invariants of docs/architecture.md: numbered, and cited where they are kept and attacked."""

from __future__ import annotations

import re

import pytest

from tests.support.sites import CHECKOUT
from tools.protections import PROTECTIONS

_TEXT = (CHECKOUT / "docs/architecture.md").read_text(encoding="utf-8")
NUMBERS = re.findall(r"^\| (I[0-9]+) \| .+ \|$", _TEXT, re.MULTILINE)

_CITED = re.compile(r"\bI([0-9]{1,2})(?: to I([0-9]{1,2}))?\b")


def cited_in(*folders: str) -> dict[str, set[str]]:
    """The modules below some folders that cite an invariant, by its number."""
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in (CHECKOUT / folder).rglob("*.py")):
        for match in _CITED.finditer(path.read_text(encoding="utf-8")):
            first, last = int(match[1]), int(match[2] or match[1])
            for number in range(first, last + 1):
                found.setdefault(f"I{number}", set()).add(path.relative_to(CHECKOUT).as_posix())
    return found


CODE = cited_in("b10_transfer", "store")
TESTS = cited_in("tests")


def test_they_are_numbered_from_one_without_gaps() -> None:
    assert [f"I{number}" for number in range(1, len(NUMBERS) + 1)] == NUMBERS
    assert NUMBERS, "docs/architecture.md has no table of invariants"


def test_every_number_that_is_cited_exists() -> None:
    rows = {item.invariant: {item.name} for item in PROTECTIONS if item.invariant}
    for cited in (CODE, TESTS, rows):
        strange = {number: where for number, where in cited.items() if number not in NUMBERS}
        assert strange == {}, "docs/architecture.md has no such invariant"


@pytest.mark.parametrize("number", NUMBERS)
def test_each_is_cited_by_code_by_a_test_and_by_a_protection(number: str) -> None:
    assert number in CODE, f"cite {number} in the module that keeps it"
    assert number in TESTS, f"cite {number} in the tests that attack it"
    kept = [item.name for item in PROTECTIONS if item.invariant == number]
    assert kept, f"give a row of tools/protections.py the invariant {number}"
