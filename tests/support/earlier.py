"""What happens in a test as if it had happened earlier, on hosts and in the store alike."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING
from unittest import mock

from tests.support.store_views import clock_behind

if TYPE_CHECKING:
    from collections.abc import Generator


@contextlib.contextmanager
def hours_ago(hours: float) -> Generator[None]:
    """Let it be that many hours earlier, by the store's filesystem and by the host's own clock.

    The times of files stay those of the real clock, so that what is written shows as changed.
    """
    real = time.time_ns

    def earlier() -> int:
        return real() - round(hours * 3600 * 1_000_000_000)

    with clock_behind(hours * 3600), mock.patch.object(time, "time_ns", earlier):
        yield
