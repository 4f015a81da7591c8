"""Commands run in this process, and what they print."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from b10_transfer.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

DONE, FOUND_PROBLEMS, USAGE, NOT_STORED, FAILED = 0, 1, 2, 3, 4
"""Exit codes."""

ROW_TYPES: dict[str, tuple[type, ...]] = {
    "address": (str,),
    "environment_key": (str,),
    "namespace": (str,),
    "is_this_environment": (bool,),
    "is_current": (bool,),
    "filename": (str,),
    "saved_at": (float,),
    "last_used_at": (float,),
    "last_load_at": (float, type(None)),
    "heads": (int,),
    "artifacts": (int,),
    "raw_bytes": (int,),
    "stored_bytes": (int,),
    "shared_bytes": (int, type(None)),
    "exclusive_bytes": (int, type(None)),
    "is_signed": (bool,),
    "environment": (dict,),
}
"""What a stored environment is as JSON: a row of `list`, and the beginning of `show`."""


def ran(arguments: str, capsys: pytest.CaptureFixture[str], expected: int = DONE) -> str:
    """Run a command that prints nothing to stderr; returns what it prints."""
    assert main(arguments.split()) == expected
    out, err = capsys.readouterr()
    assert err == ""
    return out


def failed(arguments: str, capsys: pytest.CaptureFixture[str], expected: int = FAILED) -> str:
    """Run a command that fails with one line; returns the line."""
    assert main(arguments.split()) == expected
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("b10-transfer: ")
    assert err.count("\n") == 1
    return err


def checked(text: str, types: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """What was printed as one JSON document, with the names and types that it must have."""
    found: dict[str, Any] = json.loads(text)
    assert found.keys() == types.keys()
    for name, value in found.items():
        assert isinstance(value, types[name]), name
    return found
