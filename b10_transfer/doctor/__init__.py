"""Explain why a load does not help: findings about settings, machine, store and mount."""

from __future__ import annotations

from b10_transfer.doctor.examination import examine
from b10_transfer.doctor.findings import Code, Finding, Severity

__all__ = ["Code", "Finding", "Severity", "examine"]
