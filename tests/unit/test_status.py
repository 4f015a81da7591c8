from __future__ import annotations

import pytest

import b10_transfer
from b10_transfer import CacheError, CacheOperationInterrupted, CacheValidationError
from b10_transfer import OperationStatus as Status


@pytest.mark.parametrize(
    ("status", "truth"),
    [
        (Status.SUCCESS, True),
        (Status.SKIPPED, True),
        (Status.DOES_NOT_EXIST, False),
        (Status.ERROR, False),
    ],
)
def test_a_status_is_true_when_the_cache_is_as_it_should_be(status: Status, truth: bool) -> None:
    assert bool(status) is truth


def test_there_are_four_statuses_with_the_values_that_callers_may_have_stored() -> None:
    assert {status.name: status.value for status in Status} == {
        "SUCCESS": 1,
        "ERROR": 2,
        "DOES_NOT_EXIST": 3,
        "SKIPPED": 4,
    }


def test_every_exception_is_a_cache_error_and_no_error_of_another_kind() -> None:
    assert CacheError.__bases__ == (Exception,)
    assert CacheValidationError.__bases__ == (CacheError,)
    assert CacheOperationInterrupted.__bases__ == (CacheError,)


def test_every_public_name_is_there_and_listed() -> None:
    for name in b10_transfer.__all__:
        assert getattr(b10_transfer, name) is not None
    assert dir(b10_transfer) == sorted(b10_transfer.__all__)


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_compiled_cache'"):
        _ = b10_transfer.load_compiled_cache
