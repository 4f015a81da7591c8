"""I8: whoever can write to a store can forge all that is in it, but for what a key seals.

What is planted beside a good manifest is refused, or missed, within little time and memory; nothing
is written outside the cache roots; and what the good manifest holds is loaded all the same. Every
case is a load in a process of its own, so that one which kills its process is named.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import (
    hostile_counts,
    hostile_databases,
    hostile_entries,
    hostile_files,
    hostile_headers,
)
from tests.support.memory_folders import in_memory
from tests.support.sites import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.forged_stores import Case

_SECONDS = 60.0
"""Of one case: many times of what it takes, and far less than what an attack would."""
_ALL_SECONDS = 300.0
_CORPORA: Mapping[str, Mapping[str, Case]] = {
    module.__name__.rpartition(".")[2]: module.CASES
    for module in (
        hostile_headers,
        hostile_databases,
        hostile_counts,
        hostile_entries,
        hostile_files,
    )
}


class Findings:
    """What came of every case; those of one corpus are run together."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._found: dict[str, dict[str, dict[str, Any]]] = {}

    def of(self, corpus: str) -> dict[str, dict[str, Any]]:
        if corpus not in self._found:
            with in_memory(self._factory.mktemp(corpus)) as folder:
                answers = _run(folder, corpus)
            self._found[corpus] = {answer["case"]: answer for answer in answers}
        return self._found[corpus]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return Findings(tmp_path_factory)


def _run(folder: Path, corpus: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile_runner", str(folder), corpus],
        cwd=CHECKOUT,
        capture_output=True,
        timeout=_ALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("corpus", "case"), [(corpus, case) for corpus, cases in _CORPORA.items() for case in cases]
)
def test_what_is_forged_does_no_harm(findings: Findings, corpus: str, case: str) -> None:
    found = findings.of(corpus)[case]
    assert "raised" not in found
    assert found["died"] == 0
    assert found["seconds"] < _SECONDS
    assert found["megabytes"] < found["most_megabytes"]
    assert found["wrong"] == []
    assert found["changed"] == []
    assert found["special"] == []
    if not found["displacing"]:
        assert found["status"] == "SUCCESS"
        assert found["again"] in found["expected_again"]
        assert bool(found["problems"] or found["unavailable"]) == found["refused"]


def test_every_case_was_run(findings: Findings) -> None:
    for corpus, cases in _CORPORA.items():
        assert findings.of(corpus).keys() == cases.keys()
    assert sum(map(len, _CORPORA.values())) > 200
