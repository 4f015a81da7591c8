"""Which loads count as failures: the rows of the table of `is_failure`."""

from __future__ import annotations

from pathlib import Path

import pytest

from b10_store.load import LoadOutcome
from b10_store.tree.placement import Placed
from b10_store.tree.scan import Fingerprint
from b10_transfer.operations.load_outcome import Counts, is_failure
from tests.support.staged import placement_of

ONE = placement_of(Path("/root"), "HASH/k.cubin", b"1")
OTHER = placement_of(Path("/root"), "HASH/k.json", b"2")
PLACED = Placed(placed=[(ONE, Fingerprint(1, 1, 1, 1))])
KEPT = Placed(kept=[ONE])
FAILED = Placed(failed=[(ONE, "a folder is in the way")])
TORN = Placed(failed=[(ONE, "for another machine")], torn=[OTHER])
NOTHING = Placed()
LOST = FileNotFoundError(2, "No such file or directory")
STALE = OSError(116, "Stale file handle")


@pytest.mark.parametrize(
    ("here", "wanted", "unusable", "placed", "error", "failed"),
    [
        pytest.param(0, 9, 9, PLACED, STALE, False, id="one was placed"),
        pytest.param(0, 9, 9, KEPT, STALE, False, id="another process placed one"),
        pytest.param(5, 0, 0, NOTHING, None, False, id="every one was here"),
        pytest.param(0, 2, 0, TORN, None, False, id="only a torn bundle is missing"),
        pytest.param(0, 3, 0, TORN, LOST, True, id="more than a torn bundle is missing"),
        pytest.param(0, 1, 0, FAILED, None, True, id="nothing is here, and it was not taken"),
        pytest.param(0, 0, 3, NOTHING, None, True, id="nothing is here, and no root can be used"),
        pytest.param(9, 1, 0, NOTHING, STALE, True, id="the store does not answer"),
        pytest.param(1, 2, 0, NOTHING, LOST, True, id="more is lost than is here"),
        pytest.param(2, 2, 0, NOTHING, LOST, False, id="as much is here as is lost"),
        pytest.param(1, 1, 0, FAILED, None, False, id="what is missing was not taken"),
        pytest.param(1, 0, 9, NOTHING, None, False, id="what is missing is of unusable roots"),
    ],
)
def test_a_load_fails_as_the_table_says(
    here: int, wanted: int, unusable: int, placed: Placed, error: OSError | None, *, failed: bool
) -> None:
    unread = {} if error is None else {ONE.entry.digest: error}
    outcome = LoadOutcome(placed, unread=unread)
    assert is_failure(Counts(here, wanted, unusable), outcome) is failed
