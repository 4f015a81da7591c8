"""The face of the engine: what type checkers see of it is what is there when it is used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import b10_store
from tests.support.programs import run_python

SOURCE = Path(b10_store.__file__)


def names_for_type_checkers() -> dict[str, str]:
    """The names that are imported for type checkers alone, and from where."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {
        alias.name: node.module
        for node in imports
        if node.module and node.module.startswith("b10_store.")
        for alias in node.names
    }


def test_each_name_comes_from_where_type_checkers_see_it() -> None:
    homes = b10_store.HOMES  # the table of this face
    listed = {name: f"b10_store.{home}" for home, names in homes.items() for name in names}
    assert listed == names_for_type_checkers()


@pytest.mark.parametrize("name", sorted(names_for_type_checkers()))
def test_each_name_is_there(name: str) -> None:
    assert getattr(b10_store, name) is not None
    assert name in dir(b10_store)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Shop'"):
        _ = b10_store.Shop  # type: ignore[attr-defined]


def test_the_face_alone_imports_no_code_of_the_engine() -> None:
    code = "import b10_store, sys; print(*(m for m in sys.modules if m.startswith('b10_store.')))"
    done = run_python(code, {})
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
