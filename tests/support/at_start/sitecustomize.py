"""Run by Python at its start, where this folder is in PYTHONPATH: any name is Inductor's."""

from __future__ import annotations

import os

from tests.support.any_names import allow_any_name
from tests.support.slow_loads import SLOW_LOADS, slow_down

allow_any_name()
if SLOW_LOADS in os.environ:
    slow_down(float(os.environ[SLOW_LOADS]))
