"""docs/defects.md: each defect has a test, and each test that is named is there."""

from __future__ import annotations

import re

from tests.support.sites import CHECKOUT

_ROW = re.compile(r"\| (\d+) \| .+ \| (.+) \|")


def test_each_defect_has_tests_that_are_there() -> None:
    rows = dict(_ROW.findall((CHECKOUT / "docs" / "defects.md").read_text()))
    assert [int(number) for number in rows] == list(range(1, 34))
    for number, tests in rows.items():
        names = re.findall(r"`([^`]+)`", tests)
        assert names, number
        for name in names:
            file, _, function = name.partition("::")
            assert f"def {function}" in (CHECKOUT / "tests" / file).read_text(), name


def test_each_test_of_a_defect_is_in_the_table() -> None:
    table = (CHECKOUT / "docs" / "defects.md").read_text()
    for path in (CHECKOUT / "tests" / "defects").glob("test_*.py"):
        for name in re.findall(r"def (test_defect_\w+)", path.read_text()):
            assert name in table or f"`defects/{path.name}`" in table, name
