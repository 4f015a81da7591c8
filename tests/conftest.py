"""Settings of all tests: how many examples Hypothesis draws, by HYPOTHESIS_PROFILE."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# No deadlines, and slow draws are no failure: a test that writes files is as slow as its disk.
_SLOW_DISK = [HealthCheck.too_slow]

settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=_SLOW_DISK)
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True, database=None)
settings.register_profile("long", parent=settings.get_profile("dev"), max_examples=500)
settings.register_profile("nightly", parent=settings.get_profile("dev"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
