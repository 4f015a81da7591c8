"""The options for following a server: where it is, and how long to wait for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from b10_transfer.caches.folders import as_seen_from
from b10_transfer.errors import CacheValidationError
from b10_transfer.keys import KEY_FILE
from b10_transfer.servers.find.endpoints import parse_url
from b10_transfer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b10_transfer.servers.find.endpoints import Endpoint
    from b10_transfer.servers.find.processes import ServerProcess, User

_URL = "B10_TRANSFER_VLLM_URL"
_TIMEOUT = "B10_TRANSFER_TIMEOUT_S"
_INTERVAL = "B10_TRANSFER_INTERVAL_S"

WATCH_SECONDS = 600.0
"""The first requests usually arrive, and are compiled for, within this time."""

_OURS = frozenset(
    {"BASETEN_FS_ENABLED", "LOCAL_WORK_DIR", "MAX_CACHE_SIZE_MB", "MAX_CONCURRENT_SAVES"}
)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to follow a server.

    Attributes:
        url: the address that answers when the server is ready; None: it is found.
        timeout: seconds until the server must be ready.
        interval: seconds between two looks at the server.
        watch_seconds: how long to go on saving after the first save; math.inf: until the server
            ends.
        user: whose processes are believed beside our own; None: nobody's.
    """

    url: Endpoint | None = None
    timeout: float = 1800.0
    interval: float = 2.0
    watch_seconds: float = WATCH_SECONDS
    user: User | None = None

    @classmethod
    def read(
        cls,
        variables: Mapping[str, str],
        *,
        url: str | None = None,
        timeout: str | None = None,
        interval: str | None = None,
        watch: bool | None = None,
        user: str | None = None,
    ) -> ServerOptions:
        """Read flags, and environment variables where a flag was not given.

        Args:
            variables: environment variables.
            url: as `--url` was given.
            timeout: as `--timeout` was given.
            interval: as `--interval` was given.
            watch: True for `--watch`, False for `--no-watch`.
            user: as `--server-user` was given.

        Raises:
            CacheValidationError: one of them is not acceptable.
        """
        place, place_name = _chosen(url, "--url", variables, _URL)
        return cls(
            url=parse_url(place_name, place) if place else None,
            timeout=_seconds(_chosen(timeout, "--timeout", variables, _TIMEOUT), 1800.0, 1.0),
            interval=_seconds(_chosen(interval, "--interval", variables, _INTERVAL), 2.0, 0.05),
            watch_seconds=WATCH_SECONDS if watch is None else math.inf if watch else 0.0,
            user=None if user is None else _user(user),
        )


def settings_for(server: ServerProcess | None, own: Settings) -> Settings:
    """Return the settings with which a server's caches are loaded and saved.

    The server's environment variables decide only where its caches are. The store, the namespace
    and the signing keys are those of this process.

    Args:
        server: the server; None, or one whose variables cannot be read: `own` is returned.
        own: the settings of this process.

    Raises:
        CacheValidationError: the server's variables name a folder that is not acceptable.
    """
    if server is None or server.variables is None:
        return own
    seen = as_seen_from(server.folder, server.variables)
    theirs = {name: value for name, value in seen.items() if not _is_ours(name)}
    ours = {name: value for name, value in own.variables.items() if _is_ours(name)}
    # The keys were read already, and their file may be gone by now.
    ours.pop(KEY_FILE, None)
    settings = Settings.from_environment({**theirs, **ours})
    return replace(settings, signing_keys=own.signing_keys)


def _is_ours(name: str) -> bool:
    return name in _OURS or name.startswith("B10")


def _user(text: str) -> User:
    """Look up a user.

    Raises:
        CacheValidationError: there is none.
    """
    try:
        import pwd

        return int(text) if text.isascii() and text.isdigit() else pwd.getpwnam(text).pw_uid
    except ImportError:
        return text
    except KeyError:
        raise CacheValidationError(
            f"--server-user={text!r} is not a user of this machine: give the user's number",
            "--server-user",
        ) from None


def _chosen(
    flag: str | None, flag_name: str, variables: Mapping[str, str], variable: str
) -> tuple[str, str]:
    """Return a value, and the name of the flag or variable that it was given as."""
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
            f"(default {default:g})",
            name,
        )
    return seconds
