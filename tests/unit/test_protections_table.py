"""The table of protections, which `tools/dev mutations` takes out of the code."""

from __future__ import annotations

from tools.mutations import misfits
from tools.protections import PROTECTIONS, Edit


def test_the_table_fits_the_code() -> None:
    assert misfits(PROTECTIONS) == []


def test_what_is_not_in_the_code_is_named() -> None:
    first = PROTECTIONS[0]
    edit = Edit("store/b10_store/packs/reader.py", "no such line", "")
    (line, other) = misfits([first._replace(edits=(edit,), tests=("tests/none.py",))])
    assert "reader.py has 'no such line' 0 times" in line
    assert "there is no tests/none.py" in other
