"""What all tests share: settings, and what most of them start from.

How many examples Hypothesis draws is chosen by HYPOTHESIS_PROFILE.
"""

from __future__ import annotations

import os
import signal
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.any_names import allow_any_name, allow_real_names
from tests.support.memory_folders import place_in_memory
from tests.support.sites import Site

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

# No deadlines, and slow draws are no failure: a test that writes files is as slow as its disk.
_SLOW_DISK = [HealthCheck.too_slow]

settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=_SLOW_DISK)
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True, database=None)
settings.register_profile("long", parent=settings.get_profile("dev"), max_examples=500)
settings.register_profile("nightly", parent=settings.get_profile("dev"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

# A job in the background, and each of several test processes, ignores these, and so would every
# process that a test starts in order to interrupt it.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# A store flushes each file: on a disk that is most of the time that tests take.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", place_in_memory(2 << 30) or tempfile.gettempdir())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A store and the hosts around it."""
    return Site(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _no_pauses() -> Generator[None]:
    """Ask a folder that failed again at once: a fault of a test does not pass with time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("b10_store.remote.patient._PAUSE_SECONDS", 0.0)
        patch.setattr("b10_store.remote.folder._STALE_PAUSE_SECONDS", 0.0)
        yield


@pytest.fixture(autouse=True)
def _names_that_count(request: pytest.FixtureRequest) -> Generator[None]:
    """Any name counts as Inductor's and Triton's, but for tests of layouts and of real torch."""
    if not any(request.node.get_closest_marker(name) for name in ("layouts", "torch")):
        allow_any_name()
    yield
    allow_real_names()
