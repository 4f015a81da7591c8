"""What `doctor` found: values for people and for programs."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Code = Literal[
    "doctor.failed",
    "doctor.no_answer",
    "environment.key",
    "host.caching_off",
    "host.gpu",
    "host.no_compiler",
    "host.no_gpu",
    "host.no_openssl",
    "host.no_torch",
    "host.tools",
    "host.versions",
    "clock.skew",
    "clock.same",
    "mount.capabilities",
    "mount.exclusive",
    "mount.failed",
    "mount.fsync",
    "mount.local",
    "mount.no_answer",
    "mount.not_tried",
    "mount.object_store",
    "mount.rename",
    "mount.slow",
    "mount.touch",
    "mount.visibility",
    "root.absent",
    "root.exposed",
    "root.harmful",
    "root.link",
    "root.noexec",
    "root.other_machine",
    "root.other_files",
    "root.present",
    "root.unreadable",
    "root.unusable",
    "root.unwritable",
    "settings.invalid",
    "settings.load_off",
    "settings.off",
    "settings.unknown",
    "settings.value",
    "settings.work_folder",
    "signing.exposed",
    "signing.keys",
    "signing.no_key",
    "space.little",
    "space.volume",
    "store.format",
    "store.linked",
    "store.missing",
    "store.no_answer",
    "store.other_files",
    "store.present",
    "store.read_only",
    "store.unreadable",
    "stored.damaged",
    "stored.differs",
    "stored.near",
    "stored.not_for_host",
    "stored.nothing",
    "stored.other_environment",
    "stored.other_namespace",
    "stored.own",
    "stored.refused",
    "stored.unread",
]
"""Every kind of finding. The names stay: programs may rely on them."""


class Severity(enum.Enum):
    """How much a finding matters.

    Attributes:
        OK: as it should be.
        NOTE: worth knowing; the cache helps all the same.
        PROBLEM: keeps the cache from helping, or may.
    """

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        code: what kind of finding it is; docs/operations.md explains each.
        severity: how much it matters.
        subject: what was looked at, in a word or two.
        text: what was found, in one line.
        advice: what to do about it, in one line; "" where nothing has to be done.
        details: the same for programs: what JSON can hold. Sizes are in bytes, times in seconds.
    """

    code: Code
    severity: Severity
    subject: str
    text: str
    advice: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_problem(self) -> bool:
        """Whether it keeps the cache from helping, or may."""
        return self.severity is Severity.PROBLEM

    def as_json(self) -> dict[str, Any]:
        """The finding as JSON can hold it."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "is_problem": self.is_problem,
            "subject": self.subject,
            "text": self.text,
            "advice": self.advice,
            "details": dict(self.details),
        }


def ok(code: Code, subject: str, text: str, **details: object) -> Finding:
    """Something that is as it should be."""
    return Finding(code, Severity.OK, subject, text, "", details)


def note(code: Code, subject: str, text: str, advice: str = "", **details: object) -> Finding:
    """Something worth knowing."""
    return Finding(code, Severity.NOTE, subject, text, advice, details)


def problem(code: Code, subject: str, text: str, advice: str, **details: object) -> Finding:
    """Something that keeps the cache from helping, or may."""
    return Finding(code, Severity.PROBLEM, subject, text, advice, details)
