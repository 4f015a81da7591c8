"""What `doctor` finds on a host of a site, by the code of the finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_transfer.doctor import examine

if TYPE_CHECKING:
    from b10_transfer.doctor import Finding
    from tests.support.sites import Host


def found(host: Host, code: str, **changes: str | None) -> list[Finding]:
    """The findings with a code, or with one of the codes of a group such as "mount."."""
    findings = examine(host.settings(**changes))
    return [item for item in findings if item.code == code or item.code.startswith(f"{code}.")]


def one(host: Host, code: str, **changes: str | None) -> Finding:
    """The only finding with a code."""
    (finding,) = found(host, code, **changes)
    return finding


def problem_codes(host: Host, **changes: str | None) -> list[str]:
    """What is found to be wrong, in order."""
    return [item.code for item in examine(host.settings(**changes)) if item.is_problem]


def only_problem(host: Host, code: str, **changes: str | None) -> Finding:
    """The one problem that there is."""
    (finding,) = [item for item in examine(host.settings(**changes)) if item.is_problem]
    assert finding.code == code, finding
    assert finding.advice
    return finding
