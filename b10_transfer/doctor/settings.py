"""The settings for `doctor`: what is wrong with them, and how to go on without that."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, NamedTuple

from b10_transfer.doctor.findings import note, problem
from b10_transfer.doctor.patience import no_answer
from b10_transfer.errors import CacheValidationError
from b10_transfer.keys import KEY_FILE
from b10_transfer.operations.setting_values import SETTING_NAMES, origin_of
from b10_transfer.operations.setting_values import WORK_FOLDER as WORK
from b10_transfer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from b10_transfer.doctor.findings import Finding
    from b10_transfer.doctor.mount import Mounts

STORE = "B10FS_CACHE_DIR"
_SUBJECT = "settings"

_PATHS = (KEY_FILE, WORK, "TORCHINDUCTOR_CACHE_DIR")
"""The folders and files that reading the settings touches, beside the store."""

_OTHERS = ("B10_TRANSFER_VLLM_URL", "B10_TRANSFER_TIMEOUT_S", "B10_TRANSFER_INTERVAL_S")
_OURS = ("B10", "BASETEN_FS", "LOCAL_WORK", "MAX_CACHE", "MAX_CONCURRENT")
_ALIKE = 0.85


class Reading(NamedTuple):
    """The settings that could be read from the environment variables.

    Attributes:
        settings: None when none could.
        ignored: the variables that were left out because their values cannot be used.
        findings: the reasons.
    """

    settings: Settings | None
    ignored: frozenset[str]
    findings: tuple[Finding, ...]


def read_settings(variables: Mapping[str, str], mounts: Mounts | None = None) -> Reading:
    """Read the settings, without those that are not acceptable.

    Args:
        variables: environment variables.
        mounts: asked before anything is touched; variables that lead to a mount that hangs are left
            out, too.
    """
    left = dict(variables)
    findings: list[Finding] = []
    ignored: set[str] = set()
    for name, folder in _hanging_paths(left, mounts):
        findings.append(_hanging(name, left.pop(name), folder))
        ignored.add(name)
    while True:
        try:
            return Reading(Settings.from_environment(left), frozenset(ignored), tuple(findings))
        except CacheValidationError as error:
            culprit = error.setting or ""
            findings.append(_invalid(str(error), culprit))
        except OSError as error:
            # There is no folder for temporary files. Any folder will do to examine the rest.
            culprit, folder = "", _any_writable()
            if WORK not in ignored:
                findings.append(_no_work_folder(str(error)))
                if folder:
                    left[WORK] = folder
                    ignored.add(WORK)
                    continue
        if culprit not in left:
            return Reading(None, frozenset(ignored), tuple(findings))
        del left[culprit]
        ignored.add(culprit)


def switch_findings(settings: Settings) -> Iterator[Finding]:
    """Report a cache or loads that are turned off."""
    if not settings.enabled:
        yield problem(
            "settings.off",
            _SUBJECT,
            "the cache is off",
            "set BASETEN_FS_ENABLED=1 to use it, in the server's environment too",
        )
    if not settings.load_enabled:
        yield problem(
            "settings.off",
            _SUBJECT,
            "loads are turned off by B10_CACHE_LOAD=0",
            "unset it, unless the server is meant to start cold; for that, empty the cache "
            "folders: `b10-transfer clear`",
        )


def name_findings(settings: Settings, ignored: frozenset[str]) -> Iterator[Finding]:
    """Report a work folder that is not used, and variables that only look like settings."""
    yield from _work_folder_findings(settings, ignored)
    yield from _unknown_findings(settings.variables)


def _invalid(message: str, culprit: str) -> Finding:
    advice = "correct it"
    if culprit:
        rest = "the rest was examined as if it were not set"
        if culprit == STORE:
            rest = "until then there is no store to examine"
        advice = f"correct {culprit}, or unset it: {rest}"
    return problem("settings.invalid", _SUBJECT, message, advice, name=culprit or None)


def _hanging_paths(variables: Mapping[str, str], mounts: Mounts | None) -> list[tuple[str, str]]:
    """Return the variables that lead to a mount that hangs, each with that mount's folder."""
    if mounts is None:
        return []
    paths = [name for name in _PATHS if os.path.isabs(variables.get(name, ""))]
    found = [(name, mounts.hanging(variables[name])) for name in paths]
    return [(name, folder) for name, folder in found if folder]


def _hanging(name: str, value: str, folder: str) -> Finding:
    return problem(
        "doctor.no_answer",
        _SUBJECT,
        f"{name}={value!r}: the mount at {folder} {no_answer()}",
        f"remount it: loads and saves wait for it; the rest was examined without {name}",
        name=name,
        mounted_at=folder,
    )


def _no_work_folder(message: str) -> Finding:
    return problem(
        "settings.work_folder",
        _SUBJECT,
        message,
        f"set {WORK} to a local folder that can be written; nothing is loaded without one",
    )


def _any_writable() -> str:
    candidates = ("/dev/shm", os.path.expanduser("~"))  # noqa: S108  # only looked for
    usable = (path for path in candidates if os.path.isdir(path) and os.access(path, os.W_OK))
    return next(usable, "")


def _work_folder_findings(settings: Settings, ignored: frozenset[str]) -> Iterator[Finding]:
    value = settings.variables.get(WORK)
    if value and WORK not in ignored and origin_of(settings, WORK) != "set":
        yield note(
            "settings.work_folder",
            _SUBJECT,
            f"{WORK}={value!r} is not a local folder that can be written: {settings.scratch} is "
            "used instead",
            f"make the folder, or unset {WORK}",
            wanted=value,
            used=settings.scratch,
        )


def _unknown_findings(variables: Mapping[str, str]) -> Iterator[Finding]:
    known = {*SETTING_NAMES, *_OTHERS}
    for name in sorted(variables):
        if name in known or not name.upper().startswith(_OURS):
            continue
        for meant in difflib.get_close_matches(name.upper(), known, 1, _ALIKE):
            yield note(
                "settings.unknown",
                _SUBJECT,
                f"{name} is set, but there is no such setting",
                f"set {meant} instead, if that is what you meant",
                name=name,
                meant=meant,
            )
