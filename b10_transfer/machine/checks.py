"""Check whether anything on this machine keeps a compiler from using loaded artifacts."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, NamedTuple

from b10_transfer.machine import versions as versions
from b10_transfer.machine.versions import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LIBRARY = ".so"
_CPU_KERNEL = re.compile(r"(?:.*/)?[a-z0-9]{2}/c[a-z0-9]*(?:\.main)?\.so", re.DOTALL)
"""Inductor's names for the C++ kernels that it compiles."""


class Missing(NamedTuple):
    """Something that a compiler needs and does not find.

    Attributes:
        fact: what is missing or wrong.
        advice: what to do about it.
    """

    fact: str
    advice: str

    def __str__(self) -> str:
        """Return both, in a line."""
        return f"{self.fact}; {self.advice}"


def existing_folder(path: str) -> str:
    """Return the folder, or the nearest existing one above it."""
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def find_missing_tools(variables: Mapping[str, str], paths: Iterable[str]) -> dict[str, Missing]:
    """Return the missing tools that Inductor needs before it uses even a compiled C++ kernel.

    Inductor looks for the compiler and its version to name the kernel's file
    (torch/_inductor/cpp_builder.py, get_cpp_compiler), and runs openssl to name the precompiled
    header (torch/_inductor/codecache.py, _precompile_header).

    Args:
        variables: the environment variables of the process that compiles.
        paths: the paths of artifacts.

    Returns:
        The missing tools, "compiler" and "openssl"; none when no artifact is a compiled kernel.
    """
    if not any(_CPU_KERNEL.fullmatch(path) for path in paths):
        return {}
    missing: dict[str, Missing] = {}
    compiler = versions.cxx_compiler(variables)
    if compiler.value == NONE:
        missing["compiler"] = Missing(
            f"no C++ compiler ({compiler.source}): Inductor asks it for its version before it uses "
            "a C++ kernel, loaded or not, and fails",
            "install g++ or set CXX",
        )
    headers = versions.precompiled_headers(variables)
    if headers.value == "on" and shutil.which("openssl", path=variables.get("PATH")) is None:
        missing["openssl"] = Missing(
            "there is no openssl: Inductor runs it before it uses a C++ kernel, loaded or not, and "
            "fails",
            "install it, or set TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS=0 for the replicas that "
            "save and that load",
        )
    return missing


def check_tools(variables: Mapping[str, str], paths: Iterable[str]) -> list[str]:
    """Return a line for each tool that `find_missing_tools` finds missing."""
    return [str(lack) for lack in find_missing_tools(variables, paths).values()]


def find_noexec(folder: str, paths: Iterable[str]) -> Missing | None:
    """Return whether a root with a library among its artifacts is mounted noexec.

    A folder that does not exist yet will be on the filesystem of its parent.
    """
    if not any(path.endswith(_LIBRARY) for path in paths):
        return None
    no_execution = getattr(os, "ST_NOEXEC", 0)
    try:
        flags = os.statvfs(existing_folder(folder)).f_flag
    except (OSError, AttributeError):
        return None
    if not flags & no_execution:
        return None
    return Missing(
        f"the cache root {folder} is on a filesystem mounted noexec: shared libraries in it "
        "cannot be used",
        "mount it exec, or put the cache root elsewhere",
    )


def check_execution(folder: str, paths: Iterable[str]) -> list[str]:
    """Return what `find_noexec` finds, as a line."""
    lack = find_noexec(folder, paths)
    return [] if lack is None else [str(lack)]
