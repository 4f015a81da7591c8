"""The settings, for people: each value, and where it came from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from b10_transfer.keys import KEY, KEY_FILE, PUBLIC_KEYS
from b10_transfer.settings import MEBIBYTE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from b10_transfer.settings import Settings

WORK_FOLDER = "LOCAL_WORK_DIR"


class SettingValue(NamedTuple):
    """A setting.

    Attributes:
        name: of the environment variable.
        value: the value in use.
        origin: "set", "default", or what replaces a folder that cannot be used.
    """

    name: str
    value: object
    origin: str

    def __str__(self) -> str:
        """Describe it for people, without the name."""
        value = self.value
        text = "none" if value is None else str(int(value) if isinstance(value, bool) else value)
        return f"{text} ({self.origin})"


_SHOWN: Mapping[str, Callable[[Settings], object]] = {
    "BASETEN_FS_ENABLED": lambda settings: settings.enabled,
    "B10FS_CACHE_DIR": lambda settings: settings.store,
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
    WORK_FOLDER: lambda settings: settings.scratch,
}
"""Every setting, with the function that describes its value."""

SETTING_NAMES = tuple(_SHOWN)


def setting_values(settings: Settings) -> list[SettingValue]:
    """List every setting; a key itself is not shown."""
    return [
        SettingValue(name, show(settings), origin_of(settings, name))
        for name, show in _SHOWN.items()
    ]


def _shown_key(settings: Settings) -> str | None:
    """Describe a key without showing it."""
    return "(not shown)" if settings.signing_keys and KEY_FILE not in settings.variables else None


def origin_of(settings: Settings, name: str) -> str:
    """Return where a value came from."""
    if name == KEY:
        return "set" if _shown_key(settings) else "default"
    # An empty value counts as none; for a key file it would have been refused.
    value = settings.variables.get(name, "")
    if name == WORK_FOLDER and settings.scratch != os.path.normpath(value or "/app"):
        return "the system's temporary folder"
    return "set" if value else "default"
