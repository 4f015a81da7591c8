"""The settings: the only reader of environment variables."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from b10_transfer.errors import CacheValidationError
from b10_transfer.paths import is_system_folder

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from b10_store import Key

DEFAULT_STORE = "/cache/model/compile_cache"
"""The store's folder when B10FS_CACHE_DIR is not set."""

MEBIBYTE = 1 << 20

_ENABLED = "BASETEN_FS_ENABLED"
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"", "0", "false", "no", "off"}
_LARGEST = 10**9


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked.

    Attributes:
        enabled: BASETEN_FS_ENABLED: whether the cache is on.
        store: B10FS_CACHE_DIR: the store, an absolute path.
        scratch: LOCAL_WORK_DIR if it can be written, else the system's temporary folder.
        size_limit: MAX_CACHE_SIZE_MB, in bytes: the most compressed bytes of one manifest.
        concurrent_saves: MAX_CONCURRENT_SAVES: how many saves may run at once in the store.
        namespace: B10_CACHE_NAMESPACE, or "" for none.
        load_enabled: B10_CACHE_LOAD: False for a start that is cold on purpose.
        roots: B10_CACHE_ROOTS: the folder of each cache root, by name; "" for the folder that its
            compiler uses.
        full_headers: B10_CACHE_HEADERS: save the headers that gcc precompiles for Inductor, about
            150 MB each; False: use placeholders.
        auto_gc: B10_AUTO_GC: whether a save may make a visit of the garbage collection at its end.
        max_age_days: B10_CACHE_MAX_AGE_DAYS: artifacts that nobody used for this long expire; 0:
            never.
        max_store_bytes: B10_STORE_MAX_SIZE_MB, in bytes: beyond it, the environments whose last
            load is longest ago expire; 0: no limit.
        strict_roots: B10_STRICT_ROOTS: refuse a cache root that others could write to.
        signing_keys: B10_CACHE_SIGNING_KEY or B10_CACHE_SIGNING_KEY_FILE, followed by
            B10_CACHE_PUBLIC_KEYS. All verify, and the first signs unless it is a public key.
            Without keys nothing is signed, and everything is believed.
        variables: all environment variables at the time when the settings were read, without the
            signing key.
    """

    enabled: bool
    store: str
    scratch: str
    size_limit: int
    concurrent_saves: int
    namespace: str
    load_enabled: bool
    roots: Mapping[str, str]
    full_headers: bool
    strict_roots: bool
    auto_gc: bool
    max_age_days: int
    max_store_bytes: int
    # Neither keys nor other variables of a user belong in a log.
    signing_keys: tuple[Key, ...] = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> Settings:
        """Read and check every setting.

        Args:
            variables: environment variables; the process' own by default.

        Raises:
            CacheValidationError: the first setting that is not acceptable.
        """
        found = dict(os.environ if variables is None else variables)
        store = check_folder("B10FS_CACHE_DIR", found.get("B10FS_CACHE_DIR", DEFAULT_STORE))
        return cls(
            enabled=_read_switch(found, _ENABLED, default=False),
            store=store,
            scratch=_read_scratch(found, store),
            size_limit=_read_number(found, "MAX_CACHE_SIZE_MB", 1024) * MEBIBYTE,
            concurrent_saves=_read_number(found, "MAX_CONCURRENT_SAVES", 50),
            namespace=_read_namespace(found),
            load_enabled=_read_switch(found, "B10_CACHE_LOAD", default=True),
            roots=_read_roots(found),
            full_headers=_read_headers(found) == "full",
            strict_roots=_read_switch(found, "B10_STRICT_ROOTS", default=False),
            auto_gc=_read_switch(found, "B10_AUTO_GC", default=True),
            max_age_days=_read_number(found, "B10_CACHE_MAX_AGE_DAYS", 30, lowest=0),
            max_store_bytes=_read_number(found, "B10_STORE_MAX_SIZE_MB", 0, lowest=0) * MEBIBYTE,
            signing_keys=_take_keys(found, store),
            variables=found,
        )


def is_enabled(variables: Mapping[str, str]) -> bool:
    """Return whether the cache is on, whatever else is set; an invalid value counts as off."""
    return variables.get(_ENABLED, "").strip().lower() in _TRUE


def check_folder(name: str, value: str) -> str:
    """Check a folder in which files will be written or removed.

    Args:
        name: the setting's name, for the message.
        value: the path.

    Returns:
        The path without redundant slashes.

    Raises:
        CacheValidationError: it is relative, contains `..`, or is a folder of the system or the
            user.
    """
    path = _check_absolute(name, value)
    if is_system_folder(path) or is_system_folder(os.path.realpath(path)):
        raise CacheValidationError(
            f"{name}={value!r} is a folder of the system or of the user: give one below it",
            _setting(name),
        )
    return path


def _check_absolute(name: str, value: str) -> str:
    if "\0" in value:
        raise CacheValidationError(f"{name}={value!r} contains a NUL character", _setting(name))
    if not os.path.isabs(value):
        raise CacheValidationError(f"{name}={value!r} is not an absolute path", _setting(name))
    if ".." in value.replace("\\", "/").split("/"):
        message = f"{name}={value!r} contains '..': give the path without it"
        raise CacheValidationError(message, _setting(name))
    path = os.path.normpath(value)
    # POSIX gives two leading slashes a special meaning, which no present system uses.
    return path[1:] if path.startswith("//") else path


def _setting(name: str) -> str:
    """Return the variable in the name of a folder: `B10_CACHE_ROOTS: mine` is one of several."""
    return name.partition(":")[0]


def _read_switch(variables: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = variables.get(name)
    if value is None:
        return default
    lowered = value.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise CacheValidationError(f"{name}={value!r} is neither on (1, true) nor off (0, false)", name)


def _read_number(variables: Mapping[str, str], name: str, default: int, lowest: int = 1) -> int:
    value = variables.get(name, "").strip()
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and lowest <= int(value[:20]) <= _LARGEST):
        raise CacheValidationError(
            f"{name}={value!r} is not a whole number from {lowest} to {_LARGEST} "
            f"(default {default})",
            name,
        )
    return int(value)


def _read_namespace(variables: Mapping[str, str]) -> str:
    from b10_store import is_namespace

    value = variables.get("B10_CACHE_NAMESPACE", "")
    if value and not is_namespace(value):
        raise CacheValidationError(
            f"B10_CACHE_NAMESPACE={value!r} has other characters than a-z 0-9 _ -, or more than 64",
            "B10_CACHE_NAMESPACE",
        )
    return value


def _read_roots(variables: Mapping[str, str]) -> dict[str, str]:
    """Parse `inductor,triton,mine=/folder`; `default` stands for the whole table."""
    from b10_transfer.caches.roots import ROOT_NAMES, is_root_name

    value = variables.get("B10_CACHE_ROOTS", "").strip() or "default"
    roots: dict[str, str] = {}
    for item in value.split(","):
        name, has_folder, folder = (part.strip() for part in item.partition("="))
        if has_folder and is_root_name(name):
            roots[name] = check_folder(f"B10_CACHE_ROOTS: {name}", folder)
        elif not has_folder and name == "default":
            roots = dict.fromkeys(ROOT_NAMES, "") | roots
        elif not has_folder and name in ROOT_NAMES:
            roots.setdefault(name, "")
        else:
            raise CacheValidationError(
                f"B10_CACHE_ROOTS={value!r}: {item!r} is neither 'default' nor one of "
                f"{', '.join(ROOT_NAMES)}; a folder of your own is written name=/folder, its name "
                "in a-z 0-9 _ -",
                "B10_CACHE_ROOTS",
            )
    return roots


def _read_headers(variables: Mapping[str, str]) -> str:
    name = "B10_CACHE_HEADERS"
    value = variables.get(name, "").strip().lower() or "full"
    if value not in {"full", "placeholder"}:
        raise CacheValidationError(f"{name}={value!r} is neither full nor placeholder", name)
    return value


def _take_keys(variables: dict[str, str], store: str) -> tuple[Key, ...]:
    """Read the keys, and remove the secret from the variables.

    Unlike elsewhere, an empty value is an error: a key that did not arrive must not turn signing
    off.
    """
    from b10_transfer.keys import PUBLIC_KEYS, parse_public_keys

    keys = _take_signing_keys(variables, store)
    public = variables.get(PUBLIC_KEYS)
    if public is None:
        return keys
    with _blamed_on(PUBLIC_KEYS):
        others = parse_public_keys(public)
    # Savers and readers may share this value, so a saver's own key is not listed twice.
    known = {key.fingerprint for key in keys}
    return (*keys, *(key for key in others if key.fingerprint not in known))


@contextlib.contextmanager
def _blamed_on(setting: str) -> Generator[None]:
    """Return the setting that a text which is not a key was read from."""
    try:
        yield
    except CacheValidationError as error:
        error.setting = setting
        raise


def _take_signing_keys(variables: dict[str, str], store: str) -> tuple[Key, ...]:
    from b10_transfer.held_secret import keys_of
    from b10_transfer.key_file import read_key_file
    from b10_transfer.keys import KEY, KEY_FILE

    text, path = variables.pop(KEY, None), variables.get(KEY_FILE)
    if text is not None and path is not None:
        message = f"{KEY} and {KEY_FILE} are both set: unset one of them"
        raise CacheValidationError(message, KEY_FILE)
    if text is not None:
        with _blamed_on(KEY):
            if os.path.isabs(text) and os.path.exists(text):
                raise CacheValidationError(f"{KEY} is the path of a file: set {KEY_FILE} to that")
            return keys_of(text)
    if path is None:
        return ()
    if not os.path.isabs(path):
        # If a user confuses the two variables, the secret must not appear in a log.
        raise CacheValidationError(
            f"{KEY_FILE} is not an absolute path (not shown, as a key itself belongs in {KEY})",
            KEY_FILE,
        )
    with _blamed_on(KEY_FILE):
        return read_key_file(_check_absolute(KEY_FILE, path), store)


def _read_scratch(variables: Mapping[str, str], store: str) -> str:
    value = variables.get("LOCAL_WORK_DIR") or "/app"
    path = _check_absolute("LOCAL_WORK_DIR", value)
    usable = os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)
    # A database is never opened on the shared folder.
    shared = os.path.commonpath([os.path.realpath(path), os.path.realpath(store)])
    if usable and shared != os.path.realpath(store):
        return path
    import tempfile  # late: it costs 6 ms, and importing the package should cost next to nothing

    return tempfile.gettempdir()
