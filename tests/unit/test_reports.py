from __future__ import annotations

import dataclasses

import pytest

from b10_store.manifests.problem import Damage, Problem
from b10_store.tree.scan import CHANGED, Skipped
from b10_transfer import LoadReport, OperationStatus, SaveReport
from b10_transfer.machine.environment import Difference
from b10_transfer.operations.reports import by_reason, problem_lines

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
    line = str(dataclasses.replace(LOADED, unavailable=3))
    assert line.endswith("3 could not be read and will be compiled in 0.50 s")


def test_what_a_load_left_aside_is_told_where_there_is_any() -> None:
    assert "not for this host" not in str(LOADED)
    line = str(dataclasses.replace(LOADED, not_for_host=5))
    assert ", 2 already here, 5 are not for this host in 0.50 s" in line


def test_a_load_names_what_the_machine_that_saved_had_otherwise() -> None:
    found = (Difference("threads", "8", "64"), Difference("driver", "570", "580"))
    line = str(dataclasses.replace(LOADED, differences=found))
    assert (
        line == f"{LOADED}; the machine that saved had threads 64 (here 8), driver 580 (here 570)"
    )


def test_where_there_is_nothing_to_load_the_line_says_why() -> None:
    nothing = LoadReport(OperationStatus.DOES_NOT_EXIST, "0" * 32, reason="nothing is stored yet")
    assert str(nothing) == "nothing is stored yet"


def test_a_save_is_told_in_one_line_with_counts_bytes_and_seconds() -> None:
    assert (
        str(SAVED)
        == "10 artifacts here, 4 added, 1 replaced in the store, 2.0 MB uploaded in 1.25 s"
    )


def test_what_was_compiled_since_a_load_is_told_by_kind_the_most_frequent_first() -> None:
    kinds = {".py": 2, "fxgraph": 3, ".so": 2}
    line = str(dataclasses.replace(SAVED, reused=20, compiled_kinds=kinds))
    assert ", 20 loaded before, 7 compiled since (3 fxgraph, 2 .py, 2 .so) in 1.25 s" in line


def test_that_nothing_was_compiled_since_a_load_is_told_without_kinds() -> None:
    line = str(dataclasses.replace(SAVED, reused=20, compiled_kinds={}))
    assert ", 20 loaded before, 0 compiled since in 1.25 s" in line


def test_without_a_load_a_save_says_nothing_of_what_was_compiled_since() -> None:
    assert SAVED.recompiled is None
    assert "loaded before" not in str(SAVED)
    assert "compiled since" not in str(SAVED)


@pytest.mark.parametrize(
    ("reused", "kinds", "of_little_use"),
    [
        pytest.param(0, None, False, id="no load"),
        pytest.param(0, {".so": 9}, False, id="a load that brought nothing"),
        pytest.param(20, {}, False, id="nothing compiled"),
        pytest.param(20, {".so": 3, "fxgraph": 2}, False, id="a quarter compiled"),
        pytest.param(20, {".so": 3, "fxgraph": 3}, True, id="more than a quarter compiled"),
        pytest.param(1, {".so": 1}, True, id="as much compiled as loaded"),
    ],
)
def test_a_load_was_of_little_use_when_more_than_a_quarter_of_it_was_compiled_all_the_same(
    reused: int, kinds: dict[str, int] | None, of_little_use: bool
) -> None:
    report = dataclasses.replace(SAVED, reused=reused, compiled_kinds=kinds)
    assert report.was_of_little_use is of_little_use


def test_what_a_save_left_out_is_told_by_reason_with_the_first_files() -> None:
    skipped = [Skipped("/r/x.so", "not whole"), *(Skipped(f"/r/{n}", CHANGED) for n in range(5))]
    report = dataclasses.replace(SAVED, left_out_files=by_reason(skipped))
    assert report.left_out == 6
    assert (
        ", 6 files left out (changed while being read: /r/0, /r/1, /r/2 and 2 more; "
        "not whole: /r/x.so) in "
    ) in str(report)


def test_the_status_of_a_report_has_the_truth_value_callers_test() -> None:
    assert SAVED.status
    assert not dataclasses.replace(LOADED, status=OperationStatus.DOES_NOT_EXIST).status


def test_of_many_problems_the_first_are_told_and_of_each_its_first_words() -> None:
    problems = [
        Problem(f"manifests/{number}", Damage.DAMAGED, "bad " * 1000) for number in range(20_000)
    ]
    lines = problem_lines(problems, signed=True)
    assert lines[-2] == "19990 more manifests cannot be used either"
    assert sum(map(len, lines)) < 4000


def test_problems_are_told_by_file_and_reason() -> None:
    problems = [
        Problem("manifests/x", Damage.DAMAGED, "cut short"),
        Problem("packs/y", Damage.MISSING, "gone"),
    ]
    assert problem_lines(problems) == ["manifests/x: cut short", "packs/y: gone"]
