"""The findings of `doctor`: values for people and for programs."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Code = Literal[
    "doctor.failed",
    "doctor.no_answer",
    "host.caching_off",
    "host.missing_tool",
    "host.no_gpu",
    "host.no_torch",
    "clock.skew",
    "mount.local",
    "mount.object_store",
    "mount.unfit",
    "root.exposed",
    "root.harmful",
    "root.link",
    "root.noexec",
    "root.other_machine",
    "root.other_files",
    "root.unreadable",
    "root.unusable",
    "root.unwritable",
    "settings.invalid",
    "settings.off",
    "settings.unknown",
    "settings.work_folder",
    "signing.exposed",
    "signing.no_key",
    "signing.older_key",
    "space.little",
    "store.format",
    "store.linked",
    "store.missing",
    "store.no_answer",
    "store.other_files",
    "store.read_only",
    "store.unreadable",
    "stored.damaged",
    "stored.differs",
    "stored.not_for_host",
    "stored.nothing",
    "stored.other_environment",
    "stored.other_namespace",
    "stored.refused",
    "stored.unread",
]
"""Every kind of finding. The names stay: programs may rely on them."""


class Severity(enum.Enum):
    """How much a finding matters.

    Attributes:
        NOTE: worth knowing; the cache helps nevertheless.
        PROBLEM: keeps the cache from helping, or may do so.
    """

    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one examination.

    Attributes:
        code: the kind of finding; docs/operations.md explains each.
        severity: how much it matters.
        subject: what was examined, in a word or two.
        text: what was found, in one line.
        advice: what to do about it, in one line; "" when nothing has to be done.
        details: the same facts for programs, as JSON values; sizes in bytes, times in seconds.
    """

    code: Code
    severity: Severity
    subject: str
    text: str
    advice: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_problem(self) -> bool:
        """Whether it keeps the cache from helping, or may do so."""
        return self.severity is Severity.PROBLEM

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "is_problem": self.is_problem,
            "subject": self.subject,
            "text": self.text,
            "advice": self.advice,
            "details": dict(self.details),
        }


def note(code: Code, subject: str, text: str, advice: str = "", **details: object) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(code, Severity.NOTE, subject, text, advice, details)


def problem(code: Code, subject: str, text: str, advice: str, **details: object) -> Finding:
    """Return a finding that keeps the cache from helping, or may do so."""
    return Finding(code, Severity.PROBLEM, subject, text, advice, details)
