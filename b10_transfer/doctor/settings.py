"""The settings as `doctor` sees them: where each came from, and how to go on where one is wrong."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, NamedTuple

from b10_transfer.doctor.findings import note, ok, problem
from b10_transfer.doctor.patience import no_answer
from b10_transfer.errors import CacheValidationError
from b10_transfer.keys import KEY, KEY_FILE, PUBLIC_KEYS
from b10_transfer.settings import MEBIBYTE, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from b10_transfer.doctor.findings import Finding
    from b10_transfer.doctor.mount import Mounts

STORE = "B10FS_CACHE_DIR"
WORK = "LOCAL_WORK_DIR"
_SUBJECT = "settings"

_SHOWN: Mapping[str, Callable[[Settings], object]] = {
    "BASETEN_FS_ENABLED": lambda settings: settings.enabled,
    STORE: lambda settings: settings.store,
    "B10_CACHE_NAMESPACE": lambda settings: settings.namespace or None,
    "B10_CACHE_LOAD": lambda settings: settings.load_enabled,
    "B10_CACHE_ROOTS": lambda settings: ",".join(
        f"{name}={folder}" if folder else name for name, folder in settings.roots.items()
    ),
    "B10_CACHE_HEADERS": lambda settings: "full" if settings.full_headers else "placeholder",
    "B10_STRICT_ROOTS": lambda settings: settings.strict_roots,
    "B10_CACHE_SIGNING_KEY_FILE": lambda settings: settings.variables.get(KEY_FILE),
    "B10_CACHE_SIGNING_KEY": lambda settings: _shown_key(settings),
    "B10_CACHE_PUBLIC_KEYS": lambda settings: settings.variables.get(PUBLIC_KEYS),
    "B10_AUTO_GC": lambda settings: settings.auto_gc,
    "B10_CACHE_MAX_AGE_DAYS": lambda settings: settings.max_age_days,
    "B10_STORE_MAX_SIZE_MB": lambda settings: settings.max_store_bytes // MEBIBYTE,
    "MAX_CACHE_SIZE_MB": lambda settings: settings.size_limit // MEBIBYTE,
    "MAX_CONCURRENT_SAVES": lambda settings: settings.concurrent_saves,
    WORK: lambda settings: settings.scratch,
}
"""Every setting, and what it came to."""

# The keys before the folder of the store: whether a key file may be used depends on both.
_SEARCHED = (KEY_FILE, KEY, PUBLIC_KEYS, *_SHOWN, "TORCHINDUCTOR_CACHE_DIR")

_PATHS = (KEY_FILE, WORK, "TORCHINDUCTOR_CACHE_DIR")
"""The folders and files that reading the settings touches, beside the store."""

_OTHERS = ("B10_TRANSFER_VLLM_URL", "B10_TRANSFER_TIMEOUT_S", "B10_TRANSFER_INTERVAL_S")
_OURS = ("B10", "BASETEN_FS", "LOCAL_WORK", "MAX_CACHE", "MAX_CONCURRENT")
_ALIKE = 0.85


class Reading(NamedTuple):
    """What could be made of the environment variables.

    Attributes:
        settings: None when nothing could.
        ignored: the variables that were left out since their values cannot be used.
        findings: why.
    """

    settings: Settings | None
    ignored: frozenset[str]
    findings: tuple[Finding, ...]


def read_settings(variables: Mapping[str, str], mounts: Mounts | None = None) -> Reading:
    """The settings, without those that are not acceptable.

    Args:
        variables: environment variables.
        mounts: to ask before anything is touched; variables that lead to one that hangs are left
            out too.
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
            culprit = _culprit(left, str(error))
            findings.append(_invalid(str(error), culprit))
        except OSError as error:
            # No folder for temporary files. Any will do to look at the rest.
            culprit, folder = "", _any_writable()
            if WORK not in ignored:
                findings.append(_no_work_folder(str(error)))
                if folder:
                    left[WORK] = folder
                    ignored.add(WORK)
                    continue
        if not culprit:
            return Reading(None, frozenset(ignored), tuple(findings))
        del left[culprit]
        ignored.add(culprit)


def switch_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the cache is off altogether."""
    if not settings.enabled:
        yield problem(
            "settings.off",
            _SUBJECT,
            "the cache is off",
            "set BASETEN_FS_ENABLED=1 to use it, in the server's environment too",
        )
    if not settings.load_enabled:
        yield problem(
            "settings.load_off",
            _SUBJECT,
            "loads are turned off by B10_CACHE_LOAD=0",
            "unset it, unless the server shall start cold, with empty cache folders: "
            "`b10-transfer clear`",
        )


def value_findings(settings: Settings, ignored: frozenset[str]) -> Iterator[Finding]:
    """Every setting, its value, and where that came from; and variables that look like one."""
    for name, show in _SHOWN.items():
        if name in ignored and name != WORK:
            continue
        value, origin = show(settings), _origin(settings, name)
        yield ok(
            "settings.value",
            _SUBJECT,
            f"{name} = {_for_people(value)} ({origin})",
            name=name,
            value=value,
            origin=origin,
        )
    yield from _work_folder_findings(settings, ignored)
    yield from _unknown_findings(settings.variables)


def _invalid(message: str, culprit: str) -> Finding:
    advice = "correct it"
    if culprit:
        rest = "all below was looked at as if it were not set"
        if culprit == STORE:
            rest = "until then there is no store to look at"
        advice = f"correct {culprit}, or unset it: {rest}"
    return problem("settings.invalid", _SUBJECT, message, advice, name=culprit or None)


def _hanging_paths(variables: Mapping[str, str], mounts: Mounts | None) -> list[tuple[str, str]]:
    """The variables that lead to a mount that hangs, each with its folder."""
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
        f"mount it anew: loads and saves wait for it; all below was looked at without {name}",
        name=name,
        mounted_at=folder,
    )


def _no_work_folder(message: str) -> Finding:
    return problem(
        "settings.work_folder",
        _SUBJECT,
        message,
        f"set {WORK} to a local folder that can be written; without one nothing is loaded",
    )


def _culprit(variables: Mapping[str, str], message: str) -> str:
    """The variable without which the message is another one; "" when there is none."""
    for name in _SEARCHED:
        if name not in variables:
            continue
        try:
            Settings.from_environment({key: variables[key] for key in variables if key != name})
        except CacheValidationError as error:
            if str(error) == message:
                continue
        except OSError:
            pass
        return name
    return ""


def _any_writable() -> str:
    candidates = ("/dev/shm", os.path.expanduser("~"))  # noqa: S108  # only looked for
    usable = (path for path in candidates if os.path.isdir(path) and os.access(path, os.W_OK))
    return next(usable, "")


def _shown_key(settings: Settings) -> str | None:
    """Not the key itself."""
    return "(not shown)" if settings.signing_keys and KEY_FILE not in settings.variables else None


def _origin(settings: Settings, name: str) -> str:
    if name == KEY:
        return "set" if _shown_key(settings) else "default"
    # An empty value is as good as none; of a key file it would have been refused.
    value = settings.variables.get(name, "")
    if name == WORK and settings.scratch != os.path.normpath(value or "/app"):
        return "the system's temporary folder"
    return "set" if value else "default"


def _for_people(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def _work_folder_findings(settings: Settings, ignored: frozenset[str]) -> Iterator[Finding]:
    value = settings.variables.get(WORK)
    if value and WORK not in ignored and _origin(settings, WORK) != "set":
        yield note(
            "settings.work_folder",
            _SUBJECT,
            f"{WORK}={value!r} is not used, but {settings.scratch}: it is no local folder that can "
            "be written",
            f"make the folder, or unset {WORK}",
            wanted=value,
            used=settings.scratch,
        )


def _unknown_findings(variables: Mapping[str, str]) -> Iterator[Finding]:
    known = {*_SEARCHED, *_OTHERS}
    for name in sorted(variables):
        if name in known or not name.upper().startswith(_OURS):
            continue
        for meant in difflib.get_close_matches(name.upper(), known, 1, _ALIKE):
            yield note(
                "settings.unknown",
                _SUBJECT,
                f"{name} is set, which is no setting",
                f"set {meant} instead, if that was meant",
                name=name,
                meant=meant,
            )
