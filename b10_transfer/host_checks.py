"""What on this machine would keep a compiler from using what was loaded, found out in advance."""

from __future__ import annotations

import os
import re
import shutil
import stat
from typing import TYPE_CHECKING, NamedTuple

from b10_store.open_folder import foreign_owner
from b10_transfer import probes
from b10_transfer.probes import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from b10_transfer.cache_roots import CacheRoot

_LIBRARY = ".so"
_CPU_KERNEL = re.compile(r"(?:.*/)?[a-z0-9]{2}/c[a-z0-9]*(?:\.main)?\.so", re.DOTALL)
"""How Inductor names the C++ kernels that it compiles."""


class Lack(NamedTuple):
    """Something that is not as a compiler needs it.

    Attributes:
        fact: what.
        advice: what to do about it.
    """

    fact: str
    advice: str

    def __str__(self) -> str:
        """Both, in a line."""
        return f"{self.fact}; {self.advice}"


def existing_folder(path: str) -> str:
    """Return the folder, or the nearest one above it that is there."""
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def find_missing_tools(variables: Mapping[str, str], paths: Iterable[str]) -> dict[str, Lack]:
    """What Inductor needs to run before it uses even a compiled C++ kernel, and is not here.

    It looks for the compiler and its version to name the kernel's file
    (torch/_inductor/cpp_builder.py, get_cpp_compiler), and runs openssl to name the precompiled
    header (torch/_inductor/codecache.py, _precompile_header).

    Args:
        variables: the environment variables of the process that compiles.
        paths: of artifacts.

    Returns:
        The tools that are missing, of "compiler" and "openssl"; none where no artifact is a
        compiled kernel.
    """
    if not any(_CPU_KERNEL.fullmatch(path) for path in paths):
        return {}
    missing: dict[str, Lack] = {}
    compiler = probes.cxx_compiler(variables)
    if compiler.value == NONE:
        missing["compiler"] = Lack(
            f"no C++ compiler ({compiler.source}): Inductor asks it for its version before it uses "
            "a C++ kernel, loaded or not, and fails",
            "install g++ or set CXX",
        )
    headers = probes.precompiled_headers(variables)
    if headers.value == "on" and shutil.which("openssl", path=variables.get("PATH")) is None:
        missing["openssl"] = Lack(
            "there is no openssl: Inductor runs it before it uses a C++ kernel, loaded or not, and "
            "fails",
            "install it, or set TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS=0 for the replicas that "
            "save and that load",
        )
    return missing


def check_tools(variables: Mapping[str, str], paths: Iterable[str]) -> list[str]:
    """A line for each of the tools that `find_missing_tools` finds missing."""
    return [str(lack) for lack in find_missing_tools(variables, paths).values()]


def find_noexec(root: CacheRoot, paths: Iterable[str]) -> Lack | None:
    """Whether the root's filesystem is mounted noexec, and one of its artifacts is a library.

    A root that does not exist yet will be on the filesystem of the folder that it is made in.
    """
    if not any(path.endswith(_LIBRARY) for path in paths):
        return None
    no_execution = getattr(os, "ST_NOEXEC", 0)
    try:
        flags = os.statvfs(existing_folder(root.folder)).f_flag
    except (OSError, AttributeError):
        return None
    if not flags & no_execution:
        return None
    return Lack(
        f"the cache root {root.folder} is on a filesystem mounted noexec: shared libraries in it "
        "cannot be used",
        "mount it exec, or put the cache root elsewhere",
    )


def check_execution(root: CacheRoot, paths: Iterable[str]) -> list[str]:
    """What `find_noexec` finds, as a line."""
    lack = find_noexec(root, paths)
    return [] if lack is None else [str(lack)]


def find_exposure(root: CacheRoot) -> Lack | None:
    """Who else could put files into a cache root, and what would end that.

    Whoever can write there can run code in the process that uses the cache; so can whoever owns a
    link that leads there.

    Returns:
        None when nobody could, or when it does not exist.
    """
    try:
        link, status = os.lstat(root.folder), os.stat(root.folder)
    except OSError:
        return None
    for owner in (foreign_owner(link), foreign_owner(status)):
        if owner is not None:
            return Lack(
                f"the cache root {root.folder} belongs to another user (uid {owner})",
                "chown it, or put the cache root elsewhere",
            )
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & stat.S_IWOTH:
        return Lack(
            f"the cache root {root.folder} can be written by every user", "chmod o-w ends that"
        )
    # A group of one's own has nobody else in it.
    if status.st_mode & stat.S_IWGRP and status.st_gid != getattr(os, "getegid", lambda: -1)():
        return Lack(
            f"the cache root {root.folder} can be written by the group {status.st_gid}",
            "give each user a cache root of their own, or chmod g-w it",
        )
    return None


def exposure(root: CacheRoot) -> str | None:
    """What `find_exposure` finds, as a clause."""
    lack = find_exposure(root)
    if lack is None:
        return None
    # One pair of brackets for all that is in them.
    if lack.fact.endswith(")"):
        return f"{lack.fact[:-1]}; {lack.advice})"
    return f"{lack.fact} ({lack.advice})"


def strict_exposure(root: CacheRoot) -> str | None:
    """As `exposure`, and who could put another folder in the place of the cache root.

    Returns:
        None when nobody could: the folders above belong to this user or the system, and nobody else
        can write to them.
    """
    found = exposure(root)
    own = getattr(os, "geteuid", lambda: 0)()
    folder = os.path.realpath(root.folder)
    while found is None:
        found = _weakness(root, folder, own)
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    return found


def _weakness(root: CacheRoot, folder: str, own: int) -> str | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    subject = f"the cache root {root.folder}"
    if folder != os.path.realpath(root.folder):
        subject += f" lies in {folder}, which"
    if status.st_uid not in (0, own):
        return f"{subject} belongs to uid {status.st_uid}"
    for_others = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if for_others and not status.st_mode & stat.S_ISVTX:
        return f"{subject} can be written by others (mode {stat.S_IMODE(status.st_mode):o})"
    return None
