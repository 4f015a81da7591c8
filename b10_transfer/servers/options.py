"""What is to be known to keep a server company: where it is, and how long to wait for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from b10_transfer.cache_folders import as_seen_from
from b10_transfer.errors import CacheValidationError
from b10_transfer.servers.endpoints import parse_url
from b10_transfer.settings import Settings
from b10_transfer.signing import KEY, KEY_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_transfer.servers.endpoints import Endpoint
    from b10_transfer.servers.processes import ServerProcess

_URL = "B10_TRANSFER_VLLM_URL"
_TIMEOUT = "B10_TRANSFER_TIMEOUT_S"
_INTERVAL = "B10_TRANSFER_INTERVAL_S"

WATCH_SECONDS = 600.0
"""What the first requests compile is there after this time, unless a server has none for long."""

_OURS = frozenset(
    {"BASETEN_FS_ENABLED", "LOCAL_WORK_DIR", "MAX_CACHE_SIZE_MB", "MAX_CONCURRENT_SAVES"}
)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to keep a server company.

    Attributes:
        url: what answers when the server is ready; None: it is found.
        timeout: seconds until the server must be ready.
        interval: seconds between two looks.
        watch_seconds: how long to go on saving after the first save; math.inf: until the server
            ends.
        api_key: what a server that is known by its URL alone may ask for, or "".
    """

    url: Endpoint | None = None
    timeout: float = 1800.0
    interval: float = 2.0
    watch_seconds: float = WATCH_SECONDS
    api_key: str = field(default="", repr=False)

    @classmethod
    def read(
        cls,
        variables: Mapping[str, str],
        *,
        url: str | None = None,
        timeout: str | None = None,
        interval: str | None = None,
        watch: bool | None = None,
    ) -> ServerOptions:
        """Read flags, and environment variables where a flag was not given.

        Args:
            variables: environment variables.
            url: as `--url` was given.
            timeout: as `--timeout` was given.
            interval: as `--interval` was given.
            watch: True for `--watch`, False for `--no-watch`.

        Raises:
            CacheValidationError: one of them is not acceptable.
        """
        place, place_name = _chosen(url, "--url", variables, _URL)
        key = variables.get("VLLM_API_KEY", "")
        endpoint = replace(parse_url(place_name, place), api_key=key) if place else None
        return cls(
            url=endpoint,
            timeout=_seconds(_chosen(timeout, "--timeout", variables, _TIMEOUT), 1800.0, 1.0),
            interval=_seconds(_chosen(interval, "--interval", variables, _INTERVAL), 2.0, 0.05),
            watch_seconds=WATCH_SECONDS if watch is None else math.inf if watch else 0.0,
            api_key=key,
        )


def settings_for(server: ServerProcess | None, own: Settings) -> Settings:
    """The settings with which a server's caches are loaded and saved.

    Where they lie is decided by the server's environment variables; what of the store and of ours
    is set for this process counts for it too.

    Args:
        server: the server; None, or one whose variables may not be read: `own` must do.
        own: of this process.

    Raises:
        CacheValidationError: the server's variables name a folder that is not acceptable.
    """
    if server is None or server.variables is None:
        return own
    kept = {
        name: value
        for name, value in own.variables.items()
        if name in _OURS or name.startswith("B10")
    }
    variables = {**as_seen_from(server.folder, server.variables), **kept}
    if own.signing_keys:
        variables.pop(KEY, None)
        variables.pop(KEY_FILE, None)
    settings = Settings.from_environment(variables)
    return replace(settings, signing_keys=own.signing_keys) if own.signing_keys else settings


def _chosen(
    flag: str | None, flag_name: str, variables: Mapping[str, str], variable: str
) -> tuple[str, str]:
    """A value and the name of what it was given as."""
    if flag is not None:
        return flag.strip(), flag_name
    return variables.get(variable, "").strip(), variable


def _seconds(chosen: tuple[str, str], default: float, lowest: float) -> float:
    value, name = chosen
    if not value and not name.startswith("-"):
        return default
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not lowest <= seconds <= 864_000:
        raise CacheValidationError(
            f"{name}={value!r} is not a number of seconds from {lowest:g} to 864000 "
            f"(default {default:g})"
        )
    return seconds
