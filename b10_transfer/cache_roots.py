"""Which cache roots there are, and where each compiler keeps its own."""

from __future__ import annotations

import getpass
import os
import re
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


@dataclass(frozen=True, slots=True)
class RootKind:
    """A row of the table of cache roots.

    Attributes:
        name: as stored in manifests.
        resolve: where the compiler keeps it, given the environment variables.
        skipped_folders: names of folders below it that hold nothing to save.
        skipped_at_top: the same, directly below the root only.
        layout: the form of the paths that its compiler writes; None for any.
    """

    name: str
    resolve: Callable[[Mapping[str, str]], str]
    skipped_folders: frozenset[str] = frozenset()
    skipped_at_top: frozenset[str] = frozenset()
    layout: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class CacheRoot:
    """A cache root of this host: its kind, and its folder as an absolute path."""

    kind: RootKind
    folder: str

    @property
    def name(self) -> str:
        """The kind's name."""
        return self.kind.name


def resolve_inductor(variables: Mapping[str, str]) -> str:
    """As torch/_inductor/runtime/cache_dir_utils.py, cache_dir()."""
    chosen = variables.get("TORCHINDUCTOR_CACHE_DIR")
    return os.path.abspath(chosen or default_inductor(variables))


def default_inductor(variables: Mapping[str, str]) -> str:
    """As torch/_inductor/runtime/cache_dir_utils.py, default_cache_dir()."""
    user = re.sub(r'[\\/:*?"<>|]', "_", _user_name(variables))
    return os.path.join(_temporary_folder(variables), "torchinductor_" + user)


def resolve_triton(variables: Mapping[str, str]) -> str:
    """As triton/knobs.py, cache_knobs.

    Inductor sets TRITON_CACHE_DIR to a folder of its own root when the user did not
    (torch/_inductor/runtime/triton_heuristics.py), for itself alone: that does not count.
    """
    inductor = resolve_inductor(variables)
    chosen = variables.get("TRITON_CACHE_DIR")
    if chosen and not is_below(os.path.abspath(chosen), inductor):
        return os.path.abspath(chosen)
    home = variables.get("TRITON_HOME", _home(variables))
    return os.path.abspath(os.path.join(home, ".triton", "cache"))


INDUCTOR = RootKind(
    name="inductor",
    resolve=resolve_inductor,
    skipped_folders=frozenset({"locks"}),
    skipped_at_top=frozenset(
        {
            "aoti_eager",
            "autoheuristic",
            "compiler_bisect",
            "gcc",
            "torch_cutlass",
            "unhashed_kernel_inputs",
        }
    ),
)
TRITON = RootKind(
    name="triton",
    resolve=resolve_triton,
    # <hash of the kernel>/<file>: 52 characters of base32 since Triton 3.0, 64 hex digits before.
    layout=re.compile(r"[A-Za-z0-9_=-]{32,}/[^/]+"),
)

ROOT_KINDS = (INDUCTOR, TRITON)
"""The table."""


def resolve_roots(
    variables: Mapping[str, str], kinds: Iterable[RootKind] = ROOT_KINDS
) -> tuple[CacheRoot, ...]:
    """The cache roots of this host, whether they exist or not; each folder once."""
    roots = {root.folder: root for root in (CacheRoot(k, k.resolve(variables)) for k in kinds)}
    return tuple(roots.values())


def folders_of_others(root: CacheRoot, roots: Iterable[CacheRoot]) -> frozenset[str]:
    """The folders of the other roots: what lies in one is an artifact of that one alone."""
    return frozenset(other.folder for other in roots if other.folder != root.folder)


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it; both absolute, links not followed."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _user_name(variables: Mapping[str, str]) -> str:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if variables.get(name):
            return variables[name]
    try:
        return getpass.getuser()
    except (KeyError, ModuleNotFoundError, OSError):
        getuid = getattr(os, "getuid", None)
        return f"uid_{getuid()}" if callable(getuid) else "unknown_user"


def _temporary_folder(variables: Mapping[str, str]) -> str:
    """As the standard library's tempfile.gettempdir(), which tries the same variables first."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        folder = variables.get(name)
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return os.path.abspath(folder)
    return tempfile.gettempdir()


def _home(variables: Mapping[str, str]) -> str:
    return variables.get("HOME") or os.path.expanduser("~")
