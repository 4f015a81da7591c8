from __future__ import annotations

import dataclasses

import pytest

from b10_store.heads import Problem
from b10_transfer import LoadReport, OperationStatus, SaveReport
from b10_transfer.reports import problem_lines

LOADED = LoadReport(
    OperationStatus.SUCCESS,
    "0" * 32,
    loaded=4,
    bytes_loaded=12_345_678,
    already_here=2,
    seconds=0.5,
)
SAVED = SaveReport(
    OperationStatus.SUCCESS,
    "0" * 32,
    found=10,
    added=4,
    superseded=1,
    uploaded_bytes=2_000_000,
    seconds=1.25,
)


def test_a_load_is_told_in_one_line_with_counts_bytes_and_seconds() -> None:
    assert str(LOADED) == "4 artifacts loaded (12.3 MB), 2 already here in 0.50 s"


def test_what_a_load_missed_is_told_where_there_is_any() -> None:
    line = str(dataclasses.replace(LOADED, missed=3))
    assert line.endswith("3 could not be had and will be compiled in 0.50 s")


def test_a_save_is_told_in_one_line_with_counts_bytes_and_seconds() -> None:
    assert str(SAVED) == "10 artifacts here, 4 added, 1 superseded, 2.0 MB uploaded in 1.25 s"


@pytest.mark.parametrize("count", [0, 7])
def test_what_was_compiled_since_the_load_is_told_where_there_was_a_load(count: int) -> None:
    assert "compiled since" not in str(SAVED)
    line = str(dataclasses.replace(SAVED, compiled_anew=count))
    assert f", {count} compiled since the load in " in line


def test_what_a_save_left_out_is_told_where_there_is_any() -> None:
    assert ", 5 files left out in " in str(dataclasses.replace(SAVED, left_out=5))


def test_the_status_of_a_report_has_the_truth_value_callers_test() -> None:
    assert SAVED.status
    assert not dataclasses.replace(LOADED, status=OperationStatus.DOES_NOT_EXIST).status


def test_problems_are_told_by_file_and_reason() -> None:
    problems = [Problem("manifests/x", "cut short"), Problem("packs/y", "gone", missing=True)]
    assert problem_lines(problems) == ["manifests/x: cut short", "packs/y: gone"]
