"""I11: with a signing key, whoever can write to the store can hide nothing either."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer import OperationStatus
from tests.support import hostile_entries, hostile_headers
from tests.support.forged_stores import Forge
from tests.support.sites import Host
from tests.support.trees import artifacts_of, compiled, differences, put_artifacts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.forged_stores import Case

KEY = "a secret that only the replicas have"
GOOD = compiled("good")
DISPLACING: dict[str, Case] = {
    name: cases[name]
    for name, cases in (
        ("one that says it carries on everything", hostile_headers.CASES),
        ("the good paths, and older", hostile_entries.CASES),
        ("the good paths, superseded", hostile_entries.CASES),
        ("files in the place of folders, and folders in that of files", hostile_entries.CASES),
        ("all flags", hostile_entries.CASES),
    )
}


@pytest.mark.parametrize("case", DISPLACING)
def test_what_others_put_beside_a_signed_manifest_is_refused_and_hides_nothing(
    tmp_path: Path, case: str
) -> None:
    saver = Host(tmp_path / "store", tmp_path / "saver")
    put_artifacts(saver, GOOD)
    assert saver.save(B10_CACHE_SIGNING_KEY=KEY).status is OperationStatus.SUCCESS
    (tmp_path / "scratch").mkdir()
    DISPLACING[case](Forge(saver.store, tmp_path / "scratch"))
    loader = Host(saver.store, tmp_path / "loader")
    report = loader.load(B10_CACHE_SIGNING_KEY=KEY)
    assert report.status is OperationStatus.SUCCESS
    assert report.unavailable == 0
    assert len(report.problems) >= 1
    assert differences(artifacts_of(loader), GOOD) == []
