"""Run by Python at its start, where this folder is in PYTHONPATH: any name is Inductor's."""

from __future__ import annotations

from tests.support.any_names import allow_any_name

allow_any_name()
